#pragma once
// Node: a configuration before its meaning is known. Tables, lists and plain values with the place where each stands,
// in the order of the file. document.cpp makes the tree from TOML, quick_form.cpp from command line options; everything
// after works on the tree only. It is built once and then constant, so that the address of a node names it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/config/config.hpp"

namespace millrace::config {

struct Entry;

struct Node {
  enum class Kind : std::uint8_t { string, integer, real, boolean, date, list, table };

  Kind kind = Kind::table;
  Position position;
  std::string label;  // the command line option that it came from; empty for what stands in a file

  std::string text;  // Kind::string
  std::int64_t integer = 0;
  double real = 0.0;
  bool boolean = false;
  std::vector<Node> items;     // Kind::list
  std::vector<Entry> entries;  // Kind::table

  /// The entry of a table; null when there is none, or when this is no table.
  [[nodiscard]] const Entry* find(std::string_view key) const;
};

struct Entry {
  std::string key;
  Position position;  // of the key; the value has its own
  Node value;
};

/// For diagnostics: "a string", "a table", …
[[nodiscard]] std::string_view description(Node::Kind kind);

/// A node together with its name for diagnostics: "pools.web.backends[1].weight", or the option it came from.
class Place {
 public:
  explicit Place(const Node& node) : node_(&node) {}

  [[nodiscard]] const Node& node() const { return *node_; }
  /// Empty for the root.
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::string name_of(std::string_view key) const;

  [[nodiscard]] Place child(const Entry& entry) const;
  [[nodiscard]] Place item(std::size_t index) const;

 private:
  Place(const Node& node, std::string name, bool option) : node_(&node), name_(std::move(name)), option_(option) {}

  const Node* node_;
  std::string name_;
  bool option_ = false;  // the name is a command line option: what is below it follows after a colon
};

}  // namespace millrace::config
