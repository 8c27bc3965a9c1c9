#pragma once
// What the tests of the balancing algorithms share: callables that stand for the pool, and counting.

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::balance::test {

using Weights = std::vector<std::uint32_t>;
using Counts = std::vector<std::uint32_t>;
using Flags = std::vector<bool>;

inline constexpr auto kAll = [](std::uint32_t) { return true; };
inline constexpr auto kNone = [](std::uint32_t) { return false; };
inline constexpr auto kIdle = [](std::uint32_t) -> std::uint32_t { return 0; };

/// Weights from 1 to `highest`, reproducible.
inline Weights random_weights(std::size_t backends, std::uint32_t highest, std::uint64_t seed) {
  Rng rng(seed);
  Weights weights(backends);
  for (auto& weight : weights) weight = static_cast<std::uint32_t>(1 + rng.below(highest));
  return weights;
}

inline std::uint64_t total(const Weights& weights) {
  return std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
}

/// Calls `pick` this often and counts the results by backend; an empty pick counts at position `backends`.
template <class Pick>
Counts count_picks(std::size_t backends, std::uint64_t picks, Pick&& pick) {
  Counts counts(backends + 1);
  for (std::uint64_t i = 0; i < picks; ++i) {
    const std::optional<std::uint32_t> index = pick();
    ++counts.at(index ? *index : backends);
  }
  return counts;
}

}  // namespace millrace::balance::test
