#pragma once
// ThreadClock: how long a thread has been running on a CPU, for other threads to read. The kernel counts it anyway: the
// thread itself does nothing for it.

#include <pthread.h>
#include <time.h>

#include <atomic>

#include "millrace/base/time.hpp"

namespace millrace {

class ThreadClock {
 public:
  /// The thread: from here on it can be read.
  void begin() {
    clockid_t clock{};
    if (::pthread_getcpuclockid(::pthread_self(), &clock) == 0) clock_.store(clock, std::memory_order_relaxed);
  }
  /// The thread, before it ends: this is what will be read from then on.
  void end() {
    at_end_.store(get().count(), std::memory_order_relaxed);
    clock_.store(kNone, std::memory_order_release);
  }
  /// Any thread.
  [[nodiscard]] Nanos get() const {
    const clockid_t clock = clock_.load(std::memory_order_acquire);
    timespec time{};
    if (clock == kNone || ::clock_gettime(clock, &time) != 0) return Nanos(at_end_.load(std::memory_order_relaxed));
    return std::chrono::seconds(time.tv_sec) + Nanos(time.tv_nsec);
  }

 private:
  static constexpr clockid_t kNone = 0;  // the wall clock, which is of no thread
  std::atomic<clockid_t> clock_{kNone};
  std::atomic<std::int64_t> at_end_{0};
};

}  // namespace millrace
