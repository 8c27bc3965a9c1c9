#include "gathering.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace millrace::worker {
namespace {

constexpr Instant kStart{std::chrono::seconds(1000)};

constexpr Nanos kNone{0};

/// A window in which so many completions come, in turn of so many flows; how long waits last in the next one.
Nanos window(Gathering& gathering, Instant& now, std::uint32_t completions, std::vector<std::uint16_t>& stamps) {
  for (std::uint32_t i = 0; i < completions; ++i) gathering.note_completion(stamps[i % stamps.size()]);
  now += Gathering::kWindow;
  return gathering.time(now);
}

}  // namespace

TEST_CASE("gathering: pays at a high rate over many flows, and only then") {
  Gathering gathering;
  Instant now = kStart;
  std::vector<std::uint16_t> many(Gathering::kFlows);
  std::vector<std::uint16_t> few(Gathering::kFlows - 1);
  CHECK(gathering.time(now) == kNone);
  constexpr std::uint32_t kEnough = Gathering::kRate * 4 / 1000;
  CHECK(window(gathering, now, kEnough, many) > kNone);
  CHECK(gathering.time(now) > kNone);  // until the next window is over
  CHECK(window(gathering, now, kEnough, many) > kNone);
  CHECK(window(gathering, now, kEnough - 1, many) == kNone);
  CHECK(window(gathering, now, kEnough, many) > kNone);
  CHECK(window(gathering, now, 100 * kEnough, few) == kNone);
  CHECK(window(gathering, now, 0, many) == kNone);
}

TEST_CASE("gathering: lasts a twentieth of an exchange") {
  Gathering gathering;
  Instant now = kStart;
  std::vector<std::uint16_t> flows(64);
  CHECK(gathering.time(now) == kNone);
  // 160 requests and answers in 4 ms, of 64 flows: each flow has one in 1.6 ms.
  CHECK(window(gathering, now, 640, flows) == std::chrono::microseconds(80));
  CHECK(window(gathering, now, 1280, flows) == std::chrono::microseconds(40));
  CHECK(window(gathering, now, 1'000'000, flows) == Gathering::kTimeMin);
  std::vector<std::uint16_t> many(1000);
  CHECK(window(gathering, now, 1000, many) == Gathering::kTimeMax);
}

TEST_CASE("gathering: a pause counts as time") {
  Gathering gathering;
  Instant now = kStart;
  std::vector<std::uint16_t> flows(100);
  CHECK(gathering.time(now) == kNone);
  for (std::uint32_t i = 0; i < 300; ++i) gathering.note_completion(flows[i % 100]);
  now += std::chrono::seconds(1);
  CHECK(gathering.time(now) == kNone);
}

TEST_CASE("gathering: the number of the window runs over") {
  Gathering gathering;
  Instant now = kStart;
  CHECK(gathering.time(now) == kNone);
  std::vector<std::uint16_t> flows(100);
  for (int i = 0; i < 70'000; ++i) {
    if (window(gathering, now, 300, flows) == kNone) FAIL("window " << i);
  }
}

}  // namespace millrace::worker
