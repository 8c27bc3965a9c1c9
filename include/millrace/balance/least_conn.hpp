#pragma once
// LeastConn: the backend with the fewest active connections per unit of weight; among equals in turn, by weight.
//
// As nginx's least_conn (src/stream/ngx_stream_upstream_least_conn_module.c) the lowest active/weight wins, compared
// exactly. Connections that never end fill the backends so that none is more than one connection above
// the level of the least loaded: (active - 1) / weight of any is at most active / weight of any other.
//
// Among equals the one whose turn is due first is picked, so that an idle pool does not send everyone to its first
// backend. A turn comes round every 1/weight units of a time of its own, which only picks move (stride scheduling:
// Waldspurger and Weihl, 1995); the first one after half of that, which spreads the turns of a heavy backend: weights
// 5, 1, 1 give a a a b c a a. Over sum(weights) picks from the same equals each is picked exactly `weight` times.
// Whoever missed turns, by being busy or not eligible, comes next, but once only: it does not catch up.
//
// A pick is O(backends): one pass that only reads, and then moves one turn. (nginx's rule for equals, a round of smooth
// weighted round robin, writes to all of them.) Backends of equal weight are looked at together, so that only each
// weight needs a division. Whether a backend is eligible is asked only when it would be the best so far:
// the branch in the loop goes the same way nearly always, also when half of the backends have one connection more than
// the others, which is what this algorithm makes of them. Backends that are not eligible cost least when they look
// busy.
//
// Holds the turns, so one owner (a worker), no locking. For workers that start together see SmoothWrr.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "millrace/balance/pick.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::balance {

class LeastConn {
 public:
  explicit LeastConn(std::span<const std::uint32_t> weights) {
    for (std::uint32_t index = 0; index < weights.size(); ++index) {
      if (weights[index] != 0) order_.push_back(index);
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return weights[a] > weights[b]; });
    for (const std::uint32_t index : order_) {
      const std::uint64_t interval = (std::uint64_t{weights[order_.front()]} << kTurnBits) / weights[index];
      if (groups_.empty() || groups_.back().weight != weights[index]) {
        groups_.push_back({.weight = weights[index], .end = 0, .interval = interval});
      }
      ++groups_.back().end;
      turns_.push_back(interval / 2);
    }
    for (std::size_t i = 1; i < groups_.size(); ++i) groups_[i].end += groups_[i - 1].end;
  }

  template <ActiveFn Active, EligibleFn Eligible>
  std::optional<std::uint32_t> pick(Active&& active, Eligible&& eligible) {
    Best best;
    std::uint32_t begin = 0;
    for (const Group& group : groups_) {
      look_through(begin, group, best, active, eligible);
      begin = group.end;
    }
    if (best.group == nullptr) return std::nullopt;
    std::uint64_t& turn = turns_[best.position];
    now_ = std::max(now_, turn);
    turn = now_ + best.group->interval;
    return order_[best.position];
  }

 private:
  // Of the turns of the heaviest backend. It leaves room for 2^48 picks, and makes the intervals of the others exact to
  // 1 in 2^16.
  static constexpr unsigned kTurnBits = 16;

  /// Backends of one weight: positions from the end of the group before to `end`.
  struct Group {
    std::uint32_t weight;
    std::uint32_t end;
    std::uint64_t interval;  // between two turns of each of them
  };

  /// Active connections above, turn below: what is lower goes first among backends of one weight.
  using Key = Uint128;
  static constexpr std::uint64_t kNoTurn = std::numeric_limits<std::uint64_t>::max();
  [[nodiscard]] static constexpr Key key_of(std::uint64_t active, std::uint64_t turn) {
    return (static_cast<Key>(active) << 64U) | turn;
  }

  /// The best one so far.
  struct Best {
    const Group* group = nullptr;
    std::uint32_t position = 0;
    std::uint64_t active = 0;
    std::uint64_t turn = 0;
  };

  /// What a backend of this weight has to be below of to be better than `best`.
  [[nodiscard]] static Key bar(const Best& best, std::uint32_t weight) {
    if (best.group == nullptr) return ~Key{0};
    if (best.active == 0) return best.turn;
    const std::uint64_t product = best.active * weight;
    const bool can_be_equal = product % best.group->weight == 0;
    return key_of(product / best.group->weight, can_be_equal ? best.turn : kNoTurn);
  }

  template <class Active, class Eligible>
  void look_through(std::uint32_t begin, const Group& group, Best& best, Active& active, Eligible& eligible) const {
    const std::uint32_t* const order = order_.data();
    const std::uint64_t* const turns = turns_.data();
    Key to_beat = bar(best, group.weight);
    for (std::uint32_t position = begin; position < group.end; ++position) {
      const std::uint32_t connections = active(order[position]);
      const Key key = key_of(connections, turns[position]);
      // Rare, and it must stay a branch: a conditional move would chain the backends to each other.
      if (key < to_beat) [[unlikely]] {
        if (!eligible(order[position])) continue;
        to_beat = key;
        best = {.group = &group, .position = position, .active = connections, .turn = turns[position]};
      }
    }
  }

  std::vector<std::uint32_t> order_;  // backends that have a weight, the heaviest first; positions are those in here
  std::vector<std::uint64_t> turns_;  // when the next turn of each is due
  std::vector<Group> groups_;
  std::uint64_t now_ = 0;  // the latest turn that was taken
};

}  // namespace millrace::balance
