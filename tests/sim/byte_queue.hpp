#pragma once
// ByteQueue: a FIFO of bytes, for socket queues and pipes.

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace millrace::sim {

class ByteQueue {
 public:
  [[nodiscard]] std::size_t size() const { return bytes_.size() - begin_; }
  [[nodiscard]] bool empty() const { return size() == 0; }

  void push(std::span<const std::byte> bytes) { bytes_.insert(bytes_.end(), bytes.begin(), bytes.end()); }
  /// The first `count` (<= size()) bytes; valid until the next change.
  [[nodiscard]] std::span<const std::byte> front(std::size_t count) const { return {bytes_.data() + begin_, count}; }
  void drop(std::size_t count) {
    begin_ += count;
    if (begin_ * 2 < bytes_.size()) return;
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
  }
  void pop(std::span<std::byte> into) {
    std::memcpy(into.data(), bytes_.data() + begin_, into.size());
    drop(into.size());
  }
  void clear() {
    bytes_.clear();
    begin_ = 0;
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
};

}  // namespace millrace::sim
