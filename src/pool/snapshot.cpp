#include "millrace/pool/snapshot.hpp"

#include <algorithm>
#include <span>

#include "millrace/base/assert.hpp"
#include "millrace/pool/directory.hpp"
#include "snapshot_parts.hpp"

namespace millrace::pool {

namespace {

std::vector<Backend> build_backends(const config::Pool& pool) {
  std::vector<Backend> backends;
  for (const config::Backend& backend : pool.backends) {
    backends.push_back(
        {.name = backend.name,
         .address = backend.address,
         .weight = backend.weight,
         .backup = backend.backup,
         .max_connections = backend.max_connections != 0 ? backend.max_connections : pool.max_connections_per_backend});
  }
  std::stable_partition(backends.begin(), backends.end(), [](const Backend& backend) { return !backend.backup; });
  return backends;
}

balance::Maglev hashes_of(std::span<const Backend> backends) {
  std::vector<balance::Maglev::Entry> entries;
  for (const Backend& backend : backends) entries.push_back({.name = backend.name, .weight = backend.weight});
  return balance::Maglev(entries);
}

template <class All, class IsNamed>
std::optional<std::uint32_t> index_of(const All& all, IsNamed&& is_named) {
  const auto found = std::find_if(all.begin(), all.end(), is_named);
  if (found == all.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - all.begin());
}

}  // namespace

std::optional<std::uint32_t> Snapshot::find_pool(std::string_view name) const {
  return index_of(pools, [name](const auto& pool) { return pool->name == name; });
}

std::optional<std::uint32_t> Snapshot::find_listener(std::string_view name) const {
  return index_of(listeners, [name](const Listener& listener) { return listener.name == name; });
}

void build_hashes(Pool& pool) {
  if (pool.algorithm != balance::Algorithm::source_hash) return;
  const std::span<const Backend> all = pool.backends;
  pool.primary_table = hashes_of(all.first(pool.primaries));
  pool.backup_table = hashes_of(all.subspan(pool.primaries));
}

std::uint32_t count_primaries(const Pool& pool) {
  return static_cast<std::uint32_t>(std::count_if(pool.backends.begin(), pool.backends.end(),
                                                  [](const Backend& backend) { return !backend.backup; }));
}

Pool build_pool(const config::Pool& from) {
  Pool pool{.name = from.name,
            .algorithm = from.balance,
            .connect_timeout = from.connect_timeout,
            .retries = from.retries,
            .sources = from.source,
            .fail_open = from.fail_open,
            .close_on_down = from.on_down == config::OnDown::close,
            .drain_timeout = from.drain_timeout,
            .passive_failures = from.passive.failures,
            .hash = from.hash,
            .backends = build_backends(from)};
  pool.primaries = count_primaries(pool);
  return pool;
}

Listener build_listener(const config::Listener& from, std::uint32_t pool) {
  return {.name = from.name,
          .pool = pool,
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

std::size_t backend_rows(const config::Config& config) {
  std::size_t rows = 0;
  for (const config::Pool& pool : config.pools) rows += pool.backends.size();
  return rows;
}

std::shared_ptr<const Snapshot> build_snapshot(const config::Config& config) {
  Directory directory;
  const auto made = directory.update(config, BackendTable(0));
  MILLRACE_ASSERT(static_cast<bool>(made), "a process that begins has places");
  return directory.snapshot();
}

}  // namespace millrace::pool
