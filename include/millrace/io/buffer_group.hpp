#pragma once
// BufferGroup: the receive buffers of one worker, and queues of filled ones.
//
// A buffer has one owner at any time: the free list, the implementation of Io (lent to the kernel), or one BufferQueue.
// Free buffers are reused last-in first-out, so that the few in use stay warm in the cache; the arena is reserved
// address space, and a buffer's memory is touched when it is first used. One thread. Never allocates after
// construction.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "millrace/io/op.hpp"

namespace millrace::io {

class BufferGroup {
 public:
  struct Options {
    std::uint32_t count = 1024;  // 1 … 65535
    std::uint32_t bytes_per_buffer = 16384;
  };

  explicit BufferGroup(Options options);
  ~BufferGroup();
  BufferGroup(const BufferGroup&) = delete;
  BufferGroup& operator=(const BufferGroup&) = delete;

  /// A free buffer, or kNoBuffer.
  [[nodiscard]] BufferId take();
  void give_back(BufferId id);

  /// Free buffers whose memory the kernel holds for us because they were used once.
  [[nodiscard]] std::uint32_t free_touched() const { return touched_ - (count() - free_count_); }
  /// After a burst: gives the memory of free buffers back to the kernel, all but `keep` and but those that were in use
  /// at some moment since the last trim. At most kTrimMax at a time.
  void trim(std::uint32_t keep);
  static constexpr std::uint32_t kTrimMax = 512;

  [[nodiscard]] std::byte* data(BufferId id) const { return arena_ + static_cast<std::size_t>(id) * bytes_per_buffer_; }
  [[nodiscard]] std::uint32_t bytes_per_buffer() const { return bytes_per_buffer_; }
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(entries_.size()); }
  [[nodiscard]] std::uint32_t free_count() const { return free_count_; }
  /// Buffers in queues: received and not yet sent.
  [[nodiscard]] std::uint32_t queued_count() const { return queued_count_; }

 private:
  friend class BufferQueue;
  struct Entry {
    std::uint32_t begin = 0;  // unsent bytes of a queued buffer: [begin, end)
    std::uint32_t end = 0;
    BufferId next = kNoBuffer;
    bool free = true;
    bool touched = false;  // in the free list all touched ones come before all others
  };

  std::byte* arena_ = nullptr;
  std::size_t arena_bytes_ = 0;
  std::uint32_t bytes_per_buffer_;
  std::uint32_t free_count_;
  std::uint32_t queued_count_ = 0;
  std::uint32_t touched_ = 0;   // buffers with `touched` set; those in use all have it
  std::uint32_t free_min_ = 0;  // fewest free since the last trim
  BufferId free_head_ = kNoBuffer;
  std::vector<Entry> entries_;
};

/// A FIFO of received buffers that wait to be sent; 12 bytes, linked through the group's table. Must be cleared before
/// it goes away.
class BufferQueue {
 public:
  [[nodiscard]] bool empty() const { return head_ == kNoBuffer; }
  [[nodiscard]] std::uint32_t bytes() const { return bytes_; }
  [[nodiscard]] std::uint32_t buffers() const { return buffers_; }

  /// Takes over a buffer whose first `length` (> 0) bytes are filled.
  void push(BufferGroup& group, BufferId id, std::uint32_t length);
  /// The unsent bytes from the front on, at most `slices.size()` pieces; returns how many were filled in.
  [[nodiscard]] std::size_t peek(const BufferGroup& group, std::span<std::span<const std::byte>> slices) const;
  /// Drops `length` bytes from the front; buffers that become empty go back to the group.
  void consume(BufferGroup& group, std::uint32_t length);
  void clear(BufferGroup& group);

 private:
  std::uint32_t bytes_ = 0;
  std::uint16_t buffers_ = 0;
  BufferId head_ = kNoBuffer;
  BufferId tail_ = kNoBuffer;
};

}  // namespace millrace::io
