#pragma once
// Draft: the TOML that an importer writes, table by table, with the line of the other file that each part comes from.

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/import/import.hpp"

namespace millrace::importer {

using LineNumber = std::uint32_t;

struct Setting {
  std::string key;    // may be dotted; empty for a backend
  std::string value;  // as TOML
  LineNumber line;
};

struct Table {
  std::string header;
  LineNumber line = 0;
  std::vector<Setting> settings;
  std::vector<Setting> backends;
  std::vector<Note> notes;  // what would have stood here

  [[nodiscard]] const Setting* find(std::string_view key) const;
  /// The first value stays: another one later becomes a note.
  void set(std::string_view key, std::string value, LineNumber where);
  void note(LineNumber where, std::string message);
};

class Draft {
 public:
  /// A table with a name that no other of its sort has; `name` is made fit for one.
  Table& add_listener(std::string_view name, LineNumber line);
  Table& add_pool(std::string_view name, LineNumber line);
  Table& runtime() { return runtime_; }
  /// What belongs to no table.
  void note(LineNumber line, std::string message) { notes_.push_back({line, std::move(message)}); }

  /// The TOML, in which whatever millrace refuses is a comment.
  [[nodiscard]] Imported finish(std::string_view file) const;

 private:
  Table& add(std::string_view sort, std::string_view name, LineNumber line);

  Table runtime_{"runtime", 0, {}, {}, {}};
  std::deque<Table> listeners_;  // a deque: tables are held by reference while others are added
  std::deque<Table> pools_;
  std::vector<Note> notes_;
};

/// What a name of a table may be, as near as possible to the given one.
[[nodiscard]] std::string table_name(std::string_view name);

}  // namespace millrace::importer
