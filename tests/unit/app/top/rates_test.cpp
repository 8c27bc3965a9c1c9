#include "top/rates.hpp"

#include <doctest/doctest.h>

namespace millrace::app::top {

namespace {

/// A balancer with one listener and two backends that has taken so many connections, four times as many bytes out as
/// in.
admin::Status status_after(double seconds, std::uint64_t connections, std::int64_t pid = 1) {
  admin::Status status;
  status.version = "1";
  status.pid = pid;
  status.uptime_seconds = seconds;
  status.listeners = {{.name = "web",
                       .protocol = "tcp",
                       .addresses = {"127.0.0.1:80", "[::1]:80"},
                       .pool = "web",
                       .active = 3,
                       .connections = connections,
                       .refused = {{"denied", connections / 10}, {"full", connections / 10}},
                       .bytes = {.in = 100 * connections, .out = 400 * connections}}};
  admin::BackendStatus a;
  a.name = "a";
  a.state = a.health = "up";
  a.connections = connections;
  a.connect_failures["refused"] = connections / 2;
  a.connect_times.classes.resize(16);
  a.connect_times.classes[4] = connections;  // half a millisecond to one
  admin::BackendStatus b;
  b.name = "b";
  b.state = b.health = "down";
  b.connect_times.classes.resize(16);
  status.pools = {{.name = "web", .balance = "first", .backends = {a, b}}};
  status.workers.resize(2);
  return status;
}

}  // namespace

TEST_CASE("Gauge: the first status has counts, but no rate yet") {
  Gauge gauge(60);
  gauge.add(status_after(100, 5000));
  const Picture& picture = gauge.picture();
  CHECK(picture.active == 3);
  CHECK(picture.workers == 2);
  CHECK(picture.rates.connections == 0);
  CHECK(picture.listeners[0].address == "tcp 127.0.0.1:80 [::1]:80");
  CHECK(picture.pools[0].up == 1);
  CHECK_FALSE(picture.pools[0].backends[0].p50_ms);
  CHECK(picture.connections.columns(60, 10).back() == std::nullopt);
}

TEST_CASE("Gauge: rates are by the balancer's clock") {
  Gauge gauge(60);
  gauge.add(status_after(100, 5000));
  gauge.add(status_after(102, 5200));
  const Picture& picture = gauge.picture();
  CHECK(picture.rates.connections == doctest::Approx(100));
  CHECK(picture.rates.in == doctest::Approx(10'000));
  CHECK(picture.rates.out == doctest::Approx(40'000));
  CHECK(picture.rates.failures == doctest::Approx(20));
  CHECK(picture.failures == doctest::Approx(50));
  CHECK(picture.pools[0].rates.connections == doctest::Approx(100));
  const BackendView& busy = picture.pools[0].backends[0];
  CHECK(busy.rates.connections == doctest::Approx(100));
  CHECK(busy.p50_ms > 0.5);
  CHECK(busy.p99_ms < 1);
  CHECK(busy.connections.max() == doctest::Approx(100));
  CHECK_FALSE(picture.pools[0].backends[1].p50_ms);
}

TEST_CASE("Gauge: connect times are those of the minute, not of what was long ago") {
  Gauge gauge(2);
  gauge.add(status_after(1, 1000));
  for (int second = 2; second < 6; ++second) gauge.add(status_after(second, 2000));
  CHECK_FALSE(gauge.picture().pools[0].backends[0].p50_ms);
}

TEST_CASE("Gauge: another balancer begins anew, and counts that shrink are no rate") {
  Gauge gauge(60);
  gauge.add(status_after(100, 5000));
  gauge.add(status_after(101, 5100));
  SUBCASE("another process") {
    gauge.add(status_after(102, 9000, 2));
    CHECK(gauge.picture().rates.connections == 0);
    CHECK(gauge.picture().connections.max() == 0);
  }
  SUBCASE("the same number for another process") {
    gauge.add(status_after(0.5, 9000));
    CHECK(gauge.picture().rates.connections == 0);
  }
  SUBCASE("a backend that was taken away and came back") {
    gauge.add(status_after(102, 10));
    CHECK(gauge.picture().rates.connections == 0);
    CHECK(gauge.picture().pools[0].backends[0].rates.in == 0);
  }
}

TEST_CASE("Gauge: what was removed is forgotten") {
  Gauge gauge(60);
  gauge.add(status_after(100, 5000));
  gauge.add(status_after(101, 5100));
  admin::Status without = status_after(102, 5200);
  without.pools.clear();
  gauge.add(without);
  CHECK(gauge.picture().pools.empty());
  gauge.add(status_after(103, 5300));
  CHECK(gauge.picture().pools[0].backends[0].connections.max() == 0);
}

TEST_CASE("History: columns are means of their samples, the newest is on the right, and they move by whole columns") {
  History history;
  CHECK(history.columns(4, 2) == std::vector<std::optional<double>>(2));
  for (const double value : {1.0, 3.0, 5.0}) history.add(value, 4);
  CHECK(history.columns(4, 2) == std::vector<std::optional<double>>{2.0, 5.0});
  history.add(7, 4);
  CHECK(history.columns(4, 2) == std::vector<std::optional<double>>{2.0, 6.0});
  history.add(9, 4);  // the first is gone
  CHECK(history.columns(4, 2) == std::vector<std::optional<double>>{6.0, 9.0});
  CHECK(history.max() == 9);
  CHECK(history.columns(4, 0).empty());
}

}  // namespace millrace::app::top
