#pragma once
// Cause: why a backend's health changed, in a word that metrics can count by; the log says more.

#include <cstdint>
#include <string_view>

#include "millrace/pool/backend_table.hpp"

namespace millrace::health {

enum class Cause : std::uint8_t {
  succeeded,      // a probe
  ejection_over,  // without probes: the time was up
  unprobed,       // a reload turned its probes off
  failures,       // of real traffic, in a row
  refused,        // a probe, from here on
  timeout,
  unreachable,
  reset,
  unexpected,  // the answer, or that there was none before the end
  other,
};
inline constexpr unsigned kCauses = 10;
[[nodiscard]] std::string_view name(Cause cause);
/// What a change by this cause leads to.
[[nodiscard]] pool::HealthState outcome(Cause cause);
/// Of a probe that failed with this errno.
[[nodiscard]] Cause cause_of(int error);

}  // namespace millrace::health
