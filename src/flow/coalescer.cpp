#include "millrace/flow/coalescer.hpp"

#include <algorithm>

namespace millrace::flow {
namespace {

// Of the receive queue's limit. The kernel advertises half of it or more as the window (tcp_adv_win_scale), so the
// window is far from closed.
constexpr double kQueueWanted = 0.375;

}  // namespace

Coalescer::Coalescer(const CoalesceLimits& limits) : limits_(limits), interval_(limits.interval_min) {}

bool Coalescer::worth_beginning(std::uint32_t bytes, Nanos elapsed) const {
  const auto moved = static_cast<double>(bytes) * static_cast<double>(limits_.interval_max.count());
  return tells(bytes) && moved >= static_cast<double>(limits_.least_bytes) * static_cast<double>(elapsed.count());
}

void Coalescer::rest(DirectionId direction, std::uint32_t bytes, Instant now) {
  pressure_ = std::max(pressure_, static_cast<double>(bytes) / static_cast<double>(limits_.wanted_bytes));
  if (resting_.empty()) due_ = now + interval_;
  resting_.push_back(direction);
}

void Coalescer::note_queue(io::ReceiveQueue queue) {
  if (queue.limit == 0) return;
  pressure_ = std::max(pressure_, static_cast<double>(queue.used) / (static_cast<double>(queue.limit) * kQueueWanted));
}

std::span<const DirectionId> Coalescer::wake(Instant now) {
  awake_.clear();
  if (now < due_) return {};
  adapt();
  awake_.swap(resting_);
  due_ = kNever;
  return awake_;
}

/// At most twofold at once: a single interval may be odd.
void Coalescer::adapt() {
  if (pressure_ <= 0.0) return;
  const double factor = std::clamp(1.0 / pressure_, 0.5, 2.0);
  const auto wanted = static_cast<std::int64_t>(static_cast<double>(interval_.count()) * factor);
  interval_ = std::clamp(Nanos(wanted), limits_.interval_min, limits_.interval_max);
  pressure_ = 0.0;
}

}  // namespace millrace::flow
