#pragma once
// Snapshot: the run-time tables built from a Config. Immutable and shared by all threads; a worker goes from one to the
// next between two passes, and a connection holds no pointer into it beyond one call (it copies what it needs).
//
// Listeners, pools and backends keep their places (indices, and rows of the BackendTable) from one snapshot to the
// next: the Directory sees to that. What the configuration has no more stays in its place, marked as retired.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/balance/algorithm.hpp"
#include "millrace/balance/maglev.hpp"
#include "millrace/base/time.hpp"
#include "millrace/config/config.hpp"
#include "millrace/net/cidr.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::pool {

using config::Forwarding;
using config::HashKey;
using config::Protocol;

/// More places than these are never given away.
inline constexpr std::size_t kListenersMax = 4096;
inline constexpr std::size_t kPoolsMax = 4096;
inline constexpr std::size_t kBackendsMax = 65536;

struct Backend {
  BackendId id{};
  std::string name;
  net::Endpoint address;
  std::uint32_t weight = 1;
  bool backup = false;
  std::uint32_t max_connections = 0;  // 0: no limit
};

struct Pool {
  std::string name;
  balance::Algorithm algorithm = balance::Algorithm::least_conn;
  Nanos connect_timeout{};
  std::uint32_t retries = 0;
  std::vector<net::Endpoint> sources;
  bool fail_open = true;
  bool close_on_down = false;          // connections of a backend that is not up any more are closed
  Nanos drain_timeout{};               // of connections to a backend that was taken out of the file; 0: no limit
  std::uint32_t passive_failures = 0;  // 0: off
  config::Hash hash;
  std::vector<Backend> backends;  // primaries first, then backups, each in the order of the file
  std::uint32_t primaries = 0;    // how many of them are primaries
  // source_hash only: tables over the primaries and over the backups; indices count from the tier's first backend.
  std::optional<balance::Maglev> primary_table{};
  std::optional<balance::Maglev> backup_table{};
  bool retired = false;  // no listener leads to it
};

struct Listener {
  std::string name;
  std::uint32_t pool = 0;  // index into Snapshot::pools
  std::uint32_t max_connections = 0;
  Nanos idle_timeout{};
  Nanos half_close_timeout{};
  Nanos max_connection_duration{};
  bool keepalive = true;
  Forwarding forwarding = Forwarding::automatic;
  Protocol protocol = Protocol::tcp;
  std::uint32_t responses = 0;               // udp; 0: sessions end by idle time only
  std::uint32_t max_sessions = 0;            // udp, over all workers; 0: derived at start
  net::CidrSet allow{};                      // empty: everybody
  net::CidrSet deny{};                       // wins over allow
  std::uint32_t max_connections_per_ip = 0;  // 0: no limit
  std::uint32_t connection_rate_per_ip = 0;  // new ones a second; 0: no limit
  bool access_log = false;                   // a line at the end of each connection
  bool retired = false;                      // it takes no new connections

  /// Whether not everybody may connect at any time.
  [[nodiscard]] bool guarded() const {
    return !allow.empty() || !deny.empty() || max_connections_per_ip != 0 || connection_rate_per_ip != 0;
  }
};

/// A backend that the configuration has no more, and that may still have connections.
struct LeavingBackend {
  std::uint32_t pool = 0;  // index into Snapshot::pools
  Backend backend;
};

struct Snapshot {
  std::vector<std::shared_ptr<const Pool>> pools;  // what has not changed is the very same object as before
  std::vector<Listener> listeners;
  std::vector<LeavingBackend> leaving;

  /// Indices, by name; retired ones too.
  [[nodiscard]] std::optional<std::uint32_t> find_pool(std::string_view name) const;
  [[nodiscard]] std::optional<std::uint32_t> find_listener(std::string_view name) const;
};

/// Makes the hash tables of a pool anew, after its backends have changed.
void build_hashes(Pool& pool);

/// Number of rows that the backends of `config` need.
[[nodiscard]] std::size_t backend_rows(const config::Config& config);
/// Of a process that begins: places are given in the order of the file, pool by pool.
[[nodiscard]] std::shared_ptr<const Snapshot> build_snapshot(const config::Config& config);

}  // namespace millrace::pool
