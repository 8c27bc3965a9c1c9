#include "millrace/pool/directory.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "support.hpp"

namespace millrace::pool::test {

namespace {

config::Pool pool_named(std::string name, std::vector<config::Backend> backends,
                        Algorithm algorithm = Algorithm::least_conn) {
  config::Pool pool = pool_of(algorithm, std::move(backends));
  for (config::Backend& one : pool.backends) {
    // An address that belongs to the name, whatever the place in the list.
    one.address = net::Endpoint::ipv4(0x0a000001, static_cast<std::uint16_t>(one.name.back()));
  }
  pool.name = std::move(name);
  return pool;
}

config::Listener listener_named(std::string name, std::string pool) {
  config::Listener listener;
  listener.name = std::move(name);
  listener.pool = std::move(pool);
  return listener;
}

config::Config config_of(std::vector<config::Pool> pools, std::vector<config::Listener> listeners = {}) {
  config::Config config;
  config.pools = std::move(pools);
  config.listeners = std::move(listeners);
  return config;
}

struct Place {
  Directory directory;
  BackendTable table{64};

  Directory::Changes update(const config::Config& config) {
    const auto changes = directory.update(config, table);
    REQUIRE(changes.ok());
    return changes.value();
  }
  [[nodiscard]] const Pool& pool(std::size_t index) const { return *directory.snapshot()->pools[index]; }
  [[nodiscard]] BackendId id(std::size_t pool_index, const std::string& name) const {
    const auto& all = pool(pool_index).backends;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Backend& one) { return one.name == name; });
    REQUIRE(found != all.end());
    return found->id;
  }
};

}  // namespace

TEST_CASE("directory: what stays keeps its place, whatever happens around it") {
  Place place;
  place.update(config_of({pool_named("p", {backend("a"), backend("b")}), pool_named("q", {backend("c")})},
                         {listener_named("l", "p"), listener_named("m", "q")}));
  const BackendId b = place.id(0, "b");
  const BackendId c = place.id(1, "c");
  const auto changes =
      place.update(config_of({pool_named("r", {backend("x")}), pool_named("q", {backend("c")}),
                              pool_named("p", {backend("z"), backend("b"), backend("y")})},
                             {listener_named("n", "r"), listener_named("m", "r"), listener_named("l", "p")}));
  CHECK(place.id(0, "b") == b);
  CHECK(place.id(1, "c") == c);
  CHECK(place.pool(2).name == "r");
  const Snapshot& snapshot = *place.directory.snapshot();
  REQUIRE(snapshot.listeners.size() == 3);
  CHECK(snapshot.listeners[0].name == "l");
  CHECK(snapshot.listeners[1].name == "m");
  CHECK(snapshot.listeners[1].pool == 2);
  CHECK(snapshot.listeners[2].name == "n");
  CHECK(changes.pools == std::vector<std::uint32_t>{2, 0});  // q is the same object as before
  CHECK(changes.fresh.size() == 3);
  CHECK(changes.left.size() == 1);
  REQUIRE(snapshot.leaving.size() == 1);
  CHECK(snapshot.leaving[0].backend.name == "a");
}

TEST_CASE("directory: a pool that has not changed is the very same object") {
  Place place;
  const auto pools = std::vector{pool_named("p", {backend("a")}, Algorithm::source_hash)};
  place.update(config_of(pools));
  const auto before = place.directory.snapshot()->pools[0];
  const auto changes = place.update(config_of(pools));
  CHECK(place.directory.snapshot()->pools[0] == before);
  CHECK(changes.pools.empty());
  CHECK(changes.fresh.empty());
}

TEST_CASE("directory: what is gone is retired, and has its old place when it comes back") {
  Place place;
  place.update(config_of({pool_named("p", {backend("a")}), pool_named("q", {backend("b")})},
                         {listener_named("l", "p"), listener_named("m", "q")}));
  place.update(config_of({pool_named("p", {backend("a")})}, {listener_named("l", "p")}));
  CHECK(place.pool(1).retired);
  CHECK(place.directory.snapshot()->listeners[1].retired);
  CHECK_FALSE(place.pool(0).retired);
  place.update(config_of({pool_named("q", {backend("b")}), pool_named("p", {backend("a")})},
                         {listener_named("m", "q"), listener_named("l", "p")}));
  CHECK_FALSE(place.pool(1).retired);
  CHECK(place.pool(1).name == "q");
  CHECK_FALSE(place.directory.snapshot()->listeners[1].retired);
}

