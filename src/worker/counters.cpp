#include "millrace/worker/counters.hpp"

#include <algorithm>
#include <cerrno>

namespace millrace::worker {

namespace {

template <std::size_t size>
std::uint64_t total(const std::array<Counter, size>& counters) {
  std::uint64_t sum = 0;
  for (const Counter& counter : counters) sum += counter.get();
  return sum;
}

std::size_t time_class(Nanos time) {
  const auto* bound = std::lower_bound(kConnectTimes.begin(), kConnectTimes.end(), time);
  return static_cast<std::size_t>(bound - kConnectTimes.begin());
}

}  // namespace

std::string_view name(Refusal refusal) {
  constexpr std::array<std::string_view, kRefusals> kNames = {
      "denied", "source_limit", "rate_limit", "client_gone", "no_slot", "no_backend", "connect_failed", "local_error",
  };
  static_assert(static_cast<unsigned>(Refusal::local_error) + 1 == kRefusals);
  return kNames[static_cast<std::size_t>(refusal)];
}

std::string_view name(ConnectFailure failure) {
  constexpr std::array<std::string_view, kConnectFailures> kNames = {"refused", "timeout", "unreachable", "reset",
                                                                     "other"};
  static_assert(static_cast<unsigned>(ConnectFailure::other) + 1 == kConnectFailures);
  return kNames[static_cast<std::size_t>(failure)];
}

ConnectFailure connect_failure(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:  // a unix socket that is not there
      return ConnectFailure::refused;
    case ETIMEDOUT:
      return ConnectFailure::timeout;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
      return ConnectFailure::unreachable;
    case ECONNRESET:
    case ECONNABORTED:
      return ConnectFailure::reset;
    default:
      return ConnectFailure::other;
  }
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

void TcpCounters::note(const io::TcpInfo& info) {
  if (!info.known) return;
  retransmits.add(info.retransmits);
  if (info.rtt_us == 0) return;
  const Nanos rtt = std::chrono::microseconds(info.rtt_us);
  rtts[time_class(rtt)].add();
  rtt_nanos.add(static_cast<std::uint64_t>(rtt.count()));
}

void BackendCounters::note_connected(Nanos took) {
  connections.add();
  connect_times[time_class(took)].add();
  connect_nanos.add(static_cast<std::uint64_t>(std::max(took, Nanos(0)).count()));
}

void TcpCounters::reset() {
  retransmits.reset();
  for (Counter& counter : rtts) counter.reset();
  rtt_nanos.reset();
}

void BackendCounters::reset() {
  connections.reset();
  for (Counter& counter : connect_failures) counter.reset();
  for (Counter& counter : connect_times) counter.reset();
  connect_nanos.reset();
  traffic.from_clients.reset();
  traffic.from_backends.reset();
  tcp.reset();
}

std::uint64_t Counters::refused_total() const {
  return total(refused);
}

}  // namespace millrace::worker
