#include "millrace/config/node.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "millrace/base/assert.hpp"
#include "text.hpp"

namespace millrace::config {

const Entry* Node::find(std::string_view key) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [key](const Entry& e) { return e.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

std::string_view description(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::string:
      return "a string";
    case Node::Kind::integer:
      return "a whole number";
    case Node::Kind::real:
      return "a number with a fraction";
    case Node::Kind::boolean:
      return "a boolean";
    case Node::Kind::date:
      return "a date or time";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::table:
      return "a table";
  }
  assert_failed("kind", "not a value of the enum", __FILE__, __LINE__);
}

std::string Place::name_of(std::string_view key) const {
  std::string shown = key.size() > kQuoteBytesMax ? quoted(key) : toml_key(key);
  if (name_.empty()) return shown;
  return name_ + (option_ ? ": " : ".") + shown;
}

Place Place::child(const Entry& entry) const {
  if (!entry.value.label.empty()) return {entry.value, entry.value.label, true};
  return {entry.value, name_of(entry.key), false};
}

Place Place::item(std::size_t index) const {
  MILLRACE_ASSERT(index < node_->items.size(), "no such item");
  const Node& item = node_->items[index];
  if (!item.label.empty()) return {item, item.label, true};
  return {item, fmt::format("{}[{}]", name_, index), false};
}

}  // namespace millrace::config
