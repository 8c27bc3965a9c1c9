#pragma once
// SpliceQueue: splices that wait to be issued by splice(2) in turn(). A ring buffer of fixed size, first-in first-out.
// When it is full the caller has another way (IORING_OP_SPLICE), so nothing is ever refused or allocated.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/base/assert.hpp"
#include "millrace/io/op.hpp"

namespace millrace::io {

struct QueuedSplice {
  OpTag tag;
  Fd from = Fd::none;
  Fd to = Fd::none;
  std::uint32_t length = 0;
};

class SpliceQueue {
 public:
  explicit SpliceQueue(std::size_t capacity) : slots_(capacity) {}

  [[nodiscard]] bool empty() const { return count_ == 0; }
  [[nodiscard]] bool full() const { return count_ == slots_.size(); }

  void push(const QueuedSplice& splice) {
    MILLRACE_ASSERT(!full(), "checked by the caller");
    slots_[(first_ + count_) % slots_.size()] = splice;
    ++count_;
  }
  QueuedSplice pop() {
    MILLRACE_ASSERT(!empty(), "checked by the caller");
    const QueuedSplice splice = slots_[first_];
    first_ = (first_ + 1) % slots_.size();
    --count_;
    return splice;
  }

 private:
  std::vector<QueuedSplice> slots_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

}  // namespace millrace::io
