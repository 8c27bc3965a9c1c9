#pragma once
// The names that people give to listeners, pools and backends. They turn up on command lines, in logs, in metrics and
// on terminals: printable ASCII without quotes and backslashes.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::config {

inline constexpr std::size_t kNameBytesMax = 64;          // of listeners and pools
inline constexpr std::size_t kBackendNameBytesMax = 128;  // fits "unix:" and the longest path of a unix socket

/// What is wrong with the name, if anything is.
[[nodiscard]] std::optional<std::string> name_problem(std::string_view name, std::size_t bytes_max);

}  // namespace millrace::config
