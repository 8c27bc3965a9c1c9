#include "millrace/admin/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace millrace::admin {

namespace {

enum class Align : std::uint8_t { left, right };

struct Column {
  std::string_view title;
  Align align = Align::right;
};

/// Characters, not bytes: a name may have other letters than ASCII.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
}

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {
    std::vector<std::string> titles;
    for (const Column& column : columns_) titles.emplace_back(column.title);
    add(std::move(titles));
  }
  /// `colour` is an escape sequence, or empty.
  void add(std::vector<std::string> cells, std::string_view colour = {}) {
    rows_.push_back({std::move(cells), std::string(colour)});
  }

  [[nodiscard]] std::string to_string() const {
    std::string out;
    for (const Row& row : rows_) {
      std::string line;
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        const std::string space(width(i) - width_of(row.cells[i]), ' ');
        if (i != 0) line += "  ";
        line += columns_[i].align == Align::left ? row.cells[i] + space : space + row.cells[i];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      out += row.colour.empty() ? line : row.colour + line + "\x1b[0m";
      out += '\n';
    }
    return out;
  }

 private:
  struct Row {
    std::vector<std::string> cells;
    std::string colour;
  };
  [[nodiscard]] std::size_t width(std::size_t column) const {
    std::size_t widest = 0;
    for (const Row& row : rows_) widest = std::max(widest, width_of(row.cells[column]));
    return widest;
  }

  std::vector<Column> columns_;
  std::vector<Row> rows_;
};

std::uint64_t total(const Reasons& reasons) {
  std::uint64_t sum = 0;
  for (const auto& [reason, count] : reasons) sum += count;
  return sum;
}

std::string text_of(const Reasons& reasons) {
  std::string text;
  for (const auto& [reason, count] : reasons) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, reason);
  return text;
}

std::string milliseconds(const ConnectTimes& times, double value) {
  return times.count == 0 ? "-" : fmt::format("{:.2f}", value);
}

std::string_view colour_of(std::string_view state, bool colours) {
  if (!colours) return {};
  if (state == "up") return "\x1b[32m";
  if (state == "down" || state == "ejected") return "\x1b[31m";
  return "\x1b[33m";
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 999.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string time_text(double seconds) {
  const auto whole = static_cast<std::uint64_t>(std::max(seconds, 0.0));
  if (whole < 10) return fmt::format("{:.1f}s", seconds);
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
  return fmt::format("{}d{:02}h", whole / 86400, whole / 3600 % 24);
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) c = '?';
  }
  return out;
}

std::string to_text(const Status& status, bool colours) {
  std::string out = fmt::format("millrace {}, pid {}, up {}, {} workers\n\n", printable(status.version), status.pid,
                                time_text(status.uptime_seconds), status.workers.size());
  Table listeners({{"LISTENER", Align::left},
                   {"ADDRESS", Align::left},
                   {"POOL", Align::left},
                   {"ACTIVE"},
                   {"TOTAL"},
                   {"REFUSED"},
                   {"IN"},
                   {"OUT"}});
  for (const ListenerStatus& listener : status.listeners) {
    listeners.add({printable(listener.name), listener.protocol + " " + printable(joined(listener.addresses)),
                   printable(listener.pool), std::to_string(listener.active), std::to_string(listener.connections),
                   std::to_string(total(listener.refused)), bytes_text(listener.bytes.in),
                   bytes_text(listener.bytes.out)});
  }
  out += listeners.to_string();
  for (const PoolStatus& pool : status.pools) {
    out += fmt::format("\npool {} ({})\n", printable(pool.name), pool.balance);
    Table backends({{"BACKEND", Align::left},
                    {"ADDRESS", Align::left},
                    {"STATE", Align::left},
                    {"WEIGHT"},
                    {"ACTIVE"},
                    {"TOTAL"},
                    {"FAILED"},
                    {"IN"},
                    {"OUT"},
                    {"CONNECT p50"},
                    {"p99 ms"}});
    for (const BackendStatus& backend : pool.backends) {
      const bool odd = backend.state != backend.health && backend.health != "up";
      backends.add({printable(backend.name), printable(backend.address),
                    backend.state + (odd ? " (" + backend.health + ")" : "") + (backend.backup ? " backup" : ""),
                    std::to_string(backend.weight), std::to_string(backend.active), std::to_string(backend.connections),
                    std::to_string(total(backend.connect_failures)), bytes_text(backend.bytes.in),
                    bytes_text(backend.bytes.out), milliseconds(backend.connect_times, backend.connect_times.p50_ms),
                    milliseconds(backend.connect_times, backend.connect_times.p99_ms)},
                   colour_of(backend.state, colours));
    }
    out += backends.to_string();
  }
  std::string notes;
  for (const ListenerStatus& listener : status.listeners) {
    if (!listener.refused.empty())
      notes += fmt::format("listener {}: {}\n", printable(listener.name), text_of(listener.refused));
  }
  if (!notes.empty()) out += "\nrefused\n" + notes;
  if (!status.closes.empty()) out += "\nended: " + text_of(status.closes) + "\n";
  return out;
}

std::string to_text(const std::vector<ConnectionStatus>& connections) {
  Table table({{"ID", Align::left},
               {"CLIENT", Align::left},
               {"LISTENER", Align::left},
               {"BACKEND", Align::left},
               {"STAGE", Align::left},
               {"AGE"},
               {"IN"},
               {"OUT"}});
  for (const ConnectionStatus& connection : connections) {
    const bool session = connection.stage == "session";
    const auto amount = [&](std::uint64_t count) {
      return session ? fmt::format("{} dgrams", count) : bytes_text(count);
    };
    table.add({connection.id, printable(connection.client), printable(connection.listener),
               connection.backend.empty() ? "-" : printable(connection.pool + "/" + connection.backend),
               connection.stage, time_text(connection.age_seconds), amount(connection.in), amount(connection.out)});
  }
  return table.to_string();
}

std::string to_text(const std::vector<Explanation>& explanations) {
  std::string out;
  for (const Explanation& why : explanations) {
    if (!out.empty()) out += '\n';
    out += fmt::format("listener {} -> pool {} ({})", printable(why.listener), printable(why.pool), why.balance);
    out += why.certain ? fmt::format(" -> {}\n", printable(why.backend)) : "\n";
    for (const std::string& step : why.steps) out += "  " + printable(step) + '\n';
  }
  return out;
}

}  // namespace millrace::admin
