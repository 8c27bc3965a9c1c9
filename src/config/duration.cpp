#include "duration.hpp"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "text.hpp"

namespace millrace::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array kUnits = {Unit{"d", 86'400'000}, Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1'000},
                               Unit{"ms", 1}};
constexpr std::int64_t kMillisecondsMax = kDurationMax / std::chrono::milliseconds(1);

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

template <class Predicate>
std::string_view take_while(std::string_view& text, Predicate holds) {
  std::size_t length = 0;
  while (length < text.size() && holds(text[length])) ++length;
  const std::string_view taken = text.substr(0, length);
  text.remove_prefix(length);
  return taken;
}

/// The number, held at one above the most that any duration may be: larger ones are all the same error.
std::int64_t bounded_number(std::string_view digits) {
  std::int64_t number = 0;
  for (const char c : digits) {
    number = number * 10 + (c - '0');
    if (number > kMillisecondsMax) return kMillisecondsMax + 1;
  }
  return number;
}

Error malformed(std::string_view text) {
  if (text.empty()) return {R"(a duration is missing, write for example "5s")"};
  if (text[0] == '-') return {fmt::format("{} is negative, a duration cannot be", quoted(text))};
  if (text.find('.') != std::string_view::npos) {
    return {fmt::format(R"({} has a fraction, use whole numbers: "1500ms")", quoted(text))};
  }
  if (text.find(' ') != std::string_view::npos) return {fmt::format("{} has a space, remove it", quoted(text))};
  return {fmt::format(R"({} is not a duration, write for example "250ms", "5s" or "1m30s")", quoted(text))};
}

/// What people call the units elsewhere.
std::string_view plain_unit(std::string_view word) {
  struct Name {
    std::string_view word;
    std::string_view unit;
  };
  static constexpr std::array kNames = {
      Name{"msec", "ms"}, Name{"msecs", "ms"}, Name{"millis", "ms"}, Name{"milliseconds", "ms"}, Name{"MS", "ms"},
      Name{"S", "s"},     Name{"sec", "s"},    Name{"secs", "s"},    Name{"second", "s"},        Name{"seconds", "s"},
      Name{"min", "m"},   Name{"mins", "m"},   Name{"minute", "m"},  Name{"minutes", "m"},       Name{"H", "h"},
      Name{"hr", "h"},    Name{"hrs", "h"},    Name{"hour", "h"},    Name{"hours", "h"},         Name{"D", "d"},
      Name{"day", "d"},   Name{"days", "d"}};
  for (const Name& name : kNames) {
    if (name.word == word) return name.unit;
  }
  return {};
}

/// The index of the unit in kUnits, or an error that a person understands.
Result<std::size_t> parse_unit(std::string_view unit, std::string_view whole) {
  for (std::size_t i = 0; i < kUnits.size(); ++i) {
    if (kUnits[i].name == unit) return i;
  }
  if (const std::string_view plain = plain_unit(unit); !plain.empty()) {
    return Error{fmt::format("unknown unit {} in {}, write {}", quoted(unit), quoted(whole), quoted(plain))};
  }
  return Error{fmt::format("unknown unit {} in {}, use ms, s, m, h or d", quoted(unit), quoted(whole))};
}

}  // namespace

Result<Nanos> parse_duration(std::string_view text) {
  std::string_view rest = text;
  std::int64_t total = 0;
  std::size_t next_unit = 0;
  do {
    const std::string_view digits = take_while(rest, is_digit);
    if (digits.empty()) return malformed(text);
    if (rest.empty()) {
      return Error{fmt::format("{} has no unit, write {}", quoted(text), quoted(std::string(text) + 's'))};
    }
    const std::string_view name = take_while(rest, is_letter);
    if (name.empty()) return malformed(text);
    const Result<std::size_t> unit = parse_unit(name, text);
    if (!unit) return Error{unit.error()};
    if (unit.value() < next_unit) {
      return Error{fmt::format("the units of {} must go from large to small, each once", quoted(text))};
    }
    next_unit = unit.value() + 1;
    const std::int64_t scale = kUnits[unit.value()].milliseconds;
    const std::int64_t number = bounded_number(digits);
    if (number > (kMillisecondsMax - total) / scale) {
      return Error{fmt::format("{} is too long, the most is {}", quoted(text), format_duration(kDurationMax))};
    }
    total += number * scale;
  } while (!rest.empty());
  return Nanos(std::chrono::milliseconds(total));
}

std::string format_duration(Nanos duration) {
  const std::int64_t total = duration / std::chrono::milliseconds(1);
  if (total == 0) return "0s";
  for (const Unit& unit : kUnits) {
    if (total % unit.milliseconds == 0) return fmt::format("{}{}", total / unit.milliseconds, unit.name);
  }
  return {};  // not reached: everything is a whole number of milliseconds
}

}  // namespace millrace::config