TEST_CASE("directory: the row of a backend that has left is another's once it has no connection any more") {
  Place place;
  place.update(config_of({pool_named("p", {backend("a"), backend("b")})}));
  const BackendId a = place.id(0, "a");
  REQUIRE(place.table.acquire(a, 0));
  place.update(config_of({pool_named("p", {backend("b"), backend("c")})}));
  CHECK(place.id(0, "c") != a);
  SUBCASE("it comes back while it has one: it is the same backend") {
    const auto changes = place.update(config_of({pool_named("p", {backend("a"), backend("b")})}));
    CHECK(place.id(0, "a") == a);
    CHECK(changes.returned == std::vector{a});
    CHECK(changes.fresh.empty());
  }
  SUBCASE("it has none any more: its row begins anew") {
    place.table.release(a);
    const auto changes = place.update(config_of({pool_named("p", {backend("b"), backend("c"), backend("d")})}));
    CHECK(place.id(0, "d") == a);
    CHECK(changes.fresh == std::vector{a});
  }
  SUBCASE("another address is another backend") {
    config::Pool pool = pool_named("p", {backend("b")});
    pool.backends[0].address = net::Endpoint::ipv4(0x0a000009, 9);
    const BackendId b = place.id(0, "b");
    place.update(config_of({pool}));
    CHECK(place.id(0, "b") != b);
  }
}

TEST_CASE("directory: a pool that is gone has no row that is another's now") {
  Place place;
  place.update(config_of(
      {pool_named("p", {backend("a"), backend("b")}, Algorithm::source_hash), pool_named("q", {backend("c")})},
      {listener_named("l", "p"), listener_named("m", "q")}));
  const BackendId a = place.id(0, "a");
  const BackendId b = place.id(0, "b");
  REQUIRE(place.table.acquire(b, 0));
  place.update(config_of({pool_named("q", {backend("c")})}, {listener_named("m", "q")}));
  CHECK(place.pool(0).backends.size() == 2);  // for who is still on the way
  const auto changes =
      place.update(config_of({pool_named("q", {backend("c"), backend("d")})}, {listener_named("m", "q")}));
  REQUIRE(place.id(1, "d") == a);
  CHECK(std::count(changes.pools.begin(), changes.pools.end(), 0U) == 1);
  REQUIRE(place.pool(0).backends.size() == 1);
  CHECK(place.pool(0).backends[0].id == b);
  CHECK(place.pool(0).primaries == 1);
  CHECK(place.pool(0).primary_table->at(7) == 0);
}

TEST_CASE("directory: a thousand updates need no more rows than one") {
  Place place;
  for (int i = 0; i < 1000; ++i) {
    const std::string name(1, static_cast<char>('a' + i % 20));
    place.update(config_of({pool_named("p", {backend(name), backend("z")})}));
  }
  CHECK(place.directory.owners().size() <= 4);
}

TEST_CASE("directory: weights that were set stay until the file says something else about them") {
  Place place;
  place.update(config_of({pool_named("p", {backend("a", 2), backend("b", 2)}, Algorithm::source_hash)}));
  place.directory.set_weight(0, 0, 7);
  CHECK(place.pool(0).backends[0].weight == 7);
  place.update(config_of({pool_named("p", {backend("a", 2), backend("b", 2), backend("c")}, Algorithm::source_hash)}));
  CHECK(place.pool(0).backends[0].weight == 7);
  place.update(config_of({pool_named("p", {backend("a", 3), backend("b", 2)}, Algorithm::source_hash)}));
  CHECK(place.pool(0).backends[0].weight == 3);
}

TEST_CASE("directory: an update that does not fit changes nothing") {
  Place place;
  place.update(config_of({pool_named("p", {backend("a")})}));
  std::vector<config::Pool> pools;
  for (std::size_t i = 0; i <= kPoolsMax; ++i) pools.push_back(pool_named("p" + std::to_string(i), {backend("a")}));
  const auto refused = place.directory.update(config_of(pools), place.table);
  CHECK_FALSE(refused.ok());
  CHECK(place.directory.snapshot()->pools.size() == 1);
}

}  // namespace millrace::pool::test
