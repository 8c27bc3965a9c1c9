#pragma once
// The identity of an asynchronous operation, and what comes back when it completes. Values, no behaviour.

#include <cstdint>
#include <string>

#include "millrace/base/assert.hpp"

namespace millrace::io {

/// A file descriptor, so that it is never mixed up with a count or an errno. Owned by whoever the text says.
enum class Fd : std::int32_t { none = -1 };
[[nodiscard]] constexpr int raw(Fd fd) {
  return static_cast<int>(fd);
}

enum class OpKind : std::uint8_t {
  none,
  accept,
  connect,
  recv,
  send,
  splice_in,   // socket to pipe
  splice_out,  // pipe to socket
  poll_in,     // readable
  poll_out,    // writable
  watch,       // hang-up or error only: notices a reset while nothing else is armed
  recv_datagrams,
  send_datagrams,
};
inline constexpr unsigned kOpKinds = 12;

/// 64 bits that travel through the ring as user_data: which object (slot, generation), which side of it, which kind of
/// operation. At most one operation of a kind is in flight per side, so a tag names exactly one operation.
class OpTag {
 public:
  constexpr OpTag() = default;
  constexpr OpTag(OpKind kind, unsigned side, std::uint32_t generation, std::uint32_t slot)
      : word_(static_cast<std::uint64_t>(kind) << 58U | static_cast<std::uint64_t>(side & 3U) << 56U |
              static_cast<std::uint64_t>(generation & 0xffffffU) << 32U | slot) {}
  static constexpr OpTag from_word(std::uint64_t word) {
    OpTag tag;
    tag.word_ = word;
    return tag;
  }

  [[nodiscard]] constexpr OpKind kind() const { return static_cast<OpKind>(word_ >> 58U); }
  [[nodiscard]] constexpr unsigned side() const { return static_cast<unsigned>(word_ >> 56U) & 3U; }
  [[nodiscard]] constexpr std::uint32_t generation() const {
    return static_cast<std::uint32_t>(word_ >> 32U) & 0xffffffU;
  }
  [[nodiscard]] constexpr std::uint32_t slot() const { return static_cast<std::uint32_t>(word_); }
  [[nodiscard]] constexpr std::uint64_t word() const { return word_; }
  friend constexpr bool operator==(OpTag a, OpTag b) { return a.word_ == b.word_; }

  /// "recv side=1 slot=42 generation=7": for logs and debuggers.
  [[nodiscard]] std::string to_string() const;

 private:
  std::uint64_t word_ = 0;
};

using BufferId = std::uint16_t;
inline constexpr BufferId kNoBuffer = 0xffff;

/// One completion, copied out of the ring.
struct Completion {
  OpTag tag;
  std::int32_t result = 0;  // as the verb says; negative: -errno
  // recv with result > 0, recv_datagrams with result >= 0: holds the bytes, and now belongs to the receiver.
  BufferId buffer = kNoBuffer;
  bool more = false;  // multishot: still armed. Final completions have more == false
};

}  // namespace millrace::io
