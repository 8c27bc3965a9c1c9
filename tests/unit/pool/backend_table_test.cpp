#include "millrace/pool/backend_table.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace millrace::pool::test {

namespace {

constexpr BackendId kOne{1};

}  // namespace

TEST_CASE("table: begins with everyone up, idle and without failures") {
  const BackendTable table(3);
  CHECK(table.rows() == 3);
  for (std::uint32_t i = 0; i < 3; ++i) {
    CHECK(table.health(BackendId{i}) == HealthState::up);
    CHECK(table.active(BackendId{i}) == 0);
    CHECK(table.failures(BackendId{i}) == 0);
  }
}

TEST_CASE("table: rows are apart") {
  BackendTable table(3);
  table.set_health(kOne, HealthState::ejected);
  CHECK(table.acquire(kOne, 0));
  CHECK(table.count_failure(kOne) == 1);
  for (const std::uint32_t i : {0U, 2U}) {
    CHECK(table.health(BackendId{i}) == HealthState::up);
    CHECK(table.active(BackendId{i}) == 0);
    CHECK(table.failures(BackendId{i}) == 0);
  }
  CHECK(table.health(kOne) == HealthState::ejected);
  table.set_health(kOne, HealthState::down);
  CHECK(table.health(kOne) == HealthState::down);
}

TEST_CASE("table: a standing tells health and connections at once, and neither disturbs the other") {
  BackendTable table(2);
  REQUIRE(table.acquire(kOne, 0));
  REQUIRE(table.acquire(kOne, 0));
  CHECK(table.standing(kOne) == 2);
  for (const HealthState state : {HealthState::down, HealthState::ejected, HealthState::ejected, HealthState::up}) {
    table.set_health(kOne, state);
    CHECK(table.health(kOne) == state);
    CHECK(table.active(kOne) == 2);
    CHECK((table.standing(kOne) >= BackendTable::kOut) == (state != HealthState::up));
    CHECK((table.standing(kOne) & BackendTable::kActive) == 2);
    CHECK(table.acquire(kOne, 3));
    CHECK_FALSE(table.acquire(kOne, 3));  // the limit is on connections, whatever the health
    table.release(kOne);
    CHECK(table.health(kOne) == state);
  }
}

TEST_CASE("table: acquire up to the limit; release makes room") {
  BackendTable table(2);
  CHECK(table.acquire(kOne, 2));
  CHECK(table.acquire(kOne, 2));
  CHECK_FALSE(table.acquire(kOne, 2));
  CHECK(table.active(kOne) == 2);
  CHECK(table.acquire(kOne, 3));  // the limit is the caller's
  table.release(kOne);
  table.release(kOne);
  CHECK(table.acquire(kOne, 2));
  CHECK(table.active(kOne) == 2);
}

TEST_CASE("table: without a limit") {
  BackendTable table(2);
  for (int i = 0; i < 10'000; ++i) REQUIRE(table.acquire(kOne, 0));
  CHECK(table.active(kOne) == 10'000);
}

TEST_CASE("table: failures count in a row and are cleared by a success") {
  BackendTable table(2);
  CHECK(table.count_failure(kOne) == 1);
  CHECK(table.count_failure(kOne) == 2);
  CHECK(table.failures(kOne) == 2);
  table.clear_failures(kOne);
  CHECK(table.failures(kOne) == 0);
  table.clear_failures(kOne);
  CHECK(table.count_failure(kOne) == 1);
}

TEST_CASE("table: four threads never hold more than the limit, and use all of it") {
  constexpr std::uint32_t kLimit = 3;
  BackendTable table(2);
  std::atomic<std::uint32_t> held{0};
  std::atomic<std::uint32_t> above{0};
  std::atomic<std::uint32_t> acquired{0};
  const auto work = [&] {
    for (int i = 0; i < 5'000; ++i) {
      if (!table.acquire(kOne, kLimit)) continue;
      ++acquired;
      if (held.fetch_add(1) + 1 > kLimit) ++above;
      if (i % 3 == 0) std::this_thread::yield();
      held.fetch_sub(1);
      table.release(kOne);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  CHECK(above == 0);
  CHECK(acquired > 0);
  CHECK(table.active(kOne) == 0);  // a refusal leaves no trace
}

TEST_CASE("table: four threads that only acquire get exactly the limit") {
  constexpr std::uint32_t kLimit = 1'000;
  BackendTable table(2);
  std::atomic<std::uint32_t> acquired{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) {
        if (table.acquire(kOne, kLimit)) ++acquired;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(acquired == kLimit);
  CHECK(table.active(kOne) == kLimit);
}

TEST_CASE("table: failures of several threads are all counted, each with its own number") {
  BackendTable table(2);
  std::atomic<std::uint32_t> third{0};
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 300; ++i) {
        if (table.count_failure(kOne) % 3 == 0) ++third;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(table.failures(kOne) == 1200);
  CHECK(third == 400);
}

TEST_CASE("table: connections that come and go while the health changes are all counted, and so is every change") {
  BackendTable table(2);
  std::atomic<std::uint32_t> kept{0};
  std::vector<std::thread> threads;
  threads.reserve(3);
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, limit = t == 0 ? 1'000'000U : 0U] {
      for (int i = 0; i < 5'000; ++i) {
        if (!table.acquire(kOne, limit)) continue;
        if (i % 5 == 0) {
          ++kept;
        } else {
          table.release(kOne);
        }
      }
    });
  }
  std::uint32_t lost = 0;
  for (int i = 0; i < 5'000; ++i) {
    const auto state = static_cast<HealthState>(i % 3);
    table.set_health(kOne, state);
    if (table.health(kOne) != state) ++lost;
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(lost == 0);
  CHECK(kept == 3'000);
  CHECK(table.active(kOne) == kept);
  CHECK(table.health(kOne) == static_cast<HealthState>(4'999 % 3));
}

TEST_CASE("BackendTable: barring leaves health and counts alone") {
  BackendTable table(1);
  const BackendId id{0};
  REQUIRE(table.acquire(id, 0));
  table.set_health(id, HealthState::ejected);
  for (const bool barred : {true, true, false, false, true}) {
    table.set_barred(id, barred);
    CHECK(table.barred(id) == barred);
    CHECK(table.health(id) == HealthState::ejected);
    CHECK(table.active(id) == 1);
    CHECK_FALSE(table.serves(id));
  }
  table.set_health(id, HealthState::up);
  CHECK(table.barred(id));
  CHECK_FALSE(table.serves(id));
  CHECK(table.standing(id) >= BackendTable::kOut);
  CHECK_FALSE(table.acquire(id, 1));  // full all the same
  table.release(id);
  table.set_barred(id, false);
  CHECK(table.standing(id) == 0);
  CHECK(table.serves(id));
}

}  // namespace millrace::pool::test
