#include "capacity.hpp"

#include <algorithm>

#include "listening.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::app {

namespace {

constexpr std::uint64_t kFilesOfOurOwn = 56;      // logs, signals, the control socket and HTTP with their clients, …
constexpr std::uint64_t kFilesPerWorker = 4;      // ring, wake-up, …
constexpr std::uint64_t kFilesPerConnection = 2;  // client and backend
constexpr std::uint64_t kFilesPerPipe = 2;
constexpr std::uint64_t kProbesAtOnce = 256;
constexpr std::uint32_t kSlotsSpare = 1024;  // what one batch may accept beyond the limit
constexpr std::uint64_t kBuffersMin = 1024;
constexpr std::uint64_t kBuffersMax = 32768;      // buffer ids have 16 bits
constexpr std::uint32_t kDatagramBuffers = 1024;  // 68 KiB of address space each
constexpr std::uint64_t kSpareUpstreamSockets = 4096;
constexpr std::uint64_t kSpareSessions = 65536;
constexpr std::uint64_t kSessionsMax = 1'000'000;  // derived, of one listener
// What upstream sockets get of the descriptors that are left for traffic.
constexpr std::uint64_t kUdpShareAlone = 15;  // sixteenths; connections keep one, so that the arithmetic holds
constexpr std::uint64_t kUdpShareBesideTcp = 8;

bool is_udp(const ListenerDemand& listener) {
  return listener.udp;
}

/// Upstream sockets over all workers, of `files` that are left for traffic.
std::uint64_t udp_sockets(std::uint64_t files, const std::vector<ListenerDemand>& listeners) {
  if (std::none_of(listeners.begin(), listeners.end(), is_udp)) return 0;
  const bool alone = std::all_of(listeners.begin(), listeners.end(), is_udp);
  return files * (alone ? kUdpShareAlone : kUdpShareBesideTcp) / 16;
}

/// One upstream socket carries a session to each backend.
void derive_sessions(Capacity& capacity, std::uint64_t sockets, const std::vector<ListenerDemand>& listeners) {
  std::uint64_t sessions = 0;
  for (const ListenerDemand& listener : listeners) {
    std::uint64_t limit = 0;
    if (listener.udp) {
      limit = listener.max_sessions;
      if (limit == 0) limit = std::clamp<std::uint64_t>(sockets * listener.backends, 1, kSessionsMax);
    }
    capacity.max_sessions.push_back(static_cast<std::uint32_t>(limit));
    sessions += limit;
  }
  capacity.datagram_buffers = kDatagramBuffers;
  if (std::none_of(listeners.begin(), listeners.end(), is_udp)) {
    // A reload may bring the first one: it has to do with what connections leave.
    sockets = kSpareUpstreamSockets;
    sessions = kSpareSessions;
  }
  capacity.upstream_sockets = static_cast<std::uint32_t>(std::max<std::uint64_t>(sockets / capacity.workers, 1));
  // Any worker may come to hold all sessions. Memory is only reserved; it is touched when it is used.
  capacity.sessions = static_cast<std::uint32_t>(std::min<std::uint64_t>(sessions, 4 * kSessionsMax));
}

std::uint32_t workers_of(const config::Runtime& runtime, const Machine& machine) {
  return runtime.workers != 0 ? runtime.workers : std::max(machine.cpus, 1U);
}

}  // namespace

Capacity derive_capacity(const config::Runtime& runtime, const Machine& machine, std::uint32_t sockets,
                         std::uint32_t probed, const std::vector<ListenerDemand>& listeners) {
  Capacity capacity;
  capacity.workers = workers_of(runtime, machine);
  const std::uint64_t files = std::min(machine.open_files, kOpenFilesUsed);
  const std::uint64_t pipes = std::clamp<std::uint64_t>(files / 64, 2, 4096);
  const std::uint64_t reserved = kFilesOfOurOwn + kFilesPerWorker * (capacity.workers + 1) + sockets +
                                 std::min<std::uint64_t>(probed, kProbesAtOnce) + kFilesPerPipe * pipes;
  const std::uint64_t free = files > reserved ? files - reserved : 0;
  const std::uint64_t for_udp = udp_sockets(free, listeners);
  derive_sessions(capacity, for_udp, listeners);
  const std::uint64_t affordable = (free - for_udp) / kFilesPerConnection;
  capacity.affordable_connections = static_cast<std::uint32_t>(std::max<std::uint64_t>(affordable, 1));
  capacity.max_connections = runtime.max_connections != 0 ? runtime.max_connections : capacity.affordable_connections;
  // Any worker may come to hold all connections. Memory is only reserved; it is touched when it is used.
  capacity.slots = capacity.max_connections + kSlotsSpare;
  capacity.pipes = static_cast<std::uint32_t>(std::max<std::uint64_t>(pipes / capacity.workers, 1));
  // Two for each connection: a direction that waits for a slow reader can always hold one.
  capacity.buffers = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(std::uint64_t{2} * capacity.slots, kBuffersMin, kBuffersMax));
  return capacity;
}

std::vector<ListenerDemand> listener_demands(const config::Config& config) {
  std::vector<ListenerDemand> demands;
  for (const config::Listener& listener : config.listeners) {
    std::uint32_t backends = 0;
    for (const config::Pool& pool : config.pools) {
      if (pool.name != listener.pool) continue;
      for (const config::Backend& backend : pool.backends) backends += backend.weight != 0 && !backend.backup ? 1 : 0;
    }
    demands.push_back({.udp = listener.protocol == config::Protocol::udp,
                       .max_sessions = listener.max_sessions,
                       .backends = std::max(backends, 1U)});
  }
  return demands;
}

Capacity capacity_of(const config::Config& config, const Machine& machine) {
  return derive_capacity(config.runtime, machine, count_sockets(config, workers_of(config.runtime, machine)),
                         static_cast<std::uint32_t>(pool::backend_rows(config)), listener_demands(config));
}

}  // namespace millrace::app
