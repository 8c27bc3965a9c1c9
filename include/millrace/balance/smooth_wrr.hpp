#pragma once
// SmoothWrr: weighted round robin that spreads the turns of a heavy backend over the cycle: weights 5, 1, 1 give
// a a b a c a a, not a a a a a b c.
//
// Algorithm: nginx's smooth weighted round robin (nginx commit 52327e0627f4, 2012,
// src/http/ngx_http_upstream_round_robin .c). In each round every candidate gains its weight, the one with the highest
// balance is picked and pays what all of them gained. Over sum(weights) picks from the same candidates each is picked
// exactly `weight` times. A backend that is not eligible takes no part in the round: it neither gains nor loses, so it
// does not catch up when it comes back.
//
// A pick is O(backends). Holds the turn, so one owner (a worker), no locking. Equal instances make equal picks: workers
// that each own one should let it make a different number of picks first, or all of them begin with the same backend.

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "millrace/balance/pick.hpp"

namespace millrace::balance {

class SmoothWrr {
 public:
  explicit SmoothWrr(std::span<const std::uint32_t> weights) {
    turns_.reserve(weights.size());
    for (const std::uint32_t weight : weights) turns_.push_back({.balance = 0, .weight = weight});
  }

  template <EligibleFn Eligible>
  std::optional<std::uint32_t> pick(Eligible&& eligible) {
    Round round;
    for (std::uint32_t index = 0; index < turns_.size(); ++index) {
      if (turns_[index].weight != 0 && eligible(index)) join(round, index);
    }
    return settle(round);
  }

 private:
  struct Turn {
    // The balances sum up to zero, and stay within (backends * highest weight) of it also when the candidates change
    // from round to round: far from the end of 64 bits.
    std::int64_t balance;
    std::int64_t weight;
  };
  struct Round {
    std::int64_t gained = 0;  // 0: nobody took part
    std::int64_t highest = std::numeric_limits<std::int64_t>::min();
    std::uint32_t index = 0;
  };

  void join(Round& round, std::uint32_t index) {
    Turn& turn = turns_[index];
    turn.balance += turn.weight;
    round.gained += turn.weight;
    if (turn.balance > round.highest) {
      round.highest = turn.balance;
      round.index = index;
    }
  }

  std::optional<std::uint32_t> settle(const Round& round) {
    if (round.gained == 0) return std::nullopt;
    turns_[round.index].balance -= round.gained;
    return round.index;
  }

  std::vector<Turn> turns_;
};

}  // namespace millrace::balance
