#pragma once
// Counters of one worker: written by its thread only, readable by any thread (relaxed atomics; sums may be a moment
// old).

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "millrace/flow/close_reason.hpp"
#include "millrace/flow/tcp_flow.hpp"

namespace millrace::worker {

/// One writer: a plain load and store are enough, no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// Why a client's connection was closed before it had a backend.
enum class Refusal : std::uint8_t {
  denied,        // by `allow` or `deny`
  source_limit,  // its address has as many connections as it may have
  rate_limit,    // its address makes new ones too fast
  client_gone,   // it ended before its address was known, where that matters
  no_slot,       // after a burst far beyond the limit of connections
  no_backend,
  connect_failed,
  local_error,  // this machine ran out of something
};
inline constexpr unsigned kRefusals = 8;
[[nodiscard]] std::string_view name(Refusal refusal);

/// Why a datagram was not forwarded.
enum class Drop : std::uint8_t {
  truncated,      // it did not fit into a buffer
  session_limit,  // a new client, and no session to evict
  no_backend,     // none to choose from
  no_socket,      // no descriptor or port for another upstream socket
  no_session,     // from a backend: a late reply, or from a stranger
  refused,        // the backend was not reached, and no other was found in time
  send_buffer,    // the kernel had no room to send
  too_large,      // for the way (EMSGSIZE)
  send_failed,    // any other error of the send
  no_memory,      // more messages in flight than planned for
  stopping,
  denied,        // a new client, and its address may not have a session (see Refusal)
  source_limit,  // likewise
  rate_limit,
};
inline constexpr unsigned kDrops = 14;
[[nodiscard]] std::string_view name(Drop drop);

/// A message is what one receive or one send handles: a datagram or a train of them. Received datagrams are forwarded
/// or dropped; one that ICMP says was not delivered may be resent, and then counts as forwarded twice.
struct UdpCounters {
  Counter sessions;  // begun
  std::array<Counter, flow::kCloseReasons> sessions_closed;
  Counter messages_received;
  Counter messages_sent;
  Counter datagrams_from_clients;
  Counter datagrams_to_backends;
  Counter datagrams_from_backends;
  Counter datagrams_to_clients;
  Counter bytes_from_clients;  // received
  Counter bytes_to_clients;    // sent
  Counter resent;              // datagrams that came back from an unreachable backend
  Counter repicks;             // sessions that were led to another backend
  Counter trains_refused;      // by the kernel; sent datagram by datagram
  std::array<Counter, kDrops> dropped;

  [[nodiscard]] std::uint64_t dropped_total() const;
};

struct Counters {
  Counter accepted;
  Counter accept_errors;  // EMFILE and the like: accepting paused
  Counter connect_attempts;
  Counter connect_failures;  // the backend's fault
  Counter local_faults;      // ours: ports, descriptors, memory
  Counter port_exhausted;    // of those, EADDRNOTAVAIL
  std::array<Counter, kRefusals> refused;
  Counter late_completions;  // for a slot that has been reused; must stay 0
  std::array<Counter, flow::kCloseReasons> closed;
  UdpCounters udp;

  [[nodiscard]] std::uint64_t refused_total() const;
};

}  // namespace millrace::worker
