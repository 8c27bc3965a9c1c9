#pragma once
// Directory: gives listeners, pools and backends their places, which they keep from one snapshot to the next. So what
// stays in the configuration keeps its health, its counters, its connections and what the operator said about it.
//
//   listeners, pools   by name, for the life of the process: a name that comes back has its old place
//   backends           by pool, name and address; the row of one that has left is given to another one once it has no
//                      connection any more
//
// A value: whoever wants to know what a configuration would become updates a copy. One thread at a time.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::pool {

class Directory {
 public:
  Directory();

  /// What an update has changed, besides the snapshot.
  struct Changes {
    std::vector<std::uint32_t> pools;  // those that are another object now
    std::vector<BackendId> fresh;      // rows that belong to a backend which was not there before
    std::vector<BackendId> returned;   // backends that had left and are back
    std::vector<BackendId> left;
  };
  /// The next snapshot. Weights that set_weight() has changed stay unless the configuration changes them too. Rows are
  /// free when `table` knows of no connection; so every worker must have done with all snapshots before the present
  /// one. The error says what there are too many of; nothing has changed then.
  [[nodiscard]] Result<Changes> update(const config::Config& config, const BackendTable& table);
  /// Another snapshot, in which one backend has another weight. `backend`: index into its pool's backends.
  void set_weight(std::uint32_t pool, std::uint32_t backend, std::uint32_t weight);

  /// Never null.
  [[nodiscard]] const std::shared_ptr<const Snapshot>& snapshot() const { return snapshot_; }
  /// Of each row that was ever given away: who has it.
  struct Owner {
    std::uint32_t pool = 0;  // index into Snapshot::pools
    std::string name;
    net::Endpoint address;
    bool present = false;  // in the configuration; otherwise it has left, or the row is free
    bool free = false;
  };
  [[nodiscard]] const std::vector<Owner>& owners() const { return owners_; }

 private:
  struct Key {
    std::uint32_t pool = 0;
    std::string name;
    std::string address;
    friend auto operator<=>(const Key&, const Key&) = default;
  };

  [[nodiscard]] Result<Changes> make(const config::Config& config, const BackendTable& table);
  void free_rows(const BackendTable& table);
  static void take_away(Snapshot& next, Changes& changes);
  [[nodiscard]] std::shared_ptr<const Pool> make_pool(const config::Pool& from, std::uint32_t index, Changes& changes);
  [[nodiscard]] BackendId place(std::uint32_t pool, const config::Backend& backend, Changes& changes);

  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<config::Pool> configs_;  // by pool: what it was made from
  std::vector<Owner> owners_;          // by row
  std::map<Key, BackendId> rows_;      // of the present ones and of those that have left
};

}  // namespace millrace::pool
