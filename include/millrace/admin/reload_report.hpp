#pragma once
// What a reload has changed, or would change; as plain data, for people and scripts.

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::admin {

/// Values as the file writes them.
struct KeyChange {
  std::string key;
  std::string before;
  std::string after;
};

struct NamedChange {
  std::string name;
  std::vector<KeyChange> keys;
};

struct PoolChange {
  std::string name;
  std::vector<KeyChange> keys;
  std::vector<std::string> backends_added;
  std::vector<std::string> backends_removed;
  std::vector<NamedChange> backends_changed;
  double hash_moved = 0;  // source_hash: the part of all clients (0 … 1) that gets another backend
};

struct ReloadReport {
  bool applied = false;          // false: only planned
  std::uint64_t generation = 0;  // of the configuration afterwards
  std::vector<std::string> listeners_added;
  std::vector<std::string> listeners_removed;
  std::vector<NamedChange> listeners_changed;
  std::vector<std::string> pools_added;
  std::vector<std::string> pools_removed;
  std::vector<PoolChange> pools_changed;
  std::vector<KeyChange> runtime_changed;  // takes effect
  std::vector<KeyChange> needs_restart;    // does not, until the process begins anew
  std::uint64_t connections_leaving = 0;   // now, of backends that are removed: they live on until drain_timeout

  [[nodiscard]] bool changes_nothing() const {
    return listeners_added.empty() && listeners_removed.empty() && listeners_changed.empty() && pools_added.empty() &&
           pools_removed.empty() && pools_changed.empty() && runtime_changed.empty() && needs_restart.empty();
  }
};

}  // namespace millrace::admin
