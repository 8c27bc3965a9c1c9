#pragma once
// Time as the data path knows it: nanoseconds of the monotonic clock, always passed in, never asked for. Only the
// implementations of io::Io and main read a clock.

#include <chrono>

namespace millrace {

using Nanos = std::chrono::nanoseconds;
/// A point on CLOCK_MONOTONIC (or on the simulation's virtual clock).
using Instant = std::chrono::time_point<std::chrono::steady_clock, Nanos>;

inline constexpr Instant kNever = Instant::max();

}  // namespace millrace
