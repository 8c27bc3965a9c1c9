#pragma once
// Counter: written by one thread only, readable by any (relaxed atomics; sums may be a moment old).

#include <atomic>
#include <cstdint>

namespace millrace {

/// One writer: a plain load and store are enough, no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  /// The writer.
  void reset() { value_.store(0, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace millrace
