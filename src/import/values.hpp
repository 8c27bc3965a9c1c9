#pragma once
// Values of other programs as TOML, and the other way round: text in quotes, durations, addresses.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::importer {

/// `"…"`; bytes that are not UTF-8 become '?'.
[[nodiscard]] std::string toml_quoted(std::string_view text);
/// One line of printable ASCII: what a comment, or a terminal, can take.
[[nodiscard]] std::string one_line(std::string_view text);
/// A key, in quotes where it needs them.
[[nodiscard]] std::string toml_key(std::string_view key);

/// Digits only, and not more than fit.
[[nodiscard]] std::optional<std::int64_t> parse_number(std::string_view text);

/// "5s", "1m30s", "500us", "10": as TOML. `bare_unit` is what a number without a unit counts, in milliseconds; a unit
/// `m` is minutes, `d` days. Nothing for what is no duration, or too long a one.
[[nodiscard]] std::optional<std::string> parse_duration(std::string_view text, std::int64_t bare_unit);
/// Of what parse_duration() gave.
[[nodiscard]] std::int64_t milliseconds_of(std::string_view toml);
[[nodiscard]] std::string duration_value(std::int64_t milliseconds);

/// 80 → "*:80" with `any` = "*"; ":80", "*:80" too; "/run/x.sock", "unix:/run/x.sock" → "unix:/run/x.sock". Anything
/// else as it is: the configuration says what is wrong with it.
[[nodiscard]] std::string listen_address(std::string_view text, std::string_view any);

}  // namespace millrace::importer
