#pragma once
// Status: how a running balancer does, as plain data. Summed at the time of asking from counters that each worker
// writes by itself; sums may be a moment old, and those of one answer a moment apart.

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "millrace/admin/health_log.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/counters.hpp"

namespace millrace::admin {

/// Counts by name of their reason; reasons without any are left out.
using Reasons = std::map<std::string, std::uint64_t>;

struct Bytes {
  std::uint64_t in = 0;   // from clients, forwarded to backends
  std::uint64_t out = 0;  // from backends, forwarded to clients
};

/// How long something took: connects, round trips.
struct ConnectTimes {
  std::uint64_t count = 0;
  double mean_ms = 0;
  double p50_ms = 0;  // estimated from classes of times
  double p99_ms = 0;
  double total_seconds = 0;              // of all together
  std::vector<std::uint64_t> classes{};  // how many, by class: see worker::kConnectTimes
};

/// What the kernel said of TCP connections at their end, of those that it was asked about (docs/logs.md).
struct TcpStatus {
  std::uint64_t retransmits = 0;  // segments that were sent again to the peer
  ConnectTimes rtt{};             // the last round trip time of each
};

struct ListenerStatus {
  std::string name;
  std::string protocol;                // tcp, udp
  std::vector<std::string> addresses;  // with the ports that the kernel chose
  std::string pool;
  std::uint64_t active = 0;       // connections that were taken on and have not ended; udp: sessions
  std::uint64_t connections = 0;  // since the start; udp: sessions
  Reasons refused{};              // udp: messages of clients that got no session
  Bytes bytes{};
  TcpStatus tcp{};  // of the clients' connections
};

/// What an operator said about a backend.
enum class Order : std::uint8_t { enabled, draining, disabled };

struct BackendStatus {
  std::string name;
  std::string address;
  std::string state{};   // up, down, ejected, draining, disabled; removed: from the file, and connections are left
  std::string health{};  // up, down, ejected, whatever the operator said
  std::uint32_t weight = 1;
  bool backup = false;
  std::uint32_t active = 0;       // connections that chose it, connecting ones included
  std::uint64_t connections = 0;  // established since the start; udp: sessions led to it
  Reasons connect_failures{};
  Bytes bytes{};
  ConnectTimes connect_times{};
  TcpStatus tcp{};
  Reasons health_changes{};  // by health::Cause
};

struct PoolStatus {
  std::string name;
  std::string balance;
  bool failing_open = false;  // none of its backends is up, so all are tried
  std::vector<BackendStatus> backends;
};

struct WorkerStatus {
  std::uint32_t index = 0;
  std::uint64_t active = 0;
  std::uint64_t connections = 0;  // since the start
  Bytes bytes{};
  double busy_seconds = 0;  // its thread ran on a CPU
};

/// How TCP bytes were moved, both ways together.
struct ForwardedBytes {
  std::uint64_t copy = 0;
  std::uint64_t splice = 0;
};

struct UdpStatus {
  std::uint64_t sessions = 0;  // open now
  Bytes datagrams{};           // received from clients, sent to them
  Reasons dropped{};
};

/// How the last attempt to apply the file again went.
struct LastReload {
  bool ok = true;  // also when there was none
  std::string error{};
};

struct AccessLogStatus {
  std::uint64_t lines = 0;    // written
  std::uint64_t dropped = 0;  // the writer was too slow
  std::uint64_t lost = 0;     // the file took them not
};

struct Status {
  std::string version;
  std::int64_t pid = 0;
  double started = 0;  // in seconds since 1970
  double uptime_seconds = 0;
  std::uint64_t max_connections = 0;  // of all TCP listeners together
  std::uint64_t generation = 1;       // of the configuration: one more with each reload
  LastReload last_reload{};
  std::vector<double> connect_bounds_ms;  // of the classes of connect times; one more is for what took longer
  std::vector<ListenerStatus> listeners;
  std::vector<PoolStatus> pools;
  std::vector<WorkerStatus> workers;
  Reasons closes{};  // of connections and sessions
  ForwardedBytes forwarded_bytes{};
  UdpStatus udp{};
  AccessLogStatus access_log{};
  std::vector<HealthChange> transitions;  // the last ones, oldest first
};

/// What a status is made of. Everything must outlive the call only.
struct StatusSources {
  const pool::Snapshot& snapshot;
  const pool::BackendTable& table;
  std::span<const Order> orders;  // by row
  std::span<const worker::Counters* const> workers;
  std::span<const std::vector<std::string>> addresses;  // by listener
  const HealthLog* health = nullptr;                    // may be null
};

/// All but version, pid and time.
[[nodiscard]] Status make_status(const StatusSources& sources);

[[nodiscard]] BackendStatus make_backend_status(const StatusSources& sources, const pool::Backend& backend);

/// The time below which a part (0 … 1) of the connects took, from counts by class; in milliseconds, 0 without any.
[[nodiscard]] double quantile_ms(std::span<const std::uint64_t> classes, double part);

}  // namespace millrace::admin
