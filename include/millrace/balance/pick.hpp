#pragma once
// What all picks have in common. An index is the position of a backend in the weights (or entries) that the algorithm
// was built from. A weight says how much of the load a backend takes, relative to the others; a backend of weight 0 is
// never picked. A pick is empty when nothing is eligible. Picks do not allocate.
//
// The callables are the window to what other threads write meanwhile (health, active connections): two calls for the
// same index may answer differently. Whatever they answer, a pick ends and names a backend that was eligible when
// asked.

#include <compare>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace millrace::balance {

/// bool(std::uint32_t index): may this backend be picked now?
template <class F>
concept EligibleFn = std::predicate<F&, std::uint32_t>;

/// std::uint32_t(std::uint32_t index): connections of this backend that have not ended.
template <class F>
concept ActiveFn = std::is_invocable_r_v<std::uint32_t, F&, std::uint32_t>;

/// Active connections per unit of weight, compared exactly: no division, and two 32-bit factors cannot overflow.
/// Weight 0 is infinite load.
struct Load {
  std::uint64_t active = 1;
  std::uint64_t weight = 0;

  friend constexpr std::weak_ordering operator<=>(Load a, Load b) {
    return a.active * b.weight <=> b.active * a.weight;
  }
  friend constexpr bool operator==(Load a, Load b) { return std::is_eq(a <=> b); }
};

}  // namespace millrace::balance
