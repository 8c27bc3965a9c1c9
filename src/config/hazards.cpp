#include "hazards.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <string>

#include "scanner.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

bool is_ascii(char c) {
  return (static_cast<unsigned char>(c) & 0x80U) == 0;
}

Diagnostic deep_key(std::string_view text, std::size_t index) {
  return {position_of(text, index), fmt::format("this key has more than {} parts", kKeyPartsMax)};
}

/// "U+00A0" for what nobody can see: blanks and marks that come with text copied from elsewhere. Empty for the others.
std::string_view invisible_name(std::string_view character) {
  if (character == "\xc2\xa0") return "U+00A0 (a no-break space)";
  if (character == "\xe3\x80\x80") return "U+3000 (a wide space)";
  if (character == kByteOrderMark) return "U+FEFF (a byte order mark)";
  if (character == "\xe2\x80\x8b") return "U+200B (a space without width)";
  if (character == "\xe2\x80\xa8") return "U+2028 (a line separator)";
  if (character.starts_with("\xe2\x80") && character <= "\xe2\x80\x8f") return "a space from U+2000 to U+200F";
  return {};
}

Diagnostic stray_character(std::string_view text, std::size_t index) {
  std::size_t end = index + 1;
  while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0U) == 0x80U) ++end;
  const std::string_view character = text.substr(index, end - index);
  const std::string_view invisible = invisible_name(character);
  const std::string message =
      invisible.empty() ? fmt::format("{} stands outside of quotes (plain ones, \" or ')", quoted(character))
                        : fmt::format("{} stands outside of quotes; remove it, or write a plain space", invisible);
  return {position_of(text, index), "syntax error: " + message};
}

std::optional<Diagnostic> find_encoding_problem(std::string_view text) {
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    return Diagnostic{{1, 1}, "syntax error: the file is UTF-16, save it as UTF-8"};
  }
  const std::size_t index = utf8_length(text);
  if (index == text.size()) return std::nullopt;
  return Diagnostic{position_of(text, index), fmt::format("syntax error: the byte 0x{:02X} is not UTF-8, save the file "
                                                          "as UTF-8",
                                                          static_cast<unsigned char>(text[index]))};
}

}  // namespace

std::optional<Diagnostic> find_hazard(std::string_view text) {
  text = without_byte_order_mark(text);
  if (auto problem = find_encoding_problem(text)) return problem;
  unsigned parts = 1;
  std::size_t i = 0;
  while (i < text.size()) {
    switch (text[i]) {
      case '"':
      case '\'':
        i = skip_string(text, i).index;
        continue;
      case '#':
        i = skip_comment(text, i);
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
