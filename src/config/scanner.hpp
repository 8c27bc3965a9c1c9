#pragma once
// What can be told of a text without knowing whether it is TOML: where its strings and brackets begin and end.

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "millrace/config/config.hpp"

namespace millrace::config {

inline constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
/// Columns do not count it.
[[nodiscard]] std::string_view without_byte_order_mark(std::string_view text);

struct StringEnd {
  std::size_t index;  // just behind the string
  bool closed;        // false: the text ends first
};
/// The end of the string that starts at `start` (a quote of either sort, single or triple). One of a single line ends
/// with its line at the latest.
[[nodiscard]] StringEnd skip_string(std::string_view text, std::size_t start);
/// Behind the comment that starts at `start`, at the end of its line.
[[nodiscard]] std::size_t skip_comment(std::string_view text, std::size_t start);

/// The brackets and braces that are open at the end of `text`, outermost first; a string that is open comes last.
[[nodiscard]] std::vector<std::size_t> still_open(std::string_view text);

/// Lines and columns count from 1; a column is a character, not a byte.
[[nodiscard]] Position position_of(std::string_view text, std::size_t index);
/// The opposite; the end of the line where it has no such column.
[[nodiscard]] std::size_t index_of(std::string_view text, Position position);

}  // namespace millrace::config
