#include "millrace/worker/counters.hpp"

namespace millrace::worker {

namespace {

template <std::size_t size>
std::uint64_t total(const std::array<Counter, size>& counters) {
  std::uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.get();
  return sum;
}

}  // namespace

std::string_view name(Refusal refusal) {
  constexpr std::array<std::string_view, kRefusals> kNames = {
      "denied", "source_limit", "rate_limit", "client_gone", "no_slot", "no_backend", "connect_failed", "local_error",
  };
  static_assert(static_cast<unsigned>(Refusal::local_error) + 1 == kRefusals);
  return kNames[static_cast<std::size_t>(refusal)];
}

std::string_view name(Drop drop) {
  constexpr std::array<std::string_view, kDrops> kNames = {
      "truncated", "session_limit", "no_backend", "no_socket", "no_session", "refused",      "send_buffer",
      "too_large", "send_failed",   "no_memory",  "stopping",  "denied",     "source_limit", "rate_limit",
  };
  static_assert(static_cast<unsigned>(Drop::rate_limit) + 1 == kDrops);
  return kNames[static_cast<std::size_t>(drop)];
}

std::uint64_t UdpCounters::dropped_total() const {
  return total(dropped);
}

std::uint64_t Counters::refused_total() const {
  return total(refused);
}

}  // namespace millrace::worker
