#pragma once
// Durations as people write them: whole numbers with a unit, "250ms", "5s", "1m30s". Units are ms, s, m, h and d, from
// large to small, each at most once. Never negative; at most kDurationMax, so that the sum of any point in time and a
// configured duration fits its type.

#include <string>
#include <string_view>

#include "millrace/base/result.hpp"
#include "millrace/base/time.hpp"

namespace millrace::config {

inline constexpr Nanos kDurationMax = std::chrono::hours(24 * 3650);

/// The error says what is wrong with `text` and, where it can, what to write instead.
[[nodiscard]] Result<Nanos> parse_duration(std::string_view text);

/// In the largest unit that fits without a rest: "1h", "90s", "1500ms". Parts below a millisecond are left out.
[[nodiscard]] std::string format_duration(Nanos duration);

}  // namespace millrace::config
