#pragma once
// Adoption: how a worker goes from one snapshot to the next, between two passes.
//
// Everything is made by the thread that changes the configuration; the worker exchanges pointers, and what it gives up
// is freed where the adoption came from. Connections and sessions are not touched: they name listeners and backends by
// places, which they keep (pool::Directory).

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "millrace/base/time.hpp"
#include "millrace/flow/close_reason.hpp"
#include "millrace/io/op.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/mailbox.hpp"
#include "millrace/worker/pools.hpp"

namespace millrace::worker {

/// One listening socket of a worker. The worker closes it, when it stops or when it shall not have it any more.
struct ListenerSocket {
  io::Fd fd = io::Fd::none;
  std::uint32_t listener = 0;  // index into Snapshot::listeners
  bool shared = false;         // with other processes: it stays open there
};

/// A backend whose connections end at a time, if they have not ended before.
struct Eviction {
  pool::BackendId id{};
  Instant at{};
  flow::CloseReason reason = flow::CloseReason::drain;
};

struct Adoption {
  std::shared_ptr<const pool::Snapshot> snapshot{};
  std::vector<std::pair<std::uint32_t, std::unique_ptr<PoolInUse>>> pools{};  // those that have changed, by index
  // Of neither an eviction of before holds:
  std::vector<pool::BackendId> fresh{};     // rows that belong to another backend now
  std::vector<pool::BackendId> returned{};  // backends that are there again
  std::vector<Eviction> evictions{};
  bool changes_sockets = false;
  std::vector<ListenerSocket> sockets{};  // all that it shall have, when they change; the others it drains and closes
};

class Adopt : public Task {
 public:
  explicit Adopt(Adoption adoption) : adoption_(std::move(adoption)) {}
  [[nodiscard]] bool run(Worker& worker) override;

 private:
  Adoption adoption_;
};

/// Takes sockets back that the worker is draining: before they are opened once more.
class KeepSockets : public Task {
 public:
  explicit KeepSockets(std::vector<io::Fd> sockets) : sockets_(std::move(sockets)) {}
  [[nodiscard]] bool run(Worker& worker) override;
  /// Those that were still there.
  [[nodiscard]] const std::vector<io::Fd>& kept() const { return kept_; }

 private:
  std::vector<io::Fd> sockets_;
  std::vector<io::Fd> kept_;
};

/// Ends the connections of a backend.
class Evict : public Task {
 public:
  explicit Evict(const Eviction& eviction) : eviction_(eviction) {}
  [[nodiscard]] bool run(Worker& worker) override;

 private:
  Eviction eviction_;
};

}  // namespace millrace::worker
