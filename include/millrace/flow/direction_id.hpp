#pragma once
// How one direction of one flow is named, where flows queue up. Values.

#include <cstdint>

#include "millrace/base/slab.hpp"

namespace millrace::flow {

enum class Side : std::uint8_t { client = 0, backend = 1 };
[[nodiscard]] constexpr Side other(Side side) {
  return side == Side::client ? Side::backend : Side::client;
}

/// `side` is where its bytes come from. The flow may have ended since it was written down: the slot's generation tells.
struct DirectionId {
  SlotId flow;
  Side side = Side::client;
};

}  // namespace millrace::flow
