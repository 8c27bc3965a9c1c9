#pragma once
// datagram_mark(): tells datagrams apart, cheaply. Two that are equally long and begin and end alike have the same
// mark.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "millrace/base/rng.hpp"

namespace millrace::worker {

/// Never 0.
[[nodiscard]] inline std::uint32_t datagram_mark(std::span<const std::byte> bytes) {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  const std::size_t count = std::min(bytes.size(), sizeof first);
  if (count > 0) {
    std::memcpy(&first, bytes.data(), count);
    std::memcpy(&last, bytes.data() + bytes.size() - count, count);
  }
  return static_cast<std::uint32_t>(mix64(mix64(first ^ bytes.size()) ^ last)) | 1U;
}

}  // namespace millrace::worker
