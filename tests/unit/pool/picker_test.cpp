#include "millrace/pool/picker.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "millrace/balance/bounded_load.hpp"
#include "support.hpp"

namespace millrace::pool::test {

namespace {

constexpr int kMany = 200;

/// Who is picked, one connection after the other, with `tried` fixed.
std::set<std::uint32_t> reached(Fixture& fixture, const TriedSet& tried = {},
                                PickOutcome outcome = PickOutcome::picked) {
  std::set<std::uint32_t> indices;
  for (int i = 0; i < kMany; ++i) {
    const Pick found = fixture.pick_and_release(tried);
    CHECK(found.outcome == outcome);
    indices.insert(found.index);
  }
  return indices;
}

using Indices = std::set<std::uint32_t>;

}  // namespace

// ---- what holds for every algorithm ----

TEST_CASE("picker: a pick is counted until it is released") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {backend("a")}));
    for (std::uint32_t i = 1; i <= 5; ++i) {
      CHECK(fixture.pick().outcome == PickOutcome::picked);
      CHECK(fixture.active(0) == i);
    }
    fixture.release(0);
    CHECK(fixture.active(0) == 4);
  }
}

TEST_CASE("picker: only healthy ones; down and ejected are alike; all come back") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    Fixture fixture(pool_of(algorithm, {backend("a"), backend("b"), backend("c")}));
    const Indices everyone = algorithm == Algorithm::first ? Indices{0} : Indices{0, 1, 2};
    CHECK(reached(fixture) == everyone);
    fixture.set(0, HealthState::down);
    fixture.set(2, HealthState::ejected);
    CHECK(reached(fixture) == Indices{1});
    CHECK_FALSE(fixture.picker.failing_open());
    fixture.set_all(HealthState::up);
    CHECK(reached(fixture) == everyone);
  }
}

TEST_CASE("picker: weight 0 is never picked, not even when nothing else is left") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    Fixture fixture(pool_of(algorithm, {backend("drained", 0), backend("a"), backend("drained too", 0, true)}));
    CHECK(reached(fixture) == Indices{1});
    fixture.set(1, HealthState::down);
    CHECK(reached(fixture) == Indices{1});  // fail_open prefers one that is down to one that takes nobody
    CHECK(fixture.picker.failing_open());

    Fixture none(pool_of(algorithm, {backend("drained", 0)}));
    CHECK(none.pick().outcome == PickOutcome::none);
    CHECK(none.active(0) == 0);
  }
}

TEST_CASE("picker: backups only when no primary is up") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    Fixture fixture(pool_of(algorithm, {backend("a"), spare("s"), backend("b"), spare("t")}));
    const auto picked = [algorithm](std::uint32_t one, std::uint32_t two) {
      return algorithm == Algorithm::first ? Indices{one} : Indices{one, two};
    };
    CHECK(reached(fixture) == picked(0, 1));
    fixture.set(0, HealthState::down);
    CHECK(reached(fixture) == Indices{1});
    fixture.set(1, HealthState::down);
    CHECK(reached(fixture) == picked(2, 3));
    fixture.set(2, HealthState::down);
    CHECK(reached(fixture) == Indices{3});
    fixture.set(1, HealthState::up);
    CHECK(reached(fixture) == Indices{1});
  }
}

TEST_CASE("picker: a pool of backups only") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {spare("s")}));
    CHECK(reached(fixture) == Indices{0});
    fixture.set(0, HealthState::down);
    CHECK(reached(fixture) == Indices{0});
    CHECK(fixture.picker.failing_open());
  }
}

