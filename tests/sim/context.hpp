#pragma once
// Context: what everything in one run shares: the time, the dice, the faults and the trace.

#include <algorithm>
#include <cstdint>

#include "clock.hpp"
#include "faults.hpp"
#include "trace.hpp"

namespace millrace::sim {

struct Context {
  explicit Context(std::uint64_t seed) : random(seed) {}

  [[nodiscard]] bool chance(double probability) { return probability > 0 && random.unit() < probability; }
  /// In [low, high].
  [[nodiscard]] std::uint64_t between(std::uint64_t low, std::uint64_t high) {
    return low + random.below(high - low + 1);
  }
  [[nodiscard]] Nanos up_to(Nanos most) {
    return Nanos(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most.count()) + 1)));
  }
  /// `whole` (> 0), or with the fragment fault anything from 1 to it.
  [[nodiscard]] std::size_t fragment(std::size_t whole) {
    return whole > 1 && chance(faults.fragment) ? between(1, whole) : whole;
  }
  [[nodiscard]] Nanos latency() { return std::chrono::microseconds(1) + up_to(faults.latency_max); }

  Clock clock;
  Rng random;
  Faults faults;
  Trace trace{clock};
};

}  // namespace millrace::sim
