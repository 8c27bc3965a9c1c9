#pragma once
// A guard in front of the TOML library: finds what toml++ 3.3 must not see.
//
// - Keys of very many parts. The library limits how deep values nest, but not how many parts a dotted key may have;
// each
//   part is one more table, and destroying tens of thousands of nested ones overruns the stack.
// - Characters beyond ASCII outside of strings and comments. They are errors anyway, but for many of them the library's
//   test for white space runs into undefined behaviour (is_non_ascii_horizontal_whitespace, an unreachable default).
// - Text that is not UTF-8, which it finds as well, but without saying what is to be done.

#include <optional>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {

/// More parts than any key of the contract has. Together with the library's limit of 256 nested values this bounds the
/// depth of the whole tree to about two thousand.
inline constexpr unsigned kKeyPartsMax = 8;

/// The first hazard, if there is one; never one in valid TOML but for keys with too many parts. Strings and comments
/// are told apart exactly up to the first error of the text, which is as far as the library reads.
[[nodiscard]] std::optional<Diagnostic> find_hazard(std::string_view text);

}  // namespace millrace::config
