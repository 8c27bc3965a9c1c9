#include "millrace/health/health_fsm.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "millrace/base/assert.hpp"

namespace millrace::health {

using pool::HealthState;

namespace {

// Counts stop at the top instead of wrapping: a backend may be down for years.
void count_up(std::uint32_t& count) {
  if (count != std::numeric_limits<std::uint32_t>::max()) ++count;
}

}  // namespace

HealthFsm::HealthFsm(std::uint32_t rise, std::uint32_t fall) {
  set_thresholds(rise, fall);
}

std::optional<HealthFsm::Flip> HealthFsm::unprobed() {
  if (state_ != HealthState::down) return std::nullopt;
  return flip_to(HealthState::up);
}

void HealthFsm::set_thresholds(std::uint32_t rise, std::uint32_t fall) {
  MILLRACE_ASSERT(rise >= 1, "rise must be at least 1");
  MILLRACE_ASSERT(fall >= 1, "fall must be at least 1");
  rise_ = rise;
  fall_ = fall;
}

std::optional<HealthFsm::Flip> HealthFsm::probed(bool success, Instant now) {
  const bool first = !std::exchange(answered_, true);
  count_up(success ? successes_ : failures_);
  (success ? failures_ : successes_) = 0;

  const bool fallen = failures_ >= fall_;
  switch (state_) {
    case HealthState::up:
      if (fallen || (first && !success)) return flip_to(HealthState::down);
      break;
    case HealthState::down:
      if (successes_ >= rise_) return flip_to(HealthState::up);
      break;
    case HealthState::ejected:
      if (fallen) return flip_to(HealthState::down);
      if (successes_ >= rise_) return flip_to(HealthState::up);
      if (due(now)) return flip_to(success ? HealthState::up : HealthState::down);
      break;
  }
  return std::nullopt;
}

std::optional<HealthFsm::Flip> HealthFsm::eject(Instant now, Nanos base) {
  if (state_ != HealthState::up) return std::nullopt;
  ejected_until_ = now + next_ejection(now, base);
  return flip_to(HealthState::ejected);
}

bool HealthFsm::due(Instant now) const {
  return state_ == HealthState::ejected && now >= ejected_until_;
}

std::optional<HealthFsm::Flip> HealthFsm::restore(Instant now) {
  if (!due(now)) return std::nullopt;
  return flip_to(HealthState::up);
}

Instant HealthFsm::ejected_until() const {
  MILLRACE_ASSERT(state_ == HealthState::ejected, "not ejected");
  return ejected_until_;
}

HealthFsm::Flip HealthFsm::flip_to(HealthState to) {
  return Flip{.from = std::exchange(state_, to), .to = to};
}

Nanos HealthFsm::next_ejection(Instant now, Nanos base) {
  if (doublings_ != 0 && now > ejected_until_) {
    const auto calm_periods = (now - ejected_until_) / kCalm;
    doublings_ -= static_cast<std::uint32_t>(std::min<std::int64_t>(calm_periods, doublings_));
  }
  Nanos duration = std::min(base, kMaxEjection);
  for (std::uint32_t i = 0; i < doublings_ && duration < kMaxEjection; ++i) {
    duration = std::min(duration * 2, kMaxEjection);
  }
  // At the maximum further doublings would change nothing but the way back.
  if (duration < kMaxEjection) ++doublings_;
  return duration;
}

}  // namespace millrace::health
