#include "capacity.hpp"

#include <algorithm>

namespace millrace::app {

namespace {

constexpr std::uint64_t kFilesOfOurOwn = 32;      // logs, signals, the configuration, …
constexpr std::uint64_t kFilesPerWorker = 4;      // ring, wake-up, …
constexpr std::uint64_t kFilesPerConnection = 2;  // client and backend
constexpr std::uint64_t kFilesPerPipe = 2;
constexpr std::uint64_t kProbesAtOnce = 256;
constexpr std::uint32_t kSlotsSpare = 1024;  // what one batch may accept beyond the limit
constexpr std::uint64_t kBuffersMin = 1024;
constexpr std::uint64_t kBuffersMax = 32768;  // buffer ids have 16 bits

}  // namespace

Capacity derive_capacity(const config::Runtime& runtime, const Machine& machine, std::uint32_t sockets,
                         std::uint32_t probed) {
  Capacity capacity;
  capacity.workers = runtime.workers != 0 ? runtime.workers : std::max(machine.cpus, 1U);
  const std::uint64_t files = std::min(machine.open_files, kOpenFilesUsed);
  const std::uint64_t pipes = std::clamp<std::uint64_t>(files / 64, 2, 4096);
  const std::uint64_t reserved = kFilesOfOurOwn + kFilesPerWorker * (capacity.workers + 1) + sockets +
                                 std::min<std::uint64_t>(probed, kProbesAtOnce) + kFilesPerPipe * pipes;
  const std::uint64_t affordable = files > reserved ? (files - reserved) / kFilesPerConnection : 0;
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

}  // namespace millrace::app
