#include "draft.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "millrace/config/config.hpp"
#include "values.hpp"

namespace millrace::importer {
namespace {

constexpr std::size_t kNameBytesMax = 64;
constexpr int kRoundsMax = 100;  // of taking out what millrace refuses; each takes out all that it can see

/// One line of the TOML. Taken out, it is printed as a comment that says why.
struct Line {
  enum class Kind : std::uint8_t { header, setting, backend, bracket, comment };

  Kind kind;
  std::string text;
  LineNumber source;
  std::size_t table;
  std::string refusal;  // not empty: taken out
};

/// Why a line is refused, less the advice to take it out, which is done already.
std::string_view without_advice(std::string_view refusal) {
  for (const std::string_view advice : {"; remove it", "; use another value"}) {
    if (refusal.ends_with(advice)) refusal.remove_suffix(advice.size());
  }
  return refusal;
}

std::string comment(const Note& note, std::string_view file) {
  return fmt::format("# {}:{}: {}", one_line(file), note.line, one_line(note.message));
}

class Sheet {
 public:
  explicit Sheet(std::string_view file) : file_(file) {}

  void add_notes(const std::vector<Note>& notes) {
    for (const Note& note : notes) add(Line::Kind::comment, comment(note, file_), note.line);
  }

  void add_table(const Table& table) {
    ++table_;
    if (!lines_.empty()) add(Line::Kind::comment, "", 0);
    add(Line::Kind::header, "[" + table.header + "]", table.line);
    add_notes(table.notes);
    for (const Setting& setting : table.settings) {
      add(Line::Kind::setting, setting.key + " = " + setting.value, setting.line);
    }
    if (table.backends.empty()) return;
    add(Line::Kind::bracket, "backends = [", table.line);
    for (const Setting& backend : table.backends) add(Line::Kind::backend, "  " + backend.value + ",", backend.line);
    add(Line::Kind::bracket, "]", table.line);
  }

  [[nodiscard]] std::string text() const {
    std::string out;
    for (const Line& line : lines_) {
      const bool out_of_use = !line.refusal.empty();
      out += out_of_use ? fmt::format("# {}  # {}", line.text, one_line(line.refusal)) : line.text;
      out += '\n';
    }
    return out;
  }

  /// Takes out what the diagnostics complain about; false when there was nothing to take.
  bool take_out(const std::vector<config::Diagnostic>& diagnostics, std::vector<Note>& notes) {
    bool taken = false;
    for (const config::Diagnostic& diagnostic : diagnostics) {
      const std::size_t index = diagnostic.position.line;
      if (index == 0 || index > lines_.size()) continue;
      taken |= take_out_line(lines_[index - 1], std::string(without_advice(diagnostic.message)), notes);
    }
    return taken;
  }

 private:
  void add(Line::Kind kind, std::string text, LineNumber source) {
    lines_.push_back({kind, std::move(text), source, table_, {}});
  }

  bool take_out_line(Line& line, const std::string& why, std::vector<Note>& notes) {
    if (!line.refusal.empty() || line.kind == Line::Kind::comment) return false;
    notes.push_back({line.source, why});
    if (line.kind == Line::Kind::setting || line.kind == Line::Kind::backend) {
      line.refusal = why;
      return true;
    }
    for (Line& other : lines_) {  // the table is of no use without its header, or without any backend
      if (other.table != line.table || other.kind == Line::Kind::comment || !other.refusal.empty()) continue;
      other.refusal = other.kind == Line::Kind::header ? why : "see above";
    }
    return true;
  }

  std::string file_;
  std::vector<Line> lines_;
  std::size_t table_ = 0;
};

}  // namespace

const Setting* Table::find(std::string_view key) const {
  const auto found = std::find_if(settings.begin(), settings.end(), [key](const Setting& s) { return s.key == key; });
  return found == settings.end() ? nullptr : &*found;
}

void Table::set(std::string_view key, std::string value, LineNumber where) {
  const Setting* earlier = find(key);
  if (earlier == nullptr) {
    settings.push_back({std::string(key), std::move(value), where});
  } else if (earlier->value != value) {
    note(where,
         fmt::format("{} = {} is not kept, it is {} already (line {})", key, value, earlier->value, earlier->line));
  }
}

void Table::note(LineNumber where, std::string message) {
  Note note{where, std::move(message)};
  if (std::find(notes.begin(), notes.end(), note) == notes.end()) notes.push_back(std::move(note));
}

std::string table_name(std::string_view name) {
  std::string out(name.substr(0, kNameBytesMax));
  for (char& c : out) {
    const bool printable = c >= 0x20 && c < 0x7f;
    if (!printable || c == '"' || c == '\'' || c == '\\') c = '_';
  }
  return out.empty() ? "unnamed" : out;
}

Table& Draft::add(std::string_view sort, std::string_view name, LineNumber line) {
  auto& tables = sort == "listeners" ? listeners_ : pools_;
  const std::string base = table_name(name);
  std::string header = fmt::format("{}.{}", sort, toml_key(base));
  const auto taken = [&](const Table& table) { return table.header == header; };
  for (int i = 2; std::any_of(tables.begin(), tables.end(), taken); ++i) {
    const std::string suffix = fmt::format("-{}", i);
    header = fmt::format("{}.{}", sort, toml_key(base.substr(0, kNameBytesMax - suffix.size()) + suffix));
  }
  Table& table = tables.emplace_back();
  table.header = header;
  table.line = line;
  return table;
}

Table& Draft::add_listener(std::string_view name, LineNumber line) {
  return add("listeners", name, line);
}

Table& Draft::add_pool(std::string_view name, LineNumber line) {
  return add("pools", name, line);
}

Imported Draft::finish(std::string_view file) const {
  Sheet sheet(file);
  Imported imported;
  const auto add = [&](const Table& table) {
    imported.notes.insert(imported.notes.end(), table.notes.begin(), table.notes.end());
    sheet.add_table(table);
  };
  imported.notes = notes_;
  sheet.add_notes(notes_);
  if (!runtime_.settings.empty() || !runtime_.notes.empty()) add(runtime_);
  for (const Table& table : listeners_) add(table);
  for (const Table& table : pools_) add(table);
  for (int round = 0; round < kRoundsMax; ++round) {
    imported.toml = sheet.text();
    const config::Loaded loaded = config::parse(imported.toml);
    imported.complete = loaded.config.has_value();
    if (imported.complete || !sheet.take_out(loaded.diagnostics, imported.notes)) break;
  }
  imported.toml = sheet.text();
  if (!imported.complete) imported.notes.push_back({0, "nothing is left that millrace could listen on and serve"});
  std::stable_sort(imported.notes.begin(), imported.notes.end(),
                   [](const Note& a, const Note& b) { return a.line < b.line; });
  // The same may be said in several tables.
  imported.notes.erase(std::unique(imported.notes.begin(), imported.notes.end()), imported.notes.end());
  return imported;
}

}  // namespace millrace::importer