TEST_CASE("picker: nobody healthy: fail_open tries the primaries all the same, else nobody") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    config::Pool from = pool_of(algorithm, {backend("a"), backend("b"), spare("s")});
    Fixture open(from);
    open.set_all(HealthState::down);
    CHECK(reached(open) == (algorithm == Algorithm::first ? Indices{0} : Indices{0, 1}));
    CHECK(open.picker.failing_open());
    open.set(2, HealthState::up);  // a healthy backup is better than primaries that are down
    CHECK(reached(open) == Indices{2});
    CHECK_FALSE(open.picker.failing_open());

    from.fail_open = false;
    Fixture shut(from);
    shut.set_all(HealthState::down);
    CHECK(shut.pick_and_release().outcome == PickOutcome::none);
    CHECK_FALSE(shut.picker.failing_open());
    for (std::uint32_t i = 0; i < 3; ++i) CHECK(shut.active(i) == 0);
  }
}

TEST_CASE("picker: fail_open goes on to the backups once the primaries were tried") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {backend("a"), spare("s")}));
    fixture.set_all(HealthState::down);
    CHECK(reached(fixture, tried({0})) == Indices{1});
    CHECK(fixture.picker.failing_open());
    CHECK(reached(fixture, tried({0, 1}), PickOutcome::picked_again) == Indices{0});
  }
}

TEST_CASE("picker: those that were tried come again only when no other is left") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    Fixture fixture(pool_of(algorithm, {backend("a"), backend("b"), backend("c")}));
    CHECK(reached(fixture, tried({0, 2})) == Indices{1});
    CHECK(reached(fixture, tried({0, 1, 2}), PickOutcome::picked_again) ==
          (algorithm == Algorithm::first ? Indices{0} : Indices{0, 1, 2}));
    fixture.set(1, HealthState::down);
    // Not to one that is down as long as a healthy one exists, tried or not.
    CHECK(reached(fixture, tried({0, 2}), PickOutcome::picked_again) ==
          (algorithm == Algorithm::first ? Indices{0} : Indices{0, 2}));
  }
}

TEST_CASE("picker: every primary was tried: a healthy backup comes before a repetition") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {backend("a"), spare("s")}));
    CHECK(reached(fixture, tried({0})) == Indices{1});
    CHECK(reached(fixture, tried({0, 1}), PickOutcome::picked_again) == Indices{0});
  }
}

TEST_CASE("picker: a pick that comes again is counted as well") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("a")}));
  CHECK(fixture.pick({.tried = tried({0})}).outcome == PickOutcome::picked_again);
  CHECK(fixture.active(0) == 1);
}

TEST_CASE("picker: max_connections: full ones are passed over, then all is full, and a release makes room") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    config::Pool from = pool_of(algorithm, {backend("a", 1, false, 3), backend("b", 5, false, 2), spare("s")});
    Fixture fixture(from);
    for (std::uint64_t i = 0; i < 5; ++i) {
      CHECK(fixture.pick({.client_hash = i, .random = mix64(i), .tried = {}}).outcome == PickOutcome::picked);
    }
    CHECK(fixture.active(0) == 3);
    CHECK(fixture.active(1) == 2);
    CHECK(fixture.pick().outcome == PickOutcome::all_full);
    CHECK(fixture.active(2) == 0);  // primaries that are merely full do not bring in the backups
    CHECK(fixture.active(0) + fixture.active(1) == 5);
    fixture.release(1);
    const Pick found = fixture.pick();
    CHECK(found.outcome == PickOutcome::picked);
    CHECK(found.index == 1);
  }
}

TEST_CASE("picker: full and tried, full and down") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("a", 1, false, 1), backend("b", 1, false, 1)}));
  REQUIRE(fixture.pick({.tried = tried({1})}).index == 0);
  CHECK(fixture.pick({.tried = tried({1})}).outcome == PickOutcome::all_full);  // rather wait than repeat
  fixture.set(1, HealthState::down);
  CHECK(fixture.pick().outcome == PickOutcome::all_full);  // nor to one that is down
  fixture.set(0, HealthState::down);
  CHECK(fixture.pick().index == 1);  // fail_open obeys the limits
  CHECK(fixture.pick().outcome == PickOutcome::all_full);
}

TEST_CASE("picker: an empty pool gives nobody") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {}));
    CHECK(fixture.pick().outcome == PickOutcome::none);
    CHECK(fixture.pick({.tried = tried({3})}).outcome == PickOutcome::none);
  }
}

