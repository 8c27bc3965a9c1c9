#pragma once
// Clock: virtual time and what is due when. Nothing in the simulation reads another clock. One thread.
//
// Events of the same instant run in the order in which they were added, so a run depends on its seed alone.

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "millrace/base/time.hpp"

namespace millrace::sim {

class Clock {
 public:
  using Action = std::function<void()>;

  [[nodiscard]] Instant now() const { return now_; }
  void at(Instant when, Action action);
  void after(Nanos delay, Action action) { at(now_ + delay, std::move(action)); }
  [[nodiscard]] Instant next_event() const { return events_.empty() ? kNever : events_.top().when; }

  /// Moves to the next event and runs it. When there is none up to `limit`, moves to `limit` (unless that is kNever)
  /// and returns false.
  bool run_next(Instant limit);
  /// Time goes by without anything happening; what became due meanwhile runs with the next run_next().
  void spend(Nanos duration) { now_ += duration; }

 private:
  struct Event {
    Instant when;
    std::uint64_t sequence;
    Action action;
    friend bool operator<(const Event& a, const Event& b) {
      return a.when != b.when ? a.when > b.when : a.sequence > b.sequence;  // the queue's top is its largest
    }
  };

  Instant now_ = Instant(std::chrono::seconds(1000));
  std::uint64_t sequence_ = 0;
  std::priority_queue<Event> events_;
};

}  // namespace millrace::sim
