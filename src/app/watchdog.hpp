#pragma once
// Watchdog: tells from the workers' progress whether the service manager may be told that all is well. Pure; time and
// counts are passed in.

#include <cstdint>
#include <span>
#include <vector>

#include "millrace/base/time.hpp"

namespace millrace::app {

class Watchdog {
 public:
  /// `interval`: within which the service manager wants to hear from us; 0: it does not want to.
  Watchdog(std::size_t workers, Nanos interval) : interval_(interval), workers_(workers) {}

  [[nodiscard]] bool wanted() const { return interval_ > Nanos(0); }
  /// A worker makes a pass at least this often, and we look as often: four signs of life in each interval, so that a
  /// late one does no harm.
  [[nodiscard]] Nanos period() const { return wanted() ? interval_ / 4 : Nanos::max(); }

  struct Verdict {
    bool ping = false;                   // every worker has made a pass since the last ping
    std::vector<std::uint32_t> stalled;  // stand still for half of the interval; each is named once
    std::vector<std::uint32_t> resumed;  // stalled before, and go on
  };
  /// `passes` of each worker so far; a worker that has ended counts as well with kEnded.
  [[nodiscard]] Verdict look(std::span<const std::uint64_t> passes, Instant now);

  static constexpr std::uint64_t kEnded = ~std::uint64_t{0};

 private:
  struct WorkerState {
    std::uint64_t pinged_at = 0;  // its passes at the last ping
    std::uint64_t seen = 0;
    Instant seen_at{};
    bool known = false;
    bool stalled = false;
  };

  Nanos interval_;
  std::vector<WorkerState> workers_;
};

}  // namespace millrace::app
