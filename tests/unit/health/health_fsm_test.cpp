#include "millrace/health/health_fsm.hpp"

#include <doctest/doctest.h>

#include <optional>
#include <string_view>

#include "millrace/base/rng.hpp"

namespace millrace::health {
namespace {

using namespace std::chrono_literals;
using pool::HealthState;
using Flip = HealthFsm::Flip;

const Instant kStart = Instant(1000s);

/// Feeds results given as letters; returns the number of flips.
int feed(HealthFsm& fsm, std::string_view results) {
  int flips = 0;
  for (const char result : results) flips += fsm.probed(result == 'S', kStart).has_value() ? 1 : 0;
  return flips;
}

/// Ejects at `now` and serves the time; returns how long it took.
Nanos eject_and_restore(HealthFsm& fsm, Instant& now, Nanos base) {
  REQUIRE(fsm.eject(now, base) == Flip{HealthState::up, HealthState::ejected});
  const Nanos duration = fsm.ejected_until() - now;
  now = fsm.ejected_until();
  REQUIRE(fsm.restore(now) == Flip{HealthState::ejected, HealthState::up});
  return duration;
}

TEST_CASE("a backend is up until the first probe has an answer") {
  const HealthFsm fsm(2, 3);
  CHECK(fsm.state() == HealthState::up);
}

TEST_CASE("a failure of the first probe brings the backend down at once") {
  HealthFsm fsm(2, 3);
  CHECK(fsm.probed(false, kStart) == Flip{HealthState::up, HealthState::down});
  CHECK(fsm.state() == HealthState::down);
}

TEST_CASE("a success of the first probe confirms the backend and flips nothing") {
  HealthFsm fsm(2, 3);
  CHECK(fsm.probed(true, kStart) == std::nullopt);
  CHECK(feed(fsm, "FF") == 0);
  CHECK(fsm.probed(false, kStart) == Flip{HealthState::up, HealthState::down});
}

TEST_CASE("only failures in a row count") {
  HealthFsm fsm(1, 2);
  CHECK(feed(fsm, "SFSFSFSFSFS") == 0);
  CHECK(fsm.state() == HealthState::up);
  CHECK(feed(fsm, "FF") == 1);
  CHECK(fsm.state() == HealthState::down);
}

TEST_CASE("only successes in a row count") {
  HealthFsm fsm(2, 1);
  REQUIRE(feed(fsm, "F") == 1);
  CHECK(feed(fsm, "SFSFSFSFSF") == 0);
  CHECK(fsm.state() == HealthState::down);
  CHECK(fsm.probed(true, kStart) == std::nullopt);
  CHECK(fsm.probed(true, kStart) == Flip{HealthState::down, HealthState::up});
}

TEST_CASE("results beyond the threshold are not reported again") {
  HealthFsm fsm(2, 3);
  CHECK(feed(fsm, "SFFFFFFFFFF") == 1);
  CHECK(feed(fsm, "SSSSSSSSSSS") == 1);
  CHECK(feed(fsm, "FF") == 0);
  CHECK(feed(fsm, "SFF") == 0);
}

TEST_CASE("for every rise and fall the machine agrees with counting in a row") {
  for (std::uint32_t rise = 1; rise <= 4; ++rise) {
    for (std::uint32_t fall = 1; fall <= 4; ++fall) {
      Rng rng(rise * 16 + fall);
      HealthFsm fsm(rise, fall);
      CHECK(fsm.probed(true, kStart) == std::nullopt);
      bool up = true;
      bool last = true;
      std::uint32_t in_a_row = 1;
      for (int i = 0; i < 2000; ++i) {
        const bool success = rng.one_in(2);
        in_a_row = success == last ? in_a_row + 1 : 1;
        last = success;
        const bool flips = success != up && in_a_row >= (success ? rise : fall);
        if (flips) up = success;
        CHECK(fsm.probed(success, kStart).has_value() == flips);
        CHECK(fsm.state() == (up ? HealthState::up : HealthState::down));
      }
    }
  }
}

TEST_CASE("ejections double up to the maximum") {
  HealthFsm fsm(2, 3);
  Instant now = kStart;
  for (const Nanos expected : {Nanos(30s), Nanos(60s), Nanos(120s), Nanos(240s), Nanos(300s), Nanos(300s)}) {
    CHECK(eject_and_restore(fsm, now, 30s) == expected);
  }
}

TEST_CASE("a base above the maximum is cut to it") {
  HealthFsm fsm(2, 3);
  Instant now = kStart;
  CHECK(eject_and_restore(fsm, now, 1h) == HealthFsm::kMaxEjection);
  CHECK(eject_and_restore(fsm, now, 1h) == HealthFsm::kMaxEjection);
}

TEST_CASE("calm time takes doublings back one by one") {
  HealthFsm fsm(2, 3);
  Instant now = kStart;
  for (int i = 0; i < 3; ++i) (void)eject_and_restore(fsm, now, 30s);  // the next would last 240 s
  SUBCASE("not quite long enough") {
    now += HealthFsm::kCalm - 1ns;
    CHECK(eject_and_restore(fsm, now, 30s) == 240s);
  }
  SUBCASE("one period") {
    now += HealthFsm::kCalm;
    CHECK(eject_and_restore(fsm, now, 30s) == 120s);
    CHECK(eject_and_restore(fsm, now, 30s) == 240s);
  }
  SUBCASE("two periods") {
    now += 2 * HealthFsm::kCalm;
    CHECK(eject_and_restore(fsm, now, 30s) == 60s);
  }
  SUBCASE("years") {
    now += std::chrono::hours(24 * 3650);
    CHECK(eject_and_restore(fsm, now, 30s) == 30s);
  }
}

TEST_CASE("the maximum is left as fast as it was reached, however many ejections there were") {
  HealthFsm fsm(2, 3);
  Instant now = kStart;
  for (int i = 0; i < 100; ++i) (void)eject_and_restore(fsm, now, 30s);
  now += 4 * HealthFsm::kCalm;
  CHECK(eject_and_restore(fsm, now, 30s) == 30s);
}

TEST_CASE("an ejection is due at its end, not before") {
  HealthFsm fsm(2, 3);
  CHECK_FALSE(fsm.due(kStart));
  REQUIRE(fsm.eject(kStart, 30s));
  CHECK(fsm.ejected_until() == kStart + 30s);
  CHECK_FALSE(fsm.due(kStart + 30s - 1ns));
  CHECK(fsm.restore(kStart + 30s - 1ns) == std::nullopt);
  CHECK(fsm.due(kStart + 30s));
}

TEST_CASE("rise successes in a row end an ejection early; when it is due one is enough") {
  HealthFsm fsm(3, 3);
  REQUIRE(feed(fsm, "SF") == 0);
  REQUIRE(fsm.eject(kStart, 30s));
  SUBCASE("early") {
    CHECK(feed(fsm, "SSFSS") == 0);
    CHECK(fsm.state() == HealthState::ejected);
    CHECK(fsm.probed(true, kStart + 5s) == Flip{HealthState::ejected, HealthState::up});
  }
  SUBCASE("due") {
    CHECK(fsm.probed(true, kStart + 30s) == Flip{HealthState::ejected, HealthState::up});
  }
}

TEST_CASE("a failure when the ejection is due brings the backend down") {
  HealthFsm fsm(2, 3);
  REQUIRE(feed(fsm, "S") == 0);
  REQUIRE(fsm.eject(kStart, 30s));
  CHECK(fsm.probed(false, kStart + 30s) == Flip{HealthState::ejected, HealthState::down});
  CHECK_FALSE(fsm.due(kStart + 1h));
}

TEST_CASE("enough failures during an ejection bring the backend down, and probes alone bring it up") {
  HealthFsm fsm(2, 3);
  REQUIRE(feed(fsm, "SF") == 0);
  REQUIRE(fsm.eject(kStart, 30s));
  CHECK(fsm.probed(false, kStart) == std::nullopt);
  CHECK(fsm.probed(false, kStart) == Flip{HealthState::ejected, HealthState::down});
  CHECK(feed(fsm, "SS") == 1);
  CHECK(fsm.state() == HealthState::up);
}

TEST_CASE("only a backend that is up is ejected") {
  HealthFsm fsm(2, 3);
  REQUIRE(fsm.eject(kStart, 30s));
  CHECK(fsm.eject(kStart + 1s, 30s) == std::nullopt);
  CHECK(fsm.ejected_until() == kStart + 30s);

  HealthFsm down(2, 3);
  REQUIRE(feed(down, "F") == 1);
  CHECK(down.eject(kStart, 30s) == std::nullopt);
  CHECK(down.state() == HealthState::down);
}

}  // namespace
}  // namespace millrace::health
