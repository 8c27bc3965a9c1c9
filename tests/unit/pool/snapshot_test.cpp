#include "millrace/pool/snapshot.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "support.hpp"

namespace millrace::pool::test {

namespace {

config::Listener listener(std::string name, std::string pool) {
  config::Listener listener;
  listener.name = std::move(name);
  listener.pool = std::move(pool);
  return listener;
}

std::vector<std::string> names(const Pool& pool) {
  std::vector<std::string> names;
  for (const Backend& one : pool.backends) names.push_back(one.name);
  return names;
}

}  // namespace

TEST_CASE("snapshot: primaries first, then backups, each in the order of the file") {
  const auto snapshot =
      snapshot_of({pool_of(Algorithm::first, {spare("s1"), backend("a"), spare("s2"), backend("b"), backend("c")})});
  const Pool& pool = *snapshot->pools[0];
  CHECK(names(pool) == std::vector<std::string>{"a", "b", "c", "s1", "s2"});
  CHECK(pool.primaries == 3);
  for (std::uint32_t i = 0; i < 5; ++i) CHECK(pool.backends[i].backup == (i >= 3));
}

TEST_CASE("snapshot: who may connect") {
  config::Config config;
  config.pools = {pool_of(Algorithm::first, {backend("a")})};
  config.listeners = {listener("open", "p"), listener("guarded", "p")};
  config.listeners[1].allow = {net::Cidr::parse("10.0.0.0/8").value()};
  config.listeners[1].deny = {net::Cidr::parse("10.0.0.1").value()};
  config.listeners[1].max_connections_per_ip = 5;
  config.listeners[1].connection_rate_per_ip = 6;
  config.listeners[1].access_log = "stderr";
  const auto snapshot = build_snapshot(config);
  CHECK(snapshot->listeners[0].allow.empty());
  CHECK(snapshot->listeners[0].deny.empty());
  CHECK(snapshot->listeners[0].max_connections_per_ip == 0);
  CHECK(snapshot->listeners[1].allow.contains(net::IpEndpoint::ipv4(0x0a000002, 1)));
  CHECK_FALSE(snapshot->listeners[1].deny.contains(net::IpEndpoint::ipv4(0x0a000002, 1)));
  CHECK(snapshot->listeners[1].deny.contains(net::IpEndpoint::ipv4(0x0a000001, 1)));
  CHECK(snapshot->listeners[1].max_connections_per_ip == 5);
  CHECK(snapshot->listeners[1].connection_rate_per_ip == 6);
  CHECK(snapshot->listeners[1].access_log);
  CHECK_FALSE(snapshot->listeners[0].access_log);
}

TEST_CASE("snapshot: ids in the order of the file, over all pools, whatever is a backup") {
  config::Config config;
  config.pools = {pool_of(Algorithm::first, {spare("s"), backend("a")}), pool_of(Algorithm::first, {backend("b")}),
                  pool_of(Algorithm::first, {backend("c"), backend("d")})};
  config.pools[1].name = "q";
  config.pools[2].name = "r";
  CHECK(backend_rows(config) == 5);
  const auto snapshot = build_snapshot(config);
  CHECK(snapshot->pools[0]->backends[0].name == "a");
  CHECK(row(snapshot->pools[0]->backends[0].id) == 1);
  CHECK(row(snapshot->pools[0]->backends[1].id) == 0);
  CHECK(row(snapshot->pools[1]->backends[0].id) == 2);
  CHECK(row(snapshot->pools[2]->backends[0].id) == 3);
  CHECK(row(snapshot->pools[2]->backends[1].id) == 4);
}

TEST_CASE("snapshot: an empty configuration needs no rows") {
  CHECK(backend_rows({}) == 0);
  const auto snapshot = build_snapshot({});
  CHECK(snapshot->pools.empty());
  CHECK(snapshot->listeners.empty());
}

TEST_CASE("snapshot: a backend's own max_connections, else the pool's") {
  config::Pool from = pool_of(Algorithm::first, {backend("a"), backend("b", 1, false, 7), backend("c", 1, true)});
  from.max_connections_per_backend = 100;
  const auto limited = snapshot_of({from});
  CHECK(limited->pools[0]->backends[0].max_connections == 100);
  CHECK(limited->pools[0]->backends[1].max_connections == 7);
  CHECK(limited->pools[0]->backends[2].max_connections == 100);
  from.max_connections_per_backend = 0;
  const auto open = snapshot_of({from});
  CHECK(open->pools[0]->backends[0].max_connections == 0);
  CHECK(open->pools[0]->backends[1].max_connections == 7);
}

TEST_CASE("snapshot: backends and pools are copied in full") {
  config::Pool from = pool_of(Algorithm::random_two, {backend("a", 5)});
  from.connect_timeout = std::chrono::seconds(3);
  from.retries = 4;
  from.source = {net::Endpoint::ipv4(0x7f000002, 0)};
  from.fail_open = false;
  from.passive.failures = 9;
  from.hash.load_factor = 1.5;
  from.hash.key = config::HashKey::source_ip_port;
  const auto snapshot = snapshot_of({from});
  const Pool& pool = *snapshot->pools[0];
  CHECK(pool.name == "p");
  CHECK(pool.algorithm == Algorithm::random_two);
  CHECK(pool.connect_timeout == std::chrono::seconds(3));
  CHECK(pool.retries == 4);
  CHECK(pool.sources == from.source);
  CHECK_FALSE(pool.fail_open);
  CHECK(pool.passive_failures == 9);
  CHECK(pool.hash == from.hash);
  CHECK(pool.backends[0].name == "a");
  CHECK(pool.backends[0].weight == 5);
  CHECK(pool.backends[0].address == from.backends[0].address);
}

TEST_CASE("snapshot: listeners name their pool by index and keep the order of the file") {
  config::Config config;
  config.pools = {pool_of(Algorithm::first, {backend("a")}), pool_of(Algorithm::first, {backend("b")})};
  config.pools[0].name = "zero";
  config.pools[1].name = "one";
  config.listeners = {listener("x", "one"), listener("y", "zero"), listener("z", "one")};
  config.listeners[1].max_connections = 11;
  config.listeners[1].idle_timeout = std::chrono::seconds(1);
  config.listeners[1].half_close_timeout = std::chrono::seconds(2);
  config.listeners[1].max_connection_duration = std::chrono::seconds(3);
  config.listeners[1].keepalive = false;
  config.listeners[1].forwarding = config::Forwarding::copy;
  const auto snapshot = build_snapshot(config);
  REQUIRE(snapshot->listeners.size() == 3);
  CHECK(snapshot->listeners[0].pool == 1);
  CHECK(snapshot->listeners[1].pool == 0);
  CHECK(snapshot->listeners[2].pool == 1);
  const Listener& y = snapshot->listeners[1];
  CHECK(y.name == "y");
  CHECK(y.max_connections == 11);
  CHECK(y.idle_timeout == std::chrono::seconds(1));
  CHECK(y.half_close_timeout == std::chrono::seconds(2));
  CHECK(y.max_connection_duration == std::chrono::seconds(3));
  CHECK_FALSE(y.keepalive);
  CHECK(y.forwarding == Forwarding::copy);
  CHECK(snapshot->listeners[0].keepalive);
}

TEST_CASE("snapshot: what is only for udp listeners") {
  config::Config config;
  config.pools = {pool_of(Algorithm::first, {backend("a")})};
  config.listeners = {listener("u", "p"), listener("t", "p")};
  config.listeners[0].protocol = config::Protocol::udp;
  config.listeners[0].responses = 1;
  config.listeners[0].max_sessions = 50000;
  const auto snapshot = build_snapshot(config);
  CHECK(snapshot->listeners[0].protocol == Protocol::udp);
  CHECK(snapshot->listeners[0].responses == 1);
  CHECK(snapshot->listeners[0].max_sessions == 50000);
  CHECK(snapshot->listeners[1].protocol == Protocol::tcp);
  CHECK(snapshot->listeners[1].responses == 0);
  CHECK(snapshot->listeners[1].max_sessions == 0);
}

TEST_CASE("snapshot: Maglev tables for source_hash and nobody else") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    const auto snapshot = snapshot_of({pool_of(algorithm, {backend("a"), backend("b"), spare("s")})});
    CHECK(snapshot->pools[0]->primary_table.has_value() == (algorithm == Algorithm::source_hash));
    CHECK(snapshot->pools[0]->backup_table.has_value() == (algorithm == Algorithm::source_hash));
  }
}

