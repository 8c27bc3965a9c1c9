#include "millrace/base/line_text.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iterator>

namespace millrace {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

struct Utf8Sequence {
  std::size_t length;  // of an invalid one: what a single U+FFFD stands for
  bool valid;
};

/// The sequence that `text` begins with; `text` is not empty. Follows the table of well-formed sequences (Unicode 15,
/// table 3-7) and its practice of replacing maximal subparts.
Utf8Sequence first_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xc2 || lead > 0xf4) return {1, false};
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte's range rules out overlong forms, surrogates, and what is above U+10FFFF.
  unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < length; ++i) {
    if (i >= text.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true};
}

/// The character of a one or two-byte sequence when it is one that controls a terminal or a line, else -1.
int control_character(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(sequence[i]); };
  if (sequence.size() == 1 && (byte(0) < 0x20 || byte(0) == 0x7f)) return byte(0);
  if (sequence.size() == 2 && byte(0) == 0xc2 && byte(1) < 0xa0) return byte(1);  // C1: U+0080 to U+009F
  return -1;
}

void append_control(std::string& out, int character) {
  switch (character) {
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", character);
  }
}

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("_-./:@+,%").find(c) != std::string_view::npos;
}

}  // namespace

void append_time(std::string& out, std::int64_t unix_ms) {
  using namespace std::chrono;
  const sys_time<milliseconds> at{milliseconds(unix_ms)};
  const auto day = floor<days>(at);
  const year_month_day date(day);
  const hh_mm_ss<milliseconds> time(at - day);
  fmt::format_to(std::back_inserter(out), "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", static_cast<int>(date.year()),
                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                 time.minutes().count(), time.seconds().count(), time.subseconds().count());
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    const Utf8Sequence sequence = first_sequence(text);
    const std::string_view bytes = text.substr(0, sequence.length);
    text.remove_prefix(sequence.length);
    if (!sequence.valid) {
      out += kReplacement;
    } else if (const int control = control_character(bytes); control >= 0) {
      append_control(out, control);
    } else {
      if (bytes == "\"" || bytes == "\\") out += '\\';
      out += bytes;
    }
  }
  out += '"';
}

void append_plain(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (!is_plain(c)) return append_quoted(out, text);
  }
  if (text.empty()) return append_quoted(out, text);
  out += text;
}

}  // namespace millrace
