#include "names.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::config {
namespace {

bool is_allowed(char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\'' && c != '\\';
}

}  // namespace

std::optional<std::string> name_problem(std::string_view name, std::size_t bytes_max) {
  if (name.empty()) return "a name cannot be empty";
  if (!std::all_of(name.begin(), name.end(), is_allowed)) {
    return "a name is printable ASCII without quotes and backslashes";
  }
  if (name.size() > bytes_max)
    return fmt::format("a name has at most {} characters, this has {}", bytes_max, name.size());
  return std::nullopt;
}

}  // namespace millrace::config
