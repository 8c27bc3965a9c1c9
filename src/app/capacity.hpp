#pragma once
// How much this process can hold, derived from the configuration and the limits of the machine. Pure arithmetic; what
// comes out is logged at start.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "millrace/config/config.hpp"

namespace millrace::app {

struct Machine {
  std::uint32_t cpus = 1;           // that this process may use
  std::uint64_t open_files = 1024;  // RLIMIT_NOFILE after raising
};

struct Capacity {
  std::uint32_t workers = 1;
  std::uint32_t max_connections = 0;  // over all workers
  std::uint32_t affordable_connections =
      0;                      // what the file limit allows; below max_connections when that was configured
  std::uint32_t slots = 0;    // of one worker
  std::uint32_t pipes = 0;    // of one worker
  std::uint32_t buffers = 0;  // of one worker
  // UDP. Without a UDP listener: what a reload may bring has to do with.
  std::uint32_t upstream_sockets = 0;       // of one worker
  std::uint32_t sessions = 0;               // slots of one worker
  std::uint32_t datagram_buffers = 0;       // of one worker
  std::vector<std::uint32_t> max_sessions;  // by listener, over all workers; 0 for TCP listeners
};

/// What a listener asks for.
struct ListenerDemand {
  bool udp = false;
  std::uint32_t max_sessions = 0;  // 0: derive
  std::uint32_t backends = 1;      // of its pool that may be used
};

[[nodiscard]] std::vector<ListenerDemand> listener_demands(const config::Config& config);

/// A file limit far above any need (container runtimes set 2^30) is used up to this: nothing is sized by more.
inline constexpr std::uint64_t kOpenFilesUsed = 1'048'576;

/// The soft limit of open files that a start asks for, and gets.
[[nodiscard]] constexpr std::uint64_t open_files_wanted(std::uint64_t soft, std::uint64_t hard) {
  return std::min(hard, std::max(soft, kOpenFilesUsed));
}

/// `sockets`: listening sockets over all workers; `probed`: backends with active probes.
[[nodiscard]] Capacity derive_capacity(const config::Runtime& runtime, const Machine& machine, std::uint32_t sockets,
                                       std::uint32_t probed, const std::vector<ListenerDemand>& listeners = {});

/// Of a configuration, as a start, a reload and `millrace doctor` derive it. Every backend counts as probed: a reload
/// may turn its probes on.
[[nodiscard]] Capacity capacity_of(const config::Config& config, const Machine& machine);

}  // namespace millrace::app
