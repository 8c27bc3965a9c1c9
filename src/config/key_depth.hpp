#pragma once
// A guard in front of the TOML library. toml++ 3.3 limits how deep values nest, but not how many parts a dotted key may
// have; each part is one more table, and destroying tens of thousands of nested ones overruns the stack.

#include <optional>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {

/// More parts than any key of the contract has. Together with toml++'s limit of 256 nested values this bounds the depth
/// of the whole tree to a few thousand.
inline constexpr unsigned kKeyPartsMax = 8;

/// Where a key with more than kKeyPartsMax parts stands, if there is one. Exact on valid TOML; on invalid TOML it is
/// exact up to the first error, which is as far as the library reads.
[[nodiscard]] std::optional<Position> find_too_deep_key(std::string_view text);

}  // namespace millrace::config