TEST_CASE("picker: the table's rows are found by id, not by position") {
  // The backup stands first in the file, so it has row 0 and index 1.
  Fixture fixture(pool_of(Algorithm::first, {spare("s"), backend("a")}));
  fixture.table.set_health(BackendId{1}, HealthState::down);
  const Pick found = fixture.pick();
  CHECK(found.index == 1);
  CHECK(fixture.pool.backends[found.index].name == "s");
  CHECK(fixture.table.active(BackendId{0}) == 1);
  CHECK(fixture.table.active(BackendId{1}) == 0);
}

TEST_CASE("TriedSet: exact below 64, and never forgets above") {
  for (std::uint32_t index = 0; index < 64; ++index) {
    const TriedSet one = tried({index});
    for (std::uint32_t other = 0; other < 64; ++other) CHECK(one.contains(other) == (other == index));
  }
  TriedSet far = tried({1000});
  CHECK(far.contains(1000));
  CHECK_FALSE(far.empty());
  far.clear();
  CHECK(far.empty());
  CHECK_FALSE(far.contains(1000));
}

// ---- each algorithm ----

TEST_CASE("least_conn: the counts of all workers decide") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("a"), backend("b"), backend("c")}));
  Picker second(fixture.pool, fixture.table);
  std::map<std::uint32_t, int> picks;
  for (int i = 0; i < 30; ++i) ++picks[(i % 2 == 0 ? fixture.picker : second).pick({}).index];
  CHECK(picks == std::map<std::uint32_t, int>{{0, 10}, {1, 10}, {2, 10}});
  for (int i = 0; i < 4; ++i) fixture.release(1);
  for (int i = 0; i < 4; ++i) CHECK(second.pick({}).index == 1);
}

TEST_CASE("least_conn: by weight") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("a", 3), backend("b", 1)}));
  for (int i = 0; i < 40; ++i) fixture.pick();
  CHECK(fixture.active(0) == 30);
  CHECK(fixture.active(1) == 10);
}

TEST_CASE("least_conn: failing open, the counts decide, not how a backend failed") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("a"), backend("b"), backend("c")}));
  for (int i = 0; i < 6; ++i) fixture.pick();
  fixture.set(0, HealthState::ejected);
  fixture.set(1, HealthState::down);
  fixture.set(2, HealthState::ejected);
  fixture.release(2);
  CHECK(fixture.pick().index == 2);
  fixture.release(0);
  CHECK(fixture.pick().index == 0);
  CHECK(fixture.picker.failing_open());
  for (int i = 0; i < 30; ++i) fixture.pick();
  for (std::uint32_t i = 0; i < 3; ++i) CHECK(fixture.active(i) == 12);
}

TEST_CASE("least_conn: who is down does not attract by being idle, nor who is full or tried") {
  Fixture fixture(pool_of(Algorithm::least_conn, {backend("down", 5), backend("full", 9, false, 1), backend("tried", 7),
                                                  backend("a", 5), backend("b", 1)}));
  fixture.set(0, HealthState::down);
  CHECK(fixture.pick({.tried = tried({0, 2, 3, 4})}).index == 1);
  for (int i = 0; i < 12; ++i) CHECK(fixture.pick({.tried = tried({2})}).outcome == PickOutcome::picked);
  CHECK(fixture.active(0) == 0);
  CHECK(fixture.active(1) == 1);
  CHECK(fixture.active(2) == 0);
  CHECK(fixture.active(3) == 10);
  CHECK(fixture.active(4) == 2);
}

TEST_CASE("picker: the highest max_connections are as none") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    Fixture fixture(pool_of(algorithm, {backend("a", 1, false, 0xffff'ffff), backend("b", 1, false, 0x4000'0000)}));
    fixture.set(0, HealthState::down);
    for (int i = 0; i < 10; ++i) CHECK(fixture.pick_and_release().index == 1);
  }
}

