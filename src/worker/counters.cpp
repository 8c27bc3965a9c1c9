#include "millrace/worker/counters.hpp"

namespace millrace::worker {

std::string_view name(Drop drop) {
  constexpr std::array<std::string_view, kDrops> kNames = {
      "truncated",   "session_limit", "no_backend",  "no_socket", "no_session", "refused",
      "send_buffer", "too_large",     "send_failed", "no_memory", "stopping",
  };
  static_assert(static_cast<unsigned>(Drop::stopping) + 1 == kDrops);
  return kNames[static_cast<std::size_t>(drop)];
}

std::uint64_t UdpCounters::dropped_total() const {
  std::uint64_t sum = 0;
  for (const Counter& counter : dropped) sum += counter.get();
  return sum;
}

}  // namespace millrace::worker
