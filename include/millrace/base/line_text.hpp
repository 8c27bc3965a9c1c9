#pragma once
// How times and strings stand in lines that people and programs read: those of the log and of the access log.

#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

/// RFC 3339, in UTC with milliseconds: 2026-01-02T03:04:05.678Z.
void append_time(std::string& out, std::int64_t unix_ms);
/// In quotes, escaped as JSON wants it, all control characters too (no line and no terminal escape can be forged);
/// bytes that are not UTF-8 become U+FFFD.
void append_quoted(std::string& out, std::string_view text);
/// As it is when it is made of letters, digits and `_-./:@+,%` alone, else quoted.
void append_plain(std::string& out, std::string_view text);

}  // namespace millrace