TEST_CASE("round_robin: in turn by weight, whatever is active; each worker by its own turn") {
  Fixture fixture(pool_of(Algorithm::round_robin, {backend("a", 2), backend("b", 1)}));
  std::string order;
  for (int i = 0; i < 6; ++i) order += fixture.pool.backends[fixture.pick().index].name;
  CHECK(order == "abaaba");
  Picker second(fixture.pool, fixture.table);
  CHECK(second.pick({}).index == 0);
}

TEST_CASE("random_two: the less loaded of two; the random word decides which two") {
  Fixture fixture(pool_of(Algorithm::random_two, {backend("a"), backend("b")}));
  for (int i = 0; i < 10; ++i) fixture.pick(chance(fixture.rng.next()));
  CHECK(fixture.active(0) == 5);
  CHECK(fixture.active(1) == 5);
  while (fixture.active(0) > 0) fixture.release(0);
  for (int i = 0; i < 4; ++i) CHECK(fixture.pick(chance(fixture.rng.next())).index == 0);
}

TEST_CASE("first: fills one before the next") {
  Fixture fixture(pool_of(Algorithm::first, {backend("a", 1, false, 2), backend("b", 1, false, 2), backend("c")}));
  std::string order;
  for (int i = 0; i < 6; ++i) order += fixture.pool.backends[fixture.pick().index].name;
  CHECK(order == "aabbcc");
  fixture.release(0);
  CHECK(fixture.pick().index == 0);
}

TEST_CASE("source_hash: a client stays with its backend while that is up, and comes back to it") {
  Fixture fixture(pool_of(Algorithm::source_hash, {backend("a"), backend("b"), backend("c"), backend("d")}));
  const auto homes = [&] {
    std::vector<std::uint32_t> indices;
    for (std::uint64_t hash = 0; hash < 500; ++hash) indices.push_back(fixture.pick(client(hash)).index);
    return indices;
  };
  const auto before = homes();
  CHECK(homes() == before);
  CHECK(Indices(before.begin(), before.end()) == Indices{0, 1, 2, 3});
  fixture.set(2, HealthState::down);
  const auto without = homes();
  Indices refuge;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == 2) {
      refuge.insert(without[i]);
    } else {
      CHECK(without[i] == before[i]);  // nobody else moves
    }
  }
  CHECK(refuge == Indices{0, 1, 3});  // spread over the others
  fixture.set(2, HealthState::up);
  CHECK(homes() == before);
}

TEST_CASE("source_hash: a client whose backend is full goes to its next choice until there is room") {
  Fixture fixture(pool_of(Algorithm::source_hash, {backend("a", 1, false, 1), backend("b", 1, false, 1), spare("s")}));
  const std::uint32_t home = fixture.pick(client(7)).index;
  CHECK(fixture.pick(client(7)).index == 1 - home);
  CHECK(fixture.pick(client(7)).outcome == PickOutcome::all_full);
  fixture.release(home);
  CHECK(fixture.pick(client(7)).index == home);
}

TEST_CASE("source_hash: after failing open, a pick at home says that health counts again") {
  Fixture fixture(pool_of(Algorithm::source_hash, {backend("a"), backend("b")}));
  fixture.set_all(HealthState::down);
  CHECK(fixture.pick(client(7)).outcome == PickOutcome::picked);
  CHECK(fixture.picker.failing_open());
  fixture.set_all(HealthState::up);
  CHECK(fixture.pick(client(7)).outcome == PickOutcome::picked);
  CHECK_FALSE(fixture.picker.failing_open());
}

TEST_CASE("source_hash: two workers agree") {
  Fixture fixture(pool_of(Algorithm::source_hash, {backend("a"), backend("b", 4), backend("c"), spare("s")}));
  Picker second(fixture.pool, fixture.table);
  for (std::uint64_t hash = 0; hash < 300; ++hash) {
    CHECK(fixture.pick(client(hash)).index == second.pick(client(hash)).index);
  }
}

