#include "syntax_hint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstddef>

#include "text.hpp"

namespace millrace::config {
namespace {

constexpr std::string_view kPrefix = "Error while parsing ";

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// A position counts characters, a string_view bytes.
std::size_t byte_of_column(std::string_view line, std::uint32_t column) {
  std::size_t i = 0;
  for (std::uint32_t left = column; i < line.size(); ++i) {
    const bool starts_character = (static_cast<unsigned char>(line[i]) & 0xc0U) != 0x80U;
    if (starts_character && --left == 0) break;
  }
  return i;
}

std::string_view line_of(std::string_view text, std::uint32_t number) {
  for (; number > 1; --number) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

/// The value that the error is in: from the last '=', bracket, comma or blank to the next comma, bracket or blank.
std::string_view value_around(std::string_view line, std::uint32_t column) {
  const std::size_t at = byte_of_column(line, column);
  const std::size_t before = line.substr(0, at).find_last_of("=[{, \t");
  const std::size_t start = before == std::string_view::npos ? 0 : before + 1;
  return line.substr(start, line.substr(start).find_first_of(",]} \t\r#"));
}

/// What the library was reading when something other than a number, a boolean or a date turned up.
bool reads_bare_value(std::string_view scope) {
  static constexpr std::array<std::string_view, 8> kScopes = {
      "value", "boolean", "decimal integer", "hexadecimal integer", "floating-point", "time", "date", "date-time"};
  return std::find(kScopes.begin(), kScopes.end(), scope) != kScopes.end();
}

/// Text that was meant as a string: it has a letter, or it is most of an address.
bool is_text(std::string_view value) {
  if (value.empty() || value.find_first_of("\"'=") != std::string_view::npos) return false;
  const auto belongs = [](char c) { return is_letter(c) || c == ':' || c == '*'; };
  return std::any_of(value.begin(), value.end(), belongs) || std::count(value.begin(), value.end(), '.') > 1;
}

bool is_boolean_of_other_languages(std::string_view value) {
  static constexpr std::array<std::string_view, 6> kWords = {"yes", "no", "on", "off", "true", "false"};
  std::string lower(value.substr(0, 8));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return is_letter(c) ? static_cast<char>(c | 0x20) : c; });
  return std::find(kWords.begin(), kWords.end(), lower) != kWords.end();
}

/// What to write instead of a value that is none.
std::string hint(std::string_view scope, std::string_view value) {
  if (!reads_bare_value(scope) || !is_text(value)) return {};
  if (is_boolean_of_other_languages(value)) return ", write true or false";
  return ", text needs quotes: " + quoted(value);
}

std::string_view plain_reason(std::string_view scope, std::string_view reason) {
  if (scope == "inline table" && reason.ends_with(R"(saw '\n')")) return "a table in braces must be on one line";
  if (reason.starts_with("unescaped control characters")) return "a string must end on its line";
  if (reason.starts_with("encountered end-of-file")) return "the file ends in the middle of it";
  if (reason.starts_with("could not determine value type")) return "this is no value";
  return reason;
}

}  // namespace

std::string syntax_message(std::string_view text, Position position, std::string_view description) {
  if (!description.starts_with(kPrefix)) return fmt::format("syntax error: {}", printable(description));
  description.remove_prefix(kPrefix.size());
  const std::size_t colon = description.find(": ");
  if (colon == std::string_view::npos) return fmt::format("syntax error: {}", printable(description));
  const std::string_view scope = description.substr(0, colon);
  const std::string_view reason = description.substr(colon + 2);
  const std::string_view value = value_around(line_of(text, position.line), position.column);
  return fmt::format("syntax error in {}: {}{}", printable(scope), printable(plain_reason(scope, reason)),
                     hint(scope, value));
}

}  // namespace millrace::config
