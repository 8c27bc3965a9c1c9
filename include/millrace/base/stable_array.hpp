#pragma once
// StableArray: grows, and never moves what is in it: pointers to elements last, and whoever reads them need not know.
//
// One thread at a time grows it; any thread may read the elements that were there when it learnt of their index (by
// size(), or by a message from the thread that has grown it). Chunks are allocated as they are needed.

#include <atomic>
#include <cstddef>
#include <memory>

#include "millrace/base/assert.hpp"

namespace millrace {

template <class T>
class StableArray {
 public:
  static constexpr std::size_t kChunk = 64;

  explicit StableArray(std::size_t capacity, std::size_t size = 0)
      : capacity_(capacity), chunks_(std::make_unique<std::atomic<T*>[]>((capacity + kChunk - 1) / kChunk)) {
    grow(size);
  }
  ~StableArray() {
    for (std::size_t chunk = 0; chunk * kChunk < size_.load(std::memory_order_relaxed); ++chunk) {
      delete[] chunks_[chunk].load(std::memory_order_relaxed);
    }
  }
  StableArray(const StableArray&) = delete;
  StableArray& operator=(const StableArray&) = delete;

  /// Does nothing when it is as large already.
  void grow(std::size_t size) {
    MILLRACE_ASSERT(size <= capacity_, "within what was planned for");
    const std::size_t before = this->size();
    if (size <= before) return;
    for (std::size_t chunk = (before + kChunk - 1) / kChunk; chunk * kChunk < size; ++chunk) {
      chunks_[chunk].store(new T[kChunk](), std::memory_order_release);
    }
    size_.store(size, std::memory_order_release);
  }

  [[nodiscard]] std::size_t size() const { return size_.load(std::memory_order_acquire); }
  [[nodiscard]] std::size_t capacity() const { return capacity_; }
  [[nodiscard]] T& operator[](std::size_t index) {
    return chunks_[index / kChunk].load(std::memory_order_relaxed)[index % kChunk];
  }
  [[nodiscard]] const T& operator[](std::size_t index) const {
    return chunks_[index / kChunk].load(std::memory_order_relaxed)[index % kChunk];
  }

 private:
  std::size_t capacity_;
  std::unique_ptr<std::atomic<T*>[]> chunks_;
  std::atomic<std::size_t> size_{0};
};

}  // namespace millrace
