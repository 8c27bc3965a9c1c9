#include "millrace/pool/snapshot.hpp"

#include <algorithm>
#include <span>

#include "millrace/base/assert.hpp"

namespace millrace::pool {

namespace {

std::vector<Backend> build_backends(const config::Pool& pool, std::uint32_t& next_id) {
  std::vector<Backend> backends;
  for (const config::Backend& backend : pool.backends) {
    backends.push_back(
        {.id = BackendId{next_id++},
         .name = backend.name,
         .address = backend.address,
         .weight = backend.weight,
         .backup = backend.backup,
         .max_connections = backend.max_connections != 0 ? backend.max_connections : pool.max_connections_per_backend});
  }
  std::stable_partition(backends.begin(), backends.end(), [](const Backend& backend) { return !backend.backup; });
  return backends;
}

balance::Maglev build_hashes(std::span<const Backend> backends) {
  std::vector<balance::Maglev::Entry> entries;
  for (const Backend& backend : backends) entries.push_back({.name = backend.name, .weight = backend.weight});
  return balance::Maglev(entries);
}

Pool build_pool(const config::Pool& from, std::uint32_t& next_id) {
  Pool pool{.name = from.name,
            .algorithm = from.balance,
            .connect_timeout = from.connect_timeout,
            .retries = from.retries,
            .sources = from.source,
            .fail_open = from.fail_open,
            .passive_failures = from.passive.failures,
            .hash = from.hash,
            .backends = build_backends(from, next_id)};
  pool.primaries = static_cast<std::uint32_t>(std::count_if(pool.backends.begin(), pool.backends.end(),
                                                            [](const Backend& backend) { return !backend.backup; }));
  if (pool.algorithm == balance::Algorithm::source_hash) {
    const std::span<const Backend> all = pool.backends;
    pool.primary_table = build_hashes(all.first(pool.primaries));
    pool.backup_table = build_hashes(all.subspan(pool.primaries));
  }
  return pool;
}

Listener build_listener(const config::Listener& from, const std::vector<Pool>& pools) {
  const auto pool = std::find_if(pools.begin(), pools.end(), [&](const Pool& p) { return p.name == from.pool; });
  MILLRACE_ASSERT(pool != pools.end(), "a validated listener names a pool");
  return {.name = from.name,
          .pool = static_cast<std::uint32_t>(pool - pools.begin()),
          .max_connections = from.max_connections,
          .idle_timeout = from.idle_timeout,
          .half_close_timeout = from.half_close_timeout,
          .max_connection_duration = from.max_connection_duration,
          .keepalive = from.keepalive,
          .forwarding = from.forwarding,
          .protocol = from.protocol,
          .responses = from.responses,
          .max_sessions = from.max_sessions,
          .allow = net::CidrSet(from.allow),
          .deny = net::CidrSet(from.deny),
          .max_connections_per_ip = from.max_connections_per_ip,
          .connection_rate_per_ip = from.connection_rate_per_ip,
          .access_log = from.access_log != "off"};
}

}  // namespace

std::size_t backend_rows(const config::Config& config) {
  std::size_t rows = 0;
  for (const config::Pool& pool : config.pools) rows += pool.backends.size();
  return rows;
}

Snapshot build_snapshot(const config::Config& config) {
  Snapshot snapshot;
  std::uint32_t next_id = 0;
  for (const config::Pool& pool : config.pools) snapshot.pools.push_back(build_pool(pool, next_id));
  for (const config::Listener& listener : config.listeners) {
    snapshot.listeners.push_back(build_listener(listener, snapshot.pools));
  }
  return snapshot;
}

}  // namespace millrace::pool