TEST_CASE("snapshot: the tables count from the tier's first backend, and are empty without a weight") {
  const auto snapshot = snapshot_of({pool_of(Algorithm::source_hash, {backend("a"), backend("b"), spare("s")}),
                                     pool_of(Algorithm::source_hash, {backend("a")}),
                                     pool_of(Algorithm::source_hash, {backend("a", 0)})});
  const auto slots = snapshot->pools[0]->primary_table->slots();
  CHECK(*std::max_element(slots.begin(), slots.end()) == 1);
  const auto spare_slots = snapshot->pools[0]->backup_table->slots();
  CHECK(*std::max_element(spare_slots.begin(), spare_slots.end()) == 0);
  CHECK(snapshot->pools[1]->backup_table->empty());
  CHECK(snapshot->pools[2]->primary_table->empty());
}

TEST_CASE("snapshot: the same names hash alike in another order, as nodes may be configured differently") {
  const auto one = snapshot_of({pool_of(Algorithm::source_hash, {backend("a"), backend("b", 3), backend("c")})});
  const auto two = snapshot_of({pool_of(Algorithm::source_hash, {backend("c"), backend("a"), backend("b", 3)})});
  for (std::uint64_t hash = 0; hash < 1000; ++hash) {
    const std::string& first = one->pools[0]->backends[one->pools[0]->primary_table->at(hash)].name;
    CHECK(first == two->pools[0]->backends[two->pools[0]->primary_table->at(hash)].name);
  }
}

}  // namespace millrace::pool::test
