#pragma once
// One line of the access log, as JSON or as text. docs/logs.md describes the fields.

#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/accesslog/record.hpp"

namespace millrace::accesslog {

enum class Format : std::uint8_t { json, text };

/// What the numbers of a record stand for.
struct RecordNames {
  std::string_view listener;
  std::string_view pool;
  std::string_view backend;  // has no meaning when the record has none
};

/// Appends the line and its end. `ended_unix_ms`: Record::ended by the clock on the wall.
void append_line(std::string& out, Format format, const Record& record, const RecordNames& names,
                 std::int64_t ended_unix_ms);

}  // namespace millrace::accesslog
