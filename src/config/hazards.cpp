#include "hazards.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "text.hpp"

namespace millrace::config {
namespace {

/// The index just behind the string that starts at `start` (a quote of either sort, single or triple).
std::size_t skip_string(std::string_view text, std::size_t start) {
  const char quote = text[start];
  const bool escapes = quote == '"';
  const std::string_view triple = quote == '"' ? R"(""")" : "'''";
  const bool multi_line = text.substr(start).starts_with(triple);
  std::size_t i = start + (multi_line ? 3 : 1);
  while (i < text.size()) {
    if (escapes && text[i] == '\\') {
      i += 2;
    } else if (multi_line && text.substr(i).starts_with(triple)) {
      i += 3;
      for (int extra = 0; extra < 2 && i < text.size() && text[i] == quote; ++extra) ++i;  // `""x"""""`
      return i;
    } else if (!multi_line && (text[i] == quote || text[i] == '\n')) {
      return i + 1;
    } else {
      ++i;
    }
  }
  return text.size();
}

Position position_of(std::string_view text, std::size_t index) {
  const std::string_view before = text.substr(0, index);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto column = std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_start), before.end(),
                                    [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }) +
                      1;
  return {static_cast<std::uint32_t>(line), static_cast<std::uint32_t>(column)};
}

bool is_ascii(char c) {
  return (static_cast<unsigned char>(c) & 0x80U) == 0;
}

Diagnostic deep_key(std::string_view text, std::size_t index) {
  return {position_of(text, index), fmt::format("this key has more than {} parts", kKeyPartsMax)};
}

Diagnostic stray_character(std::string_view text, std::size_t index) {
  std::size_t end = index + 1;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) ++end;
  return {position_of(text, index), fmt::format("syntax error: {} stands outside of quotes (plain ones, \" or ')",
                                                quoted(text.substr(index, end - index)))};
}

}  // namespace

std::optional<Diagnostic> find_hazard(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // the byte order mark
  unsigned parts = 1;
  std::size_t i = 0;
  while (i < text.size()) {
    switch (text[i]) {
      case '"':
      case '\'':
        i = skip_string(text, i);
        continue;
      case '#':
        i = std::min(text.find('\n', i), text.size());
        continue;
      case '.':
        if (++parts > kKeyPartsMax) return deep_key(text, i);
        break;
      case '=':
      case ',':
      case '[':
      case '{':
      case '\n':
        parts = 1;
        break;
      default:
        if (!is_ascii(text[i])) return stray_character(text, i);
        break;
    }
    ++i;
  }
  return std::nullopt;
}

}  // namespace millrace::config
