#include "values.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace millrace::importer {
namespace {

constexpr std::int64_t kMillisecondsMax = std::int64_t{3650} * 86'400'000;  // as millrace has it
constexpr std::int64_t kMicroseconds = 1000;

struct Unit {
  std::string_view name;
  std::int64_t microseconds;
};
constexpr std::array kUnits = {
    Unit{"us", 1},           Unit{"ms", 1'000},        Unit{"s", 1'000'000},      Unit{"m", 60'000'000},
    Unit{"min", 60'000'000}, Unit{"h", 3'600'000'000}, Unit{"d", 86'400'000'000}, Unit{"w", 604'800'000'000}};

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

std::int64_t unit_of(std::string_view name) {
  for (const Unit& unit : kUnits) {
    if (unit.name == name) return unit.microseconds;
  }
  return 0;
}

std::string_view take_while(std::string_view& rest, bool digits) {
  std::size_t length = 0;
  while (length < rest.size() && (is_digit(rest[length]) || rest[length] == '.') == digits && rest[length] != ' ') {
    ++length;
  }
  const std::string_view taken = rest.substr(0, length);
  rest.remove_prefix(length);
  return taken;
}

/// "1.5" thousandths: 1500. Nothing for what is no number, or a huge one.
std::optional<std::int64_t> parse_thousandths(std::string_view text) {
  const std::size_t point = std::min(text.find('.'), text.size());
  const auto whole = parse_number(text.substr(0, point));
  if (!whole || *whole > kMillisecondsMax) return std::nullopt;
  std::int64_t fraction = 0;
  if (point < text.size()) {
    std::string digits(text.substr(point + 1, 3));
    if (digits.empty() || text.find('.', point + 1) != std::string_view::npos) return std::nullopt;
    digits.resize(3, '0');
    fraction = parse_number(digits).value_or(0);
  }
  return *whole * 1000 + fraction;
}

}  // namespace

std::string toml_quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c >= 0x20 && c < 0x7f) {
      out += c;
    } else if (c >= 0 && c < 0x20) {
      out += fmt::format("\\u{:04X}", static_cast<unsigned>(c));
    } else {
      out += '?';
    }
  }
  return out + '"';
}

std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 0 && c < 0x20) c = ' ';
    if (c < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

std::string toml_key(std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
  });
  return bare ? std::string(key) : toml_quoted(key);
}

std::optional<std::int64_t> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 15 || !std::all_of(text.begin(), text.end(), is_digit)) return std::nullopt;
  std::int64_t number = 0;
  for (const char c : text) number = number * 10 + (c - '0');
  return number;
}

std::string duration_value(std::int64_t milliseconds) {
  if (milliseconds % 3'600'000 == 0 && milliseconds != 0) return fmt::format("\"{}h\"", milliseconds / 3'600'000);
  if (milliseconds % 60'000 == 0 && milliseconds != 0) return fmt::format("\"{}m\"", milliseconds / 60'000);
  if (milliseconds % 1000 == 0) return fmt::format("\"{}s\"", milliseconds / 1000);
  return fmt::format("\"{}ms\"", milliseconds);
}

std::int64_t milliseconds_of(std::string_view toml) {
  if (toml.size() < 4) return 0;
  std::string_view rest = toml.substr(1, toml.size() - 2);
  const std::string_view digits = take_while(rest, true);
  return parse_number(digits).value_or(0) * unit_of(rest) / kMicroseconds;
}

std::optional<std::string> parse_duration(std::string_view text, std::int64_t bare_unit) {
  std::int64_t total = 0;  // microseconds
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    const auto thousandths = parse_thousandths(take_while(text, true));
    const std::string_view name = take_while(text, false);
    const std::int64_t unit = name.empty() ? bare_unit * kMicroseconds : unit_of(name);
    while (!text.empty() && text[0] == ' ') text.remove_prefix(1);
    if (!thousandths || unit == 0 || *thousandths > kMillisecondsMax * 1'000'000 / unit) return std::nullopt;
    total += *thousandths * unit / 1000;
    if (total > kMillisecondsMax * kMicroseconds) return std::nullopt;
  }
  return duration_value((total + kMicroseconds - 1) / kMicroseconds);
}

std::string listen_address(std::string_view text, std::string_view any) {
  if (text.starts_with('/')) return fmt::format("unix:{}", text);
  if (parse_number(text)) return fmt::format("{}:{}", any, text);
  if (text.starts_with(':') && parse_number(text.substr(1))) return fmt::format("{}{}", any, text);
  if (text.starts_with("*:")) return fmt::format("{}{}", any, text.substr(1));
  return std::string(text);
}

}  // namespace millrace::importer
