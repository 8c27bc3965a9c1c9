#pragma once
// Pools: what one worker knows of the pools now, each with its own picker over it. One that the next snapshot has as it
// was keeps its picker, and so its cursors.

#include <cstdint>
#include <memory>
#include <vector>

#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::worker {

/// A pool with a picker over it. Made by any thread, then used by one worker only.
struct PoolInUse {
  /// `worker`: its index. The cursors of several workers begin at different backends; else, with many workers and few
  /// connections, one backend would get them all.
  PoolInUse(std::shared_ptr<const pool::Pool> of, pool::BackendTable& table, std::uint32_t worker)
      : pool(std::move(of)), picker(*pool, table) {
    picker.skip(worker);
  }

  std::shared_ptr<const pool::Pool> pool;
  pool::Picker picker;
  std::uint32_t next_source = 0;  // of Pool::sources
  std::uint32_t version = 0;      // no other pool of this worker has it, or ever had
};

class Pools {
 public:
  /// `table` must outlive it. `worker`: see PoolInUse.
  Pools(const pool::Snapshot& snapshot, pool::BackendTable& table, std::uint32_t worker) {
    for (const auto& pool : snapshot.pools) {
      pools_.push_back(std::make_unique<PoolInUse>(pool, table, worker));
      pools_.back()->version = ++versions_;
    }
  }

  [[nodiscard]] std::size_t size() const { return pools_.size(); }
  [[nodiscard]] const pool::Pool& at(std::uint32_t index) const { return *pools_[index]->pool; }
  [[nodiscard]] PoolInUse& in_use(std::uint32_t index) { return *pools_[index]; }
  /// Puts another in its place, and what was there where that came from: nothing is freed on the worker's thread.
  void exchange(std::uint32_t index, std::unique_ptr<PoolInUse>& other) {
    if (index >= pools_.size()) pools_.resize(index + 1);
    pools_[index].swap(other);
    pools_[index]->version = ++versions_;
  }

 private:
  std::vector<std::unique_ptr<PoolInUse>> pools_;
  std::uint32_t versions_ = 0;
};

}  // namespace millrace::worker
