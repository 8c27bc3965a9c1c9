#pragma once
// BoundedLoad: how many connections a backend may have so that hashing keeps clients in place without overloading
// anyone: load_factor times its fair share, by weight, of all connections including the one being placed.
//
// Source: Mirrokni, Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2016 (HAProxy:
// hash-balance-factor). The capacities of all add up to at least total_active + 1, so one of them always has room,
// provided that the totals cover exactly the backends that may be picked: leave out those that are down, drained or of
// weight 0, with their connections. When counts move during the pick all may look full for a moment; then pick without
// the bound.
//
// The bound is for new connections. When others end, a backend may find itself above its capacity; it then gets no new
// ones until it is below. Pure arithmetic, any thread.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace millrace::balance {

struct BoundedLoad {
  double load_factor = 1.25;       // 1.25: at most 125 % of the fair share. Below 1 counts as 1: less cannot hold all
  std::uint64_t total_active = 0;  // connections of all backends that may be picked
  std::uint64_t total_weight = 0;  // of the same backends

  /// ceil(load_factor * (total_active + 1) * weight / total_weight); 0 for weight 0.
  [[nodiscard]] std::uint32_t capacity(std::uint32_t weight) const {
    if (weight == 0 || total_weight == 0) return 0;
    const double share = static_cast<double>(weight) / static_cast<double>(total_weight);
    const double exact = std::max(1.0, load_factor) * (static_cast<double>(total_active) + 1.0) * share;
    // Factors like 1.1 have no exact binary form; 1.1 * 50 is 55 and a little, and would become 56.
    constexpr double kTolerance = 1e-12;
    const double whole = std::ceil(exact * (1.0 - kTolerance));
    return static_cast<std::uint32_t>(std::min(whole, static_cast<double>(std::numeric_limits<std::uint32_t>::max())));
  }

  [[nodiscard]] bool has_room(std::uint32_t active, std::uint32_t weight) const { return active < capacity(weight); }
};

}  // namespace millrace::balance
