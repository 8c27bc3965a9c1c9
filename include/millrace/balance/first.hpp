#pragma once
// first: the first backend, in the order of the configuration, that may be picked. Fills one backend before it uses the
// next when eligibility includes a limit on connections (HAProxy's `balance first`). No state, any thread.

#include <cstdint>
#include <optional>
#include <span>

#include "millrace/balance/pick.hpp"

namespace millrace::balance {

template <EligibleFn Eligible>
[[nodiscard]] std::optional<std::uint32_t> first(std::span<const std::uint32_t> weights, Eligible&& eligible) {
  for (std::uint32_t index = 0; index < weights.size(); ++index) {
    if (weights[index] != 0 && eligible(index)) return index;
  }
  return std::nullopt;
}

}  // namespace millrace::balance
