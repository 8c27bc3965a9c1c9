#pragma once
// HealthFsm: the health of one backend as a pure machine, fed with probe results and ejections; reports only flips.
//
//   up      -> down     `fall` failures in a row, or the very first result is a failure
//   up      -> ejected  eject()
//   down    -> up       `rise` successes in a row
//   ejected -> up       `rise` successes in a row; or the ejection is due and the next probe succeeds; or restore(),
//                       where there are no probes
//   ejected -> down     the ejection is due and the next probe fails; or `fall` failures in a row before that
//
// Results count in a row: a success sets the count of failures back to 0, and the other way round. A backend starts up,
// so that a restart of the balancer is no outage; but nobody has seen it work yet, so the first result decides alone: a
// failure brings it down at once, a success confirms it (HAProxy's default, `init-state up`).
//
// Probes are believed when they see a backend recover before its ejection would have ended (as in Envoy, where a
// passing active check ends an ejection): only a failed probe ejected it, and a restart of a second should not cost
// half a minute. Without probes only time ends an ejection.
//
// Ejections last base, 2 x base, 4 x base … up to kMaxEjection. One doubling is taken back for every kCalm that passes
// after the end of an ejection without another one. (The idea is Envoy's outlier detection, which takes one step back
// per interval; doubling reaches the maximum sooner.)
//
// One thread; no clock of its own.

#include <cstdint>
#include <optional>

#include "millrace/base/time.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::health {

class HealthFsm {
 public:
  struct Flip {
    pool::HealthState from;
    pool::HealthState to;
    friend bool operator==(const Flip& a, const Flip& b) = default;
  };

  static constexpr Nanos kMaxEjection = std::chrono::seconds(300);
  static constexpr Nanos kCalm = std::chrono::seconds(300);

  /// Both at least 1.
  HealthFsm(std::uint32_t rise, std::uint32_t fall);

  [[nodiscard]] pool::HealthState state() const { return state_; }

  /// From the next result on. Both at least 1.
  void set_thresholds(std::uint32_t rise, std::uint32_t fall);
  /// There are no probes any more that could bring it up: a backend that is down is taken to be up.
  [[nodiscard]] std::optional<Flip> unprobed();

  /// The result of a probe.
  [[nodiscard]] std::optional<Flip> probed(bool success, Instant now);
  /// Takes a backend that is up out for a while; no effect on one that is out already.
  [[nodiscard]] std::optional<Flip> eject(Instant now, Nanos base);
  /// True when the backend is ejected and has served its time: the next probe decides.
  [[nodiscard]] bool due(Instant now) const;
  /// Ends an ejection that is due without a probe, for backends that have none.
  [[nodiscard]] std::optional<Flip> restore(Instant now);

  /// The end of the present ejection; only while ejected.
  [[nodiscard]] Instant ejected_until() const;

 private:
  [[nodiscard]] Flip flip_to(pool::HealthState to);
  [[nodiscard]] Nanos next_ejection(Instant now, Nanos base);

  std::uint32_t rise_ = 1;
  std::uint32_t fall_ = 1;
  std::uint32_t successes_ = 0;  // in a row; at most one of the two is above 0
  std::uint32_t failures_ = 0;
  std::uint32_t doublings_ = 0;  // of the next ejection, before calm time is taken off
  Instant ejected_until_{};      // of the last ejection; meaningless before the first
  pool::HealthState state_ = pool::HealthState::up;
  bool answered_ = false;  // a probe had a result
};

}  // namespace millrace::health
