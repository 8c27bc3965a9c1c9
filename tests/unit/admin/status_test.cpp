#include "millrace/admin/status.hpp"

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "millrace/config/config.hpp"

namespace millrace::admin {

TEST_CASE("quantile_ms: between the bounds of its class") {
  std::array<std::uint64_t, worker::kConnectTimes.size() + 1> classes{};
  CHECK(quantile_ms(classes, 0.5) == 0);
  classes[1] = 100;  // from 50 to 100 us
  CHECK(quantile_ms(classes, 0.5) == doctest::Approx(0.075));
  CHECK(quantile_ms(classes, 1.0) == doctest::Approx(0.1));
  classes.back() = 100;  // longer than the last bound
  CHECK(quantile_ms(classes, 0.99) == doctest::Approx(5000));
  CHECK(quantile_ms(classes, 0.25) == doctest::Approx(0.075));
}

TEST_CASE("BackendCounters: a connect is counted in the class that its time belongs to") {
  worker::BackendCounters counters;
  counters.note_connected(std::chrono::microseconds(50));
  counters.note_connected(std::chrono::microseconds(51));
  counters.note_connected(std::chrono::hours(1));
  CHECK(counters.connect_times[0].get() == 1);
  CHECK(counters.connect_times[1].get() == 1);
  CHECK(counters.connect_times.back().get() == 1);
  CHECK(counters.connections.get() == 3);
}

TEST_CASE("make_status: sums over workers, and what is open now") {
  const config::Loaded loaded = config::parse(R"(
    [listeners.web]
    bind = "127.0.0.1:80"
    pool = "web"
    [pools.web]
    backends = [{ name = "a", address = "10.0.0.1:80", weight = 3 }, "10.0.0.2:80"])");
  REQUIRE(loaded.config);
  const std::shared_ptr<const pool::Snapshot> snapshot = pool::build_snapshot(*loaded.config);
  pool::BackendTable table(2);
  table.set_health(pool::BackendId{1}, pool::HealthState::down);
  REQUIRE(table.acquire(pool::BackendId{0}, 0));
  worker::Counters one(1, 2);
  worker::Counters two(1, 2);
  for (worker::Counters* counters : {&one, &two}) {
    counters->listeners[0].accepted.add(10);
    counters->listeners[0].begun.add(8);
    counters->listeners[0].ended.add(5);
    counters->listeners[0].refused[static_cast<std::size_t>(worker::Refusal::denied)].add(2);
    counters->listeners[0].traffic.from_clients.add(100);
    counters->backends[0].traffic.from_backends.add(1000);
    counters->backends[1].connect_failures[static_cast<std::size_t>(worker::ConnectFailure::refused)].add(1);
  }
  const std::vector<Order> orders(2);
  const std::vector<const worker::Counters*> workers = {&one, &two};
  const std::vector<std::vector<std::string>> addresses = {{"127.0.0.1:80"}};
  const Status status = make_status(
      {.snapshot = *snapshot, .table = table, .orders = orders, .workers = workers, .addresses = addresses});
  REQUIRE(status.listeners.size() == 1);
  CHECK(status.listeners[0].active == 6);
  CHECK(status.listeners[0].connections == 20);
  CHECK(status.listeners[0].refused == Reasons{{"denied", 4}});
  CHECK(status.listeners[0].bytes.in == 200);
  REQUIRE(status.pools.size() == 1);
  const std::vector<BackendStatus>& backends = status.pools[0].backends;
  REQUIRE(backends.size() == 2);
  CHECK(backends[0].state == "up");
  CHECK(backends[0].weight == 3);
  CHECK(backends[0].active == 1);
  CHECK(backends[0].bytes.out == 2000);
  CHECK(backends[1].state == "down");
  CHECK(backends[1].connect_failures == Reasons{{"refused", 2}});
  REQUIRE(status.workers.size() == 2);
  CHECK(status.workers[1].active == 3);
}

}  // namespace millrace::admin
