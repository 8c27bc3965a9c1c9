#include "gathering.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
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

TEST_CASE("gathering: lasts a tenth of the time that answers take, of several workers a fifth") {
  std::uint32_t workers = 1;
  int wanted = 60;
  SUBCASE("one") {}
  SUBCASE("several") {
    workers = 2;
    wanted = 120;
  }
  Gathering gathering(workers);
  Instant now = kStart;
  std::vector<std::uint16_t> stamps(64);
  CHECK(gathering.time(now) == kNone);
  const auto after_answers = [&](std::initializer_list<int> microseconds) {
    for (const int took : microseconds) {
      std::uint32_t asked = 0;
      gathering.note_answer(asked, now);  // nobody has asked: it is no answer
      Gathering::note_request(asked, now);
      gathering.note_answer(asked, now + std::chrono::microseconds(took));
      gathering.note_answer(asked, now + std::chrono::seconds(1));  // the rest of it
    }
    return window(gathering, now, 640, stamps);
  };
  CHECK(after_answers({}) == Gathering::kTimeOneWay);
  CHECK(after_answers({400, 600, 800}) == std::chrono::microseconds(wanted));
  CHECK(after_answers({0}) == Gathering::kTimeMin);
  CHECK(after_answers({10'000'000}) == Gathering::kTimeMax);
  CHECK(after_answers({}) == Gathering::kTimeOneWay);
}

TEST_CASE("gathering: the clock of the answers runs over") {
  Gathering gathering;
  Instant now = Instant(std::chrono::microseconds((1ULL << 32U) - 100));
  std::vector<std::uint16_t> stamps(64);
  CHECK(gathering.time(now) == kNone);
  std::uint32_t asked = 0;
  Gathering::note_request(asked, now);
  gathering.note_answer(asked, now + std::chrono::microseconds(500));
  CHECK(window(gathering, now, 640, stamps) == std::chrono::microseconds(50));
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
