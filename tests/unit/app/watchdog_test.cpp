#include "watchdog.hpp"

#include <doctest/doctest.h>

#include <array>

#include "service_manager.hpp"

namespace millrace::app {

namespace {

using std::chrono::milliseconds;
using Passes = std::array<std::uint64_t, 2>;

constexpr Instant at(int ms) {
  return Instant{} + milliseconds(ms);
}

}  // namespace

TEST_CASE("watchdog: not asked for, it never wants a ping and nobody has to hurry") {
  Watchdog watchdog(2, Nanos(0));
  CHECK_FALSE(watchdog.wanted());
  CHECK(watchdog.period() == Nanos::max());
  CHECK_FALSE(watchdog.look(Passes{1, 1}, at(0)).ping);
}

TEST_CASE("watchdog: a ping only when every worker has made a pass since the last one") {
  Watchdog watchdog(2, milliseconds(1000));
  CHECK(watchdog.period() == milliseconds(250));
  CHECK(watchdog.look(Passes{1, 1}, at(0)).ping);
  CHECK_FALSE(watchdog.look(Passes{1, 1}, at(250)).ping);
  CHECK_FALSE(watchdog.look(Passes{9, 1}, at(500)).ping);  // one is not enough …
  CHECK(watchdog.look(Passes{9, 2}, at(750)).ping);        // … but they need not be seen to move together
}

TEST_CASE("watchdog: a worker that has not made its first pass is not alive") {
  Watchdog watchdog(2, milliseconds(1000));
  CHECK_FALSE(watchdog.look(Passes{0, 3}, at(0)).ping);
}

TEST_CASE("watchdog: a worker that stands still is named once, and once more when it goes on") {
  Watchdog watchdog(2, milliseconds(1000));
  CHECK(watchdog.look(Passes{1, 1}, at(0)).ping);
  CHECK(watchdog.look(Passes{2, 1}, at(250)).stalled.empty());
  CHECK(watchdog.look(Passes{3, 1}, at(500)).stalled == std::vector<std::uint32_t>{1});
  const Watchdog::Verdict later = watchdog.look(Passes{4, 1}, at(5000));
  CHECK(later.stalled.empty());
  CHECK_FALSE(later.ping);
  const Watchdog::Verdict again = watchdog.look(Passes{5, 2}, at(5250));
  CHECK(again.resumed == std::vector<std::uint32_t>{1});
  CHECK(again.ping);
}

TEST_CASE("watchdog: workers that have ended do not hold it up") {
  Watchdog watchdog(2, milliseconds(1000));
  CHECK(watchdog.look(Passes{1, Watchdog::kEnded}, at(0)).ping);
  CHECK(watchdog.look(Passes{2, Watchdog::kEnded}, at(2000)).ping);
  CHECK(watchdog.look(Passes{Watchdog::kEnded, Watchdog::kEnded}, at(4000)).stalled.empty());
}

TEST_CASE("service manager: the status line") {
  CHECK(status_line({.workers = 2, .backends = 4, .backends_up = 3, .connections = 17, .accepted = 1204567}) ==
        "2 workers, 3 of 4 backends up, 17 connections, 1,204,567 accepted");
  CHECK(status_line({.workers = 1, .backends = 1, .backends_up = 1, .sessions = 1000, .stopping = true}) ==
        "stopping: 1 workers, 1 of 1 backends up, 0 connections, 1,000 UDP sessions, 0 accepted");
}

}  // namespace millrace::app
