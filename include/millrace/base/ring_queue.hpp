#pragma once
// RingQueue<T>: a first-in first-out queue of plain values in one array that doubles when it is full, and never
// shrinks: after the first peak it does not allocate any more (a std::deque allocates and frees as it moves along).

#include <cstddef>
#include <utility>
#include <vector>

#include "millrace/base/assert.hpp"

namespace millrace {

template <class T>
class RingQueue {
 public:
  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] std::size_t size() const { return count_; }

  [[nodiscard]] const T& front() const {
    MILLRACE_ASSERT(count_ > 0, "the front of an empty queue");
    return slots_[first_];
  }
  void push_back(T value) {
    if (count_ == slots_.size()) grow();
    slots_[(first_ + count_) & (slots_.size() - 1)] = std::move(value);
    ++count_;
  }
  void pop_front() {
    MILLRACE_ASSERT(count_ > 0, "the front of an empty queue");
    first_ = (first_ + 1) & (slots_.size() - 1);
    --count_;
  }

 private:
  void grow() {
    std::vector<T> larger(slots_.empty() ? 8 : slots_.size() * 2);
    for (std::size_t i = 0; i < count_; ++i) larger[i] = std::move(slots_[(first_ + i) & (slots_.size() - 1)]);
    slots_ = std::move(larger);
    first_ = 0;
  }

  std::vector<T> slots_;  // a power of two
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace millrace
