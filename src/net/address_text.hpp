#pragma once
// What the parsers of addresses and of networks share.

#include <cstdint>
#include <string_view>

#include "millrace/base/result.hpp"

namespace millrace::net {

/// ASCII without spaces and control characters.
[[nodiscard]] bool is_printable(std::string_view text);
/// True for an empty text.
[[nodiscard]] bool all_digits(std::string_view text);
/// "10.0.0.1", in host order. The error repeats the text.
[[nodiscard]] Result<std::uint32_t> parse_ipv4(std::string_view text);

}  // namespace millrace::net
