#pragma once
// ReceiveRing: the buffers of a BufferGroup that are lent to the kernel for multishot receives (a provided buffer
// ring).
//
// The kernel uses lent buffers first-in first-out, so lending many makes every receive touch cold memory. Therefore few
// are lent, at first 64. Whenever a receive found none (ENOBUFS) although the ring had been filled up, twice as many
// are lent from then on; when for a while only a small part was used between two fillings, half as many. Streams have a
// low bound: a multishot receive goes on, while the ring is entered, as long as its peer is faster and buffers are at
// hand, and meanwhile nobody else is served. Belongs to the ring's thread; allocates at open() only.

#include <cstdint>

#include "millrace/io/buffer_group.hpp"
#include "ring.hpp"

namespace millrace::io {

class ReceiveRing {
 public:
  static constexpr std::uint16_t kStreams = 0;  // group ids, by what is received
  static constexpr std::uint16_t kDatagrams = 1;

  ReceiveRing(BufferGroup& group, std::uint16_t group_id);
  ~ReceiveRing();
  ReceiveRing(const ReceiveRing&) = delete;
  ReceiveRing& operator=(const ReceiveRing&) = delete;

  /// Registers with `ring` and lends the first buffers. 0 or errno.
  [[nodiscard]] int open(Ring& ring);

  /// Lends free buffers up to the fill target, and adapts the target. Call before the ring is entered.
  void refill();
  /// The kernel has filled `id`: it is not lent any more.
  void taken(BufferId id);
  /// A receive found no buffer.
  void note_shortage() { shortage_seen_ = true; }

  /// Whether more memory than usual is lent that may be cold: worth a look by release_cold().
  [[nodiscard]] bool may_be_cold() const { return lent_ > kFirstTarget && !released_; }
  /// Gives the memory of lent buffers back to the kernel, when they were not all used since the last call. They stay
  /// lent, only empty. The kernel must not be filling any: with deferred task work it does so only while the ring is
  /// entered, and what it has filled must have been reaped.
  void release_cold();

  [[nodiscard]] std::uint32_t lent() const { return lent_; }
  [[nodiscard]] std::uint32_t target() const { return target_; }

 private:
  void adapt();
  void lend();

  static constexpr std::uint32_t kFirstTarget = 64;
  static constexpr std::uint32_t kEntriesMax = 4096;
  static constexpr std::uint32_t kStreamsMax = 128;  // 2 MiB: a millisecond of copying
  static constexpr std::uint32_t kRefillsPerDecay = 4096;

  BufferGroup& group_;
  std::uint16_t group_id_;
  io_uring_buf_ring* shared_ = nullptr;  // memory shared with the kernel
  std::uint32_t entries_;                // power of two
  std::uint32_t target_max_;
  std::uint32_t target_;
  std::uint32_t lent_ = 0;      // what the kernel may still fill; at most entries_
  bool shortage_seen_ = false;  // since the last refill()
  bool filled_up_ = false;      // the last refill() reached the target
  std::uint32_t used_max_ = 0;  // most buffers used between two refills, in this decay period
  std::uint32_t period_ = 0;    // refills in this decay period
  std::uint32_t taken_ = 0;     // since the last release_cold()
  bool released_ = false;       // nothing has been taken since the memory was released
};

}  // namespace millrace::io
