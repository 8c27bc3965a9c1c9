#include "watchdog.hpp"

#include <algorithm>

namespace millrace::app {

Watchdog::Verdict Watchdog::look(std::span<const std::uint64_t> passes, Instant now) {
  Verdict verdict;
  verdict.ping = wanted();
  const std::size_t count = std::min(passes.size(), workers_.size());
  for (std::size_t i = 0; i < count; ++i) {
    WorkerState& worker = workers_[i];
    const bool moved = !worker.known || passes[i] == kEnded || passes[i] != worker.seen;
    if (moved) {
      if (worker.stalled) verdict.resumed.push_back(static_cast<std::uint32_t>(i));
      worker = {.pinged_at = worker.pinged_at, .seen = passes[i], .seen_at = now, .known = true, .stalled = false};
    } else if (!worker.stalled && now - worker.seen_at >= interval_ / 2) {
      worker.stalled = true;
      verdict.stalled.push_back(static_cast<std::uint32_t>(i));
    }
    verdict.ping = verdict.ping && (passes[i] == kEnded || passes[i] != worker.pinged_at);
  }
  if (verdict.ping) {
    for (std::size_t i = 0; i < count; ++i) workers_[i].pinged_at = passes[i];
  }
  return verdict;
}

}  // namespace millrace::app
