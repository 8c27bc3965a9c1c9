#include "scanner.hpp"

#include <algorithm>

namespace millrace::config {
namespace {

bool starts_character(char c) {
  return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
}

}  // namespace

std::string_view without_byte_order_mark(std::string_view text) {
  return text.starts_with(kByteOrderMark) ? text.substr(kByteOrderMark.size()) : text;
}

StringEnd skip_string(std::string_view text, std::size_t start) {
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
      return {i, true};
    } else if (!multi_line && (text[i] == quote || text[i] == '\n')) {
      return {i + 1, true};
    } else {
      ++i;
    }
  }
  return {text.size(), false};
}

std::size_t skip_comment(std::string_view text, std::size_t start) {
  return std::min(text.find('\n', start), text.size());
}

std::vector<std::size_t> still_open(std::string_view text) {
  std::vector<std::size_t> open;
  std::size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    if (c == '#') {
      i = skip_comment(text, i);
      continue;
    }
    if (c == '"' || c == '\'') {
      const StringEnd end = skip_string(text, i);
      if (!end.closed) open.push_back(i);
      i = end.index;
      continue;
    }
    if (c == '[' || c == '{') open.push_back(i);
    if ((c == ']' || c == '}') && !open.empty()) open.pop_back();
    ++i;
  }
  return open;
}

Position position_of(std::string_view text, std::size_t index) {
  const std::string_view before = text.substr(0, index);
  const std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto column =
      std::count_if(before.begin() + static_cast<std::ptrdiff_t>(line_start), before.end(), starts_character) + 1;
  return {static_cast<std::uint32_t>(line), static_cast<std::uint32_t>(column)};
}

std::size_t index_of(std::string_view text, Position position) {
  std::size_t i = 0;
  for (std::uint32_t line = position.line; line > 1; --line) {
    const std::size_t end = text.find('\n', i);
    if (end == std::string_view::npos) return text.size();
    i = end + 1;
  }
  std::uint32_t left = position.column;
  for (; i < text.size() && text[i] != '\n'; ++i) {
    if (starts_character(text[i]) && --left == 0) break;
  }
  return i;
}

}  // namespace millrace::config
