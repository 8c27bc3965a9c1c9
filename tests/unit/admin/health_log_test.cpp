#include "millrace/admin/health_log.hpp"

#include <doctest/doctest.h>

namespace millrace::admin {

TEST_CASE("HealthLog: counts by backend and cause, and keeps the last changes") {
  HealthLog log;
  health::Target target;
  target.id = pool::BackendId{3};
  target.pool = "web";
  target.backend = "a";
  const auto note = [&](health::Cause cause, std::chrono::milliseconds when) {
    log.note({.target = target,
              .from = pool::HealthState::up,
              .to = health::outcome(cause),
              .cause = cause,
              .reason = "why " + std::to_string(when.count())},
             std::chrono::system_clock::time_point(when));
  };
  for (int i = 0; i < 250; ++i) note(health::Cause::refused, std::chrono::milliseconds(i));
  note(health::Cause::succeeded, std::chrono::milliseconds(1'700'000'000'042));
  const std::vector<HealthChange> recent = log.recent();
  REQUIRE(recent.size() == HealthLog::kKept);
  CHECK(recent.front().reason == "why 51");
  CHECK(recent.back().time == "2023-11-14T22:13:20.042Z");
  CHECK(recent.back().to == "up");
  CHECK(recent.back().pool == "web");
  const HealthLog::Counts counts = log.counts(pool::BackendId{3}, "a");
  CHECK(counts[static_cast<std::size_t>(health::Cause::refused)] == 250);
  CHECK(counts[static_cast<std::size_t>(health::Cause::succeeded)] == 1);
  CHECK(log.counts(pool::BackendId{4}, "a") == HealthLog::Counts{});
  CHECK(log.counts(pool::BackendId{3}, "b") == HealthLog::Counts{});
  target.backend = "b";  // the row goes to another one
  note(health::Cause::failures, {});
  CHECK(log.counts(pool::BackendId{3}, "a") == HealthLog::Counts{});
  CHECK(log.counts(pool::BackendId{3}, "b")[static_cast<std::size_t>(health::Cause::failures)] == 1);
}

}  // namespace millrace::admin