TEST_CASE("source_hash: a retry goes to the client's next choice") {
  Fixture fixture(pool_of(Algorithm::source_hash, {backend("a"), backend("b"), backend("c")}));
  for (std::uint64_t hash = 0; hash < 100; ++hash) {
    const std::uint32_t home = fixture.pick(client(hash)).index;
    const std::uint32_t next = fixture.pick({.client_hash = hash, .tried = tried({home})}).index;
    CHECK(next != home);
    fixture.set(home, HealthState::down);
    CHECK(fixture.pick(client(hash)).index == next);  // the same whether it was tried or is down
    fixture.set(home, HealthState::up);
  }
}

TEST_CASE("load_factor: one busy client address cannot fill its backend") {
  config::Pool from = pool_of(Algorithm::source_hash, {backend("a"), backend("b"), backend("c"), backend("d")});
  from.hash.load_factor = 1.25;
  Fixture fixture(from);
  for (std::uint32_t placed = 1; placed <= 400; ++placed) {
    REQUIRE(fixture.pick(client(7)).outcome == PickOutcome::picked);
    const balance::BoundedLoad bound{.load_factor = 1.25, .total_active = placed - 1, .total_weight = 4};
    for (std::uint32_t i = 0; i < 4; ++i) REQUIRE(fixture.active(i) <= bound.capacity(1));
  }
  for (std::uint32_t i = 0; i < 4; ++i) CHECK(fixture.active(i) > 0);

  from.hash.load_factor = 0.0;
  Fixture unbound(from);
  const std::uint32_t home = unbound.pick(client(7)).index;
  for (int i = 0; i < 100; ++i) CHECK(unbound.pick(client(7)).index == home);
}

TEST_CASE("load_factor: below the bound clients stay where the hash puts them") {
  config::Pool from = pool_of(Algorithm::source_hash, {backend("a"), backend("b"), backend("c")});
  Fixture plain(from);
  from.hash.load_factor = 10.0;
  Fixture bound(from);
  int same = 0;
  for (std::uint64_t hash = 0; hash < 300; ++hash) {
    if (plain.pick(client(hash)).index == bound.pick(client(hash)).index) ++same;
  }
  CHECK(same == 300);
}

TEST_CASE("load_factor: the share is by weight, and of those that may be picked") {
  config::Pool from =
      pool_of(Algorithm::source_hash, {backend("a", 3), backend("b", 1), backend("c", 4), backend("d", 0)});
  from.hash.load_factor = 1.0;
  Fixture fixture(from);
  fixture.set(2, HealthState::down);
  for (std::uint64_t i = 0; i < 400; ++i) REQUIRE(fixture.pick(client(i)).outcome == PickOutcome::picked);
  CHECK(fixture.active(0) == 300);
  CHECK(fixture.active(1) == 100);
  CHECK(fixture.active(2) == 0);
}

TEST_CASE("picker: workers on several threads: limits hold, and nothing is lost") {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    CAPTURE(balance::name(algorithm));
    const auto snapshot = snapshot_of({pool_of(algorithm, {backend("a", 1, false, 2), backend("b", 2, false, 1)})});
    const Pool& pool = *snapshot->pools[0];
    BackendTable table(2);
    std::array<std::atomic<std::uint32_t>, 2> held{};
    std::atomic<std::uint32_t> above{0};
    const auto work = [&](std::uint64_t seed) {
      Picker picker(pool, table);
      Rng rng(seed);
      for (int i = 0; i < 1'000; ++i) {
        const Pick found = picker.pick({.client_hash = rng.next(), .random = rng.next(), .tried = {}});
        if (found.outcome != PickOutcome::picked) continue;
        if (held.at(found.index).fetch_add(1) + 1 > pool.backends[found.index].max_connections) ++above;
        if (i % 4 == 0) std::this_thread::yield();
        held.at(found.index).fetch_sub(1);
        table.release(pool.backends[found.index].id);
      }
    };
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 3; ++t) threads.emplace_back(work, t);
    for (std::thread& thread : threads) thread.join();
    CHECK(above == 0);
    CHECK(table.active(BackendId{0}) == 0);
    CHECK(table.active(BackendId{1}) == 0);
  }
}

}  // namespace millrace::pool::test
