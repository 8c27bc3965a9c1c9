#pragma once
// Pools: what one worker knows of the pools now. They begin as those of the snapshot; one may be replaced while flows
// are on their way, by another with the same backends in the same order: only what decides about new connections
// differs.

#include <cstdint>
#include <memory>
#include <vector>

#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::worker {

/// A pool with a picker over it. Made by any thread, then used by one worker only.
struct PoolInUse {
  PoolInUse(std::shared_ptr<const pool::Pool> of, pool::BackendTable& table)
      : pool(std::move(of)), picker(*pool, table) {}

  std::shared_ptr<const pool::Pool> pool;
  pool::Picker picker;
};

class Pools {
 public:
  /// `snapshot` and `table` must outlive it.
  Pools(const pool::Snapshot& snapshot, pool::BackendTable& table) {
    for (const pool::Pool& pool : snapshot.pools) {
      // Not owned: the snapshot outlives it.
      pools_.push_back(
          std::make_unique<PoolInUse>(std::shared_ptr<const pool::Pool>(std::shared_ptr<void>(), &pool), table));
    }
  }

  [[nodiscard]] std::size_t size() const { return pools_.size(); }
  [[nodiscard]] const pool::Pool& at(std::uint32_t index) const { return *pools_[index]->pool; }
  [[nodiscard]] pool::Picker& picker(std::uint32_t index) { return pools_[index]->picker; }
  /// Puts another in its place, and what was there where that came from: nothing is freed on the worker's thread.
  void exchange(std::uint32_t index, std::unique_ptr<PoolInUse>& other) { pools_[index].swap(other); }

 private:
  std::vector<std::unique_ptr<PoolInUse>> pools_;
};

}  // namespace millrace::worker
