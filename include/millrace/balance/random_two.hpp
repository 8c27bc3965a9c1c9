#pragma once
// RandomTwo: draws two different backends at random, by weight, and takes the one with fewer active connections per
// unit of weight.
//
// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 2001. Nearly as even as
// least_conn at a cost that does not grow with the pool, and workers (or nodes) that see slightly old counts do not all
// run to the same backend.
//
// A draw is a binary search in the running sums of the weights. Draws that hit backends that are not eligible are
// repeated a bounded number of times; when most of the weight is not eligible, a scan takes the least loaded of what
// is. The random word is the only source of chance: the same word, counts and eligibility give the same pick. Immutable
// after construction, any thread.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "millrace/balance/pick.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::balance {

class RandomTwo {
 public:
  explicit RandomTwo(std::span<const std::uint32_t> weights) {
    ends_.reserve(weights.size());
    std::uint64_t sum = 0;
    for (const std::uint32_t weight : weights) ends_.push_back(sum += weight);
  }

  /// `random`: a uniform 64-bit word, fresh for every pick.
  template <ActiveFn Active, EligibleFn Eligible>
  [[nodiscard]] std::optional<std::uint32_t> pick(std::uint64_t random, Active&& active, Eligible&& eligible) const {
    std::optional<std::uint32_t> one;
    for (int draw = 0; draw < kDraws && total() != (one ? weight(*one) : 0); ++draw, random = mix64(random)) {
      const std::uint32_t index = one ? drawn_beside(*one, random) : drawn(scale(random, total()));
      if (!eligible(index)) continue;
      if (one) return load(index, active) < load(*one, active) ? index : *one;
      one = index;
    }
    return scan(random, active, eligible);
  }

 private:
  // With half of the weight eligible, all but 1 in 3,800 picks have their two by then.
  static constexpr int kDraws = 16;

  [[nodiscard]] std::uint64_t total() const { return ends_.empty() ? 0 : ends_.back(); }
  [[nodiscard]] std::uint64_t start(std::uint32_t index) const { return index == 0 ? 0 : ends_[index - 1]; }
  [[nodiscard]] std::uint64_t weight(std::uint32_t index) const { return ends_[index] - start(index); }
  template <class Active>
  [[nodiscard]] Load load(std::uint32_t index, Active& active) const {
    return {.active = active(index), .weight = weight(index)};
  }

  /// The backend whose part of [0, total) holds the point. A weight of 0 is an empty part.
  [[nodiscard]] std::uint32_t drawn(std::uint64_t point) const {
    return static_cast<std::uint32_t>(std::upper_bound(ends_.begin(), ends_.end(), point) - ends_.begin());
  }
  /// By weight among all others: cuts the part of `one` out, so that a heavy one is not drawn again and again.
  [[nodiscard]] std::uint32_t drawn_beside(std::uint32_t one, std::uint64_t random) const {
    const std::uint64_t point = scale(random, total() - weight(one));
    return drawn(point < start(one) ? point : point + weight(one));
  }

  /// The least loaded; among equals one at random by weight (reservoir sampling), as there may be many idle ones.
  template <class Active, class Eligible>
  std::optional<std::uint32_t> scan(std::uint64_t random, Active& active, Eligible& eligible) const {
    std::optional<std::uint32_t> chosen;
    Load least;
    std::uint64_t equals = 0;  // weight of the least loaded ones so far
    for (std::uint32_t index = 0; index < ends_.size(); ++index) {
      if (weight(index) == 0 || !eligible(index)) continue;
      const Load candidate = load(index, active);
      if (least < candidate) continue;
      equals = candidate < least ? candidate.weight : equals + candidate.weight;
      random = mix64(random);
      if (scale(random, equals) >= candidate.weight) continue;
      chosen = index;
      least = candidate;
    }
    return chosen;
  }

  std::vector<std::uint64_t> ends_;  // running sums: backend i owns [ends_[i-1], ends_[i])
};

}  // namespace millrace::balance
