#pragma once
// The bytes that peers send: a function of (sender, offset). The first eight name the sender, so that a receiver knows
// whose stream it reads; all that follow depend on the sender and on their place, so that a byte that is lost,
// repeated, swapped or from another flow is noticed.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "millrace/base/rng.hpp"

namespace millrace::sim {

using PeerId = std::uint32_t;

class Stream {
 public:
  static constexpr std::size_t kHeader = 8;

  explicit constexpr Stream(PeerId sender) : name_(kMagic << 32U | sender) {}

  void fill(std::uint64_t offset, std::span<std::byte> into) const {
    for (std::size_t i = 0; i < into.size(); ++i) into[i] = at(offset + i);
  }
  [[nodiscard]] bool matches(std::uint64_t offset, std::span<const std::byte> bytes) const {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] != at(offset + i)) return false;
    }
    return true;
  }
  /// Whose stream begins with these eight bytes (the first one lowest); none when nobody's does.
  [[nodiscard]] static std::optional<PeerId> sender(std::uint64_t header) {
    if (header >> 32U != kMagic) return std::nullopt;
    return static_cast<PeerId>(header);
  }

 private:
  static constexpr std::uint64_t kMagic = 0x6d696c6cU;

  [[nodiscard]] std::byte at(std::uint64_t offset) const {
    if (offset / 8 != cached_block_) {
      cached_block_ = offset / 8;
      cached_word_ = cached_block_ == 0 ? name_ : mix64(name_ * 31 + cached_block_);
    }
    return static_cast<std::byte>(cached_word_ >> (offset % 8 * 8));
  }

  std::uint64_t name_;
  mutable std::uint64_t cached_block_ = ~std::uint64_t{0};
  mutable std::uint64_t cached_word_ = 0;
};

}  // namespace millrace::sim
