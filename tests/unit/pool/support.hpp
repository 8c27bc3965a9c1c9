#pragma once
// What the tests of pool share: configurations in few words, and a pool with its table and picker.

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::pool::test {

using balance::Algorithm;

inline config::Backend backend(std::string name, std::uint32_t weight = 1, bool backup = false,
                               std::uint32_t max_connections = 0) {
  config::Backend backend;
  backend.name = std::move(name);
  backend.weight = weight;
  backend.backup = backup;
  backend.max_connections = max_connections;
  return backend;
}

inline config::Backend spare(std::string name) {
  return backend(std::move(name), 1, true);
}

inline config::Pool pool_of(Algorithm algorithm, std::vector<config::Backend> backends) {
  config::Pool pool;
  pool.name = std::string("p");  // not a literal: g++ 12 warns falsely in string::operator=
  pool.balance = algorithm;
  pool.backends = std::move(backends);
  std::uint16_t port = 1;
  for (config::Backend& one : pool.backends) one.address = net::Endpoint::ipv4(0x0a000001, port++);
  return pool;
}

inline std::shared_ptr<const Snapshot> snapshot_of(std::vector<config::Pool> pools) {
  config::Config config;
  config.pools = std::move(pools);
  // Names tell pools apart.
  for (std::size_t i = 1; i < config.pools.size(); ++i) config.pools[i].name += std::to_string(i);
  return build_snapshot(config);
}

/// One pool and its table, all backends up; indices are those of Pool::backends (primaries first).
struct Fixture {
  explicit Fixture(config::Pool from)
      : snapshot(snapshot_of({std::move(from)})),
        pool(*snapshot->pools[0]),
        table(pool.backends.size()),
        picker(pool, table) {}

  [[nodiscard]] BackendId id(std::uint32_t index) const { return pool.backends[index].id; }
  void set(std::uint32_t index, HealthState state) { table.set_health(id(index), state); }
  void set_all(HealthState state) {
    for (std::uint32_t i = 0; i < pool.backends.size(); ++i) set(i, state);
  }
  [[nodiscard]] std::uint32_t active(std::uint32_t index) const { return table.active(id(index)); }
  void release(std::uint32_t index) { table.release(id(index)); }

  Pick pick(const PickRequest& request = {}) { return picker.pick(request); }
  /// With a fresh hash and random word each time; releases at once.
  Pick pick_and_release(const TriedSet& tried = {}) {
    const std::uint64_t word = rng.next();
    const Pick found = picker.pick({.client_hash = word, .random = word, .tried = tried});
    if (found.outcome == PickOutcome::picked || found.outcome == PickOutcome::picked_again) release(found.index);
    return found;
  }

  std::shared_ptr<const Snapshot> snapshot;
  const Pool& pool;
  BackendTable table;
  Picker picker;
  Rng rng{1};
};

inline PickRequest client(std::uint64_t hash) {
  PickRequest request;
  request.client_hash = hash;
  return request;
}

inline PickRequest chance(std::uint64_t random) {
  PickRequest request;
  request.random = random;
  return request;
}

inline TriedSet tried(std::initializer_list<std::uint32_t> indices) {
  TriedSet set;
  for (const std::uint32_t index : indices) set.add(index);
  return set;
}

}  // namespace millrace::pool::test
