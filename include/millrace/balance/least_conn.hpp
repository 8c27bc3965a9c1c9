#pragma once
// LeastConn: the backend with the fewest active connections per unit of weight; among equals in turn, by weight.
//
// As nginx's least_conn (src/stream/ngx_stream_upstream_least_conn_module.c): the lowest active/weight wins, compared
// by cross multiplication; among equals a round of smooth weighted round robin decides, so that an idle pool does not
// send everyone to its first backend. Connections that never end fill the backends so that none is more than one
// connection above the level of the least loaded: (active - 1) / weight of any is at most active / weight of any other.
//
// A pick is O(backends) and asks for each of them once. Holds the turn and scratch memory, so one owner (a worker), no
// locking. For workers that start together see SmoothWrr.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "millrace/balance/pick.hpp"
#include "millrace/balance/smooth_wrr.hpp"

namespace millrace::balance {

class LeastConn {
 public:
  explicit LeastConn(std::span<const std::uint32_t> weights)
      : weights_(weights.begin(), weights.end()), equals_(weights.size()), turn_(weights) {}

  template <ActiveFn Active, EligibleFn Eligible>
  std::optional<std::uint32_t> pick(Active&& active, Eligible&& eligible) {
    const std::span<const std::uint32_t> equals = least_loaded(active, eligible);
    if (equals.empty()) return std::nullopt;
    // No choice, no turn taken: only ties move the round robin.
    if (equals.size() == 1) return equals.front();
    return turn_.pick_among(equals);
  }

 private:
  // One pass that remembers the equals, rather than a second one that looks for them: other workers change the counts
  // meanwhile, and a second look could find none.
  template <class Active, class Eligible>
  std::span<const std::uint32_t> least_loaded(Active& active, Eligible& eligible) {
    const std::span<const std::uint32_t> weights = weights_;
    Load least;
    std::size_t count = 0;
    for (std::uint32_t index = 0; index < weights.size(); ++index) {
      if (weights[index] == 0 || !eligible(index)) continue;
      const Load load{.active = active(index), .weight = weights[index]};
      const std::weak_ordering order = load <=> least;
      if (std::is_gt(order)) continue;
      // Rare, and it must stay a branch: a conditional move would chain the multiplications of all backends.
      if (std::is_lt(order)) [[unlikely]] {
        least = load;
        count = 0;
      }
      equals_[count++] = index;
    }
    return std::span(equals_).first(count);
  }

  std::vector<std::uint32_t> weights_;
  std::vector<std::uint32_t> equals_;  // scratch of one pick; here because a pick must not allocate
  SmoothWrr turn_;
};

}  // namespace millrace::balance
