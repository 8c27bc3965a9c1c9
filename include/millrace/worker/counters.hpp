#pragma once
// Counters of one worker: written by its thread only, readable by any thread (relaxed atomics; sums may be a moment
// old).

#include <array>
#include <cstdint>
#include <string_view>

#include "millrace/base/counter.hpp"
#include "millrace/base/stable_array.hpp"
#include "millrace/base/thread_clock.hpp"
#include "millrace/base/time.hpp"
#include "millrace/flow/close_reason.hpp"
#include "millrace/flow/traffic.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::worker {

using millrace::Counter;

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

/// Why a connect failed, by the backend's fault.
enum class ConnectFailure : std::uint8_t { refused, timeout, unreachable, reset, other };
inline constexpr unsigned kConnectFailures = 5;
[[nodiscard]] std::string_view name(ConnectFailure failure);
/// Of the errno of a connect.
[[nodiscard]] ConnectFailure connect_failure(int error);

/// Upper bounds of the classes that connect times are counted in; one more class is for what is longer.
inline constexpr std::array<Nanos, 15> kConnectTimes = {
    std::chrono::microseconds(50),  std::chrono::microseconds(100),  std::chrono::microseconds(250),
    std::chrono::microseconds(500), std::chrono::milliseconds(1),    std::chrono::microseconds(2500),
    std::chrono::milliseconds(5),   std::chrono::milliseconds(10),   std::chrono::milliseconds(25),
    std::chrono::milliseconds(50),  std::chrono::milliseconds(100),  std::chrono::milliseconds(250),
    std::chrono::milliseconds(500), std::chrono::milliseconds(1000), std::chrono::milliseconds(5000),
};

/// Of the TCP connections of somebody whose TCP_INFO was asked for at their end (docs/logs.md says which).
struct TcpCounters {
  Counter retransmits;                                 // segments that were sent again to the peer
  std::array<Counter, kConnectTimes.size() + 1> rtts;  // connections by their last round trip time, in the same classes
  Counter rtt_nanos;                                   // all of them together

  void note(const io::TcpInfo& info);
  void reset();
};

/// Of one listener. What is open now is `begun` less `ended`; to see no more ended than begun, read `ended` first.
struct alignas(64) ListenerCounters {
  Counter accepted;                        // TCP
  Counter begun;                           // connections that were taken on; UDP: sessions
  Counter ended;                           // of those
  std::array<Counter, kRefusals> refused;  // UDP: messages of clients that got no session
  flow::Traffic traffic;
  TcpCounters tcp;  // of the clients' connections
};

/// Of one backend: a row of the BackendTable.
struct alignas(64) BackendCounters {
  Counter connections;  // established; UDP: sessions that were led to it
  std::array<Counter, kConnectFailures> connect_failures;
  std::array<Counter, kConnectTimes.size() + 1> connect_times;  // how many took so long, by class
  Counter connect_nanos;                                        // all of them together
  flow::Traffic traffic;
  TcpCounters tcp;

  void note_connected(Nanos took);
  /// The row belongs to another backend from now on.
  void reset();
};

struct Counters {
  Counters(std::size_t listener_count, std::size_t backend_rows)
      : listeners(pool::kListenersMax, listener_count), backends(pool::kBackendsMax, backend_rows) {}

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
  flow::FlowTotals flows;
  ThreadClock busy;
  // Grown by the thread that changes the configuration, before any worker hears of it.
  StableArray<ListenerCounters> listeners;  // by index
  StableArray<BackendCounters> backends;    // by row

  [[nodiscard]] std::uint64_t refused_total() const;
};

}  // namespace millrace::worker
