#pragma once
// Text as diagnostics and to_toml() show it. Everything here takes any bytes and gives valid UTF-8 without control
// characters: a configuration file must not be able to write escape sequences to the terminal of who checks it.

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace::config {

/// How much of a person's text a diagnostic repeats, in bytes.
inline constexpr std::size_t kQuoteBytesMax = 80;

[[nodiscard]] bool is_utf8(std::string_view text);
/// How many bytes from the beginning are well-formed UTF-8.
[[nodiscard]] std::size_t utf8_length(std::string_view text);

/// Without control characters, otherwise as it is: for text that stands on its own.
[[nodiscard]] std::string printable(std::string_view text);
/// The inside of a TOML basic string; bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string escaped(std::string_view text);
/// A whole TOML basic string: `"…"`.
[[nodiscard]] std::string toml_string(std::string_view text);
/// A key as TOML wants it: bare where it can be, else quoted.
[[nodiscard]] std::string toml_key(std::string_view key);
/// Like toml_string(), but cut to kQuoteBytesMax: for diagnostics.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace millrace::config
