#pragma once
// User data that UringIo uses for itself. Kinds that no caller's tag has keep it apart from those.

#include <bit>
#include <cstdint>

#include "millrace/io/io.hpp"
#include "millrace/io/op.hpp"

namespace millrace::io {

inline constexpr OpTag kWakeTag{OpKind::none, 0, 0, 1};
inline constexpr OpTag kCancelTag{OpKind::none, 0, 0, 2};

// A poll for hang-up is a multishot poll to the kernel: a single one would complete at a FIN, which io_uring always
// reports (POLLRDHUP), and could not be armed again after it. When a hang-up or an error does come, UringIo renames the
// poll to a tag that holds what was seen, and cancels it under that name; its last completion then says it all, and
// nothing has to be remembered here. Bits of the kind: 0x30, plus 1 for kPollError, plus 2 for kPollHangup.
inline constexpr unsigned kHungUpKind = 0x30;
inline constexpr unsigned kKindShift = 58;
inline constexpr std::uint64_t kKindMask = std::uint64_t{0x3f} << kKindShift;
inline constexpr std::int32_t kHungUpBits = kPollError | kPollHangup;
static_assert(kPollError == 1 << 3 && kPollHangup == 2 << 3 && kOpKinds <= kHungUpKind);
static_assert(OpTag(OpKind::watch, 0, 0, 0).word() == std::uint64_t{static_cast<unsigned>(OpKind::watch)}
                                                          << kKindShift);

[[nodiscard]] constexpr OpTag hung_up_tag(OpTag watch, std::int32_t seen) {
  const std::uint64_t kind = kHungUpKind | static_cast<unsigned>(seen & kHungUpBits) >> 3U;
  return OpTag::from_word((watch.word() & ~kKindMask) | kind << kKindShift);
}
[[nodiscard]] constexpr bool is_hung_up(OpTag tag) {
  return (static_cast<unsigned>(tag.kind()) & ~3U) == kHungUpKind;
}
[[nodiscard]] constexpr std::int32_t hung_up_bits(OpTag tag) {
  return static_cast<std::int32_t>((static_cast<unsigned>(tag.kind()) & 3U) << 3U);
}
[[nodiscard]] constexpr OpTag watch_tag(OpTag hung_up) {
  const auto kind = std::uint64_t{static_cast<unsigned>(OpKind::watch)};
  return OpTag::from_word((hung_up.word() & ~kKindMask) | kind << kKindShift);
}

/// The kernel keeps the 16-bit halves of a poll mask swapped on big-endian machines.
[[nodiscard]] constexpr std::uint32_t poll_mask(std::uint32_t events) {
  return std::endian::native == std::endian::big ? events << 16U | events >> 16U : events;
}

}  // namespace millrace::io
