#include "clock.hpp"

#include <algorithm>

namespace millrace::sim {

void Clock::at(Instant when, Action action) {
  events_.push({std::max(when, now_), sequence_++, std::move(action)});
}

bool Clock::run_next(Instant limit) {
  if (events_.empty() || events_.top().when > limit) {
    if (limit != kNever) now_ = std::max(now_, limit);
    return false;
  }
  const Event event = events_.top();
  events_.pop();
  now_ = std::max(now_, event.when);
  event.action();
  return true;
}

}  // namespace millrace::sim
