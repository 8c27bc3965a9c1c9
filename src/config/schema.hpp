#pragma once
// The schema: every key of the contract, once. What is listed here is what is read, what counts as known when a key is
// misspelt, what to_toml() writes, and what json_schema() tells editors.

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "drafts.hpp"
#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"

namespace millrace::config {

/// One key of the table that fills a T.
template <class T>
struct Key {
  std::string_view name;
  /// One sentence or two for who writes the file in an editor; empty for what is not built yet.
  std::string_view about;
  /// Checks the value and puts it into T; after a complaint T may hold anything of the right type. Null: the contract
  /// has this key, millrace does not yet.
  void (*read)(const Place&, Problems&, T&) = nullptr;
  /// Appends the value as TOML. Null for what has no value of its own.
  void (*write)(std::string& out, const T&) = nullptr;
  /// Appends a whole table with its header. Null for a plain value.
  void (*write_table)(std::string& out, const std::string& header, const T&) = nullptr;
  /// Puts the value back to its built-in default. Null for what has no value of its own.
  void (*reset)(T&) = nullptr;
  /// Whether the key means anything, given the others. Null: it always does.
  bool (*applies)(const T&) = nullptr;
  /// Appends what a JSON Schema says about the value, without braces: `"type":"integer"`. Null: not built yet.
  void (*describe)(std::string& out) = nullptr;
  bool has_default = true;
};

template <class T>
[[nodiscard]] bool applies(const Key<T>& key, const T& value) {
  return key.applies == nullptr || key.applies(value);
}

/// The keys of one sort of table, in the order in which they are read and written.
template <class T>
[[nodiscard]] std::span<const Key<T>> keys();

template <>
std::span<const Key<Drafts>> keys();  // the whole file
template <>
std::span<const Key<Defaults>> keys();
template <>
std::span<const Key<Runtime>> keys();
template <>
std::span<const Key<Admin>> keys();
template <>
std::span<const Key<Listener>> keys();
template <>
std::span<const Key<Pool>> keys();
template <>
std::span<const Key<Backend>> keys();
template <>
std::span<const Key<Hash>> keys();
template <>
std::span<const Key<Health>> keys();
template <>
std::span<const Key<Passive>> keys();

template <class T>
std::vector<std::string_view> key_names() {
  std::vector<std::string_view> names;
  for (const Key<T>& key : keys<T>()) names.push_back(key.name);
  return names;
}

/// The tables that have this key, for people: "[runtime] or [listeners.NAME]"; empty when there is none. What is a
/// table itself is looked for among tables only, everything else among values.
[[nodiscard]] std::string homes_of(std::string_view key, bool is_table);

/// For what should have been a table: how to write it as one.
[[nodiscard]] inline std::string table_remedy(const Place& place) {
  const bool has_header = !place.name().empty() && place.name().back() != ']';
  return has_header ? "; write [" + place.name() + "]" : std::string();
}

/// Fills `target` from a table; what the table does not mention stays as it is. Keys are read in the order of the
/// schema, whatever the order of the file: `[defaults]` comes before what inherits from it.
template <class T>
void read_table(const Place& place, Problems& problems, T& target) {
  if (!expect(place, Node::Kind::table, problems, table_remedy(place))) return;
  for (const Key<T>& key : keys<T>()) {
    const Entry* entry = place.node().find(key.name);
    if (entry == nullptr) continue;
    if (key.read == nullptr) {
      problems.add_not_built(place, *entry);
    } else {
      key.read(place.child(*entry), problems, target);
    }
  }
  const std::vector<std::string_view> known = key_names<T>();
  for (const Entry& entry : place.node().entries) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    problems.add_unknown_key(place, entry, known, homes_of(entry.key, entry.value.kind == Node::Kind::table));
  }
}

/// Puts back to their defaults the values that mean nothing here and were inherited all the same.
template <class T>
void reset_unused(T& value) {
  for (const Key<T>& key : keys<T>()) {
    if (key.reset != nullptr && !applies(key, value)) key.reset(value);
  }
}

/// Appends `key = value` lines for every key with a value, less those that mean nothing here.
template <class T>
void write_values(std::string& out, const T& value) {
  for (const Key<T>& key : keys<T>()) {
    if (key.write == nullptr || !applies(key, value)) continue;
    out += key.name;
    out += " = ";
    key.write(out, value);
    out += '\n';
  }
}

/// Appends a table with its header, and the tables below it.
template <class T>
void write_table(std::string& out, const std::string& header, const T& value) {
  out += "\n[" + header + "]\n";
  write_values(out, value);
  for (const Key<T>& key : keys<T>()) {
    if (key.write_table != nullptr) key.write_table(out, header + "." + std::string(key.name), value);
  }
}

}  // namespace millrace::config
