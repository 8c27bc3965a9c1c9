#include "key_depth.hpp"

#include <algorithm>
#include <cstddef>

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

}  // namespace

std::optional<Position> find_too_deep_key(std::string_view text) {
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
        if (++parts > kKeyPartsMax) return position_of(text, i);
        break;
      case '=':
      case ',':
      case '[':
      case '{':
      case '\n':
        parts = 1;
        break;
      default:
        break;
    }
    ++i;
  }
  return std::nullopt;
}

}  // namespace millrace::config
