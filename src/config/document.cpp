#include "millrace/config/document.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

// Where toml++ is header-only its assertions would be ours. Version 3.3 asserts what it goes on to check anyway: a file
// with `[~` would end the process instead of being refused.
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

#include "hazards.hpp"
#include "syntax_hint.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

Position position_of(const toml::source_region& region) {
  return {region.begin.line, region.begin.column};
}

Node convert(const toml::node& from);

bool stands_before(const Entry& a, const Entry& b) {
  return std::pair(a.position.line, a.position.column) < std::pair(b.position.line, b.position.column);
}

void convert_table(const toml::table& from, Node& to) {
  to.kind = Node::Kind::table;
  to.entries.reserve(from.size());
  for (const auto& [key, value] : from) {
    to.entries.push_back({std::string(key.str()), position_of(key.source()), convert(value)});
  }
  // toml++ sorts by key; a person thinks in the order of the file.
  std::stable_sort(to.entries.begin(), to.entries.end(), stands_before);
}

void convert_list(const toml::array& from, Node& to) {
  to.kind = Node::Kind::list;
  to.items.reserve(from.size());
  for (const toml::node& item : from) to.items.push_back(convert(item));
}

Node convert(const toml::node& from) {
  Node to;
  to.position = position_of(from.source());
  if (const auto* table = from.as_table()) {
    convert_table(*table, to);
  } else if (const auto* list = from.as_array()) {
    convert_list(*list, to);
  } else if (const auto* text = from.as_string()) {
    to.kind = Node::Kind::string;
    to.text = text->get();
  } else if (const auto* integer = from.as_integer()) {
    to.kind = Node::Kind::integer;
    to.integer = integer->get();
  } else if (const auto* real = from.as_floating_point()) {
    to.kind = Node::Kind::real;
    to.real = real->get();
  } else if (const auto* boolean = from.as_boolean()) {
    to.kind = Node::Kind::boolean;
    to.boolean = boolean->get();
  } else {
    to.kind = Node::Kind::date;
  }
  return to;
}

}  // namespace

Document parse_document(std::string_view text) {
  if (auto hazard = find_hazard(text)) return {std::nullopt, *std::move(hazard)};
  try {
    return {convert(toml::parse(text)), {}};
  } catch (const toml::parse_error& error) {
    return {std::nullopt, syntax_problem(text, position_of(error.source()), error.description())};
  } catch (const std::exception& error) {  // memory, or a bug of the library
    return {std::nullopt, {{}, fmt::format("cannot parse: {}", printable(error.what()))}};
  }
}

}  // namespace millrace::config
