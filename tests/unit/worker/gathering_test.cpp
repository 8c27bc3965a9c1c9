#include "gathering.hpp"

#include <doctest/doctest.h>

#include <vector>

namespace millrace::worker {
namespace {

constexpr Instant kStart{std::chrono::seconds(1000)};

/// A window in which so many completions come, in turn of so many flows; whether it pays in the next one.
bool window(Gathering& gathering, Instant& now, std::uint32_t completions, std::vector<std::uint16_t>& stamps) {
  for (std::uint32_t i = 0; i < completions; ++i) gathering.note_completion(stamps[i % stamps.size()]);
  now += Gathering::kWindow;
  return gathering.pays(now);
}

}  // namespace

TEST_CASE("gathering: pays at a high rate over many flows, and only then") {
  Gathering gathering;
  Instant now = kStart;
  std::vector<std::uint16_t> many(Gathering::kFlows);
  std::vector<std::uint16_t> few(Gathering::kFlows - 1);
  CHECK_FALSE(gathering.pays(now));
  constexpr std::uint32_t kEnough = Gathering::kRate * 4 / 1000;
  CHECK(window(gathering, now, kEnough, many));
  CHECK(gathering.pays(now));  // until the next window is over
  CHECK(window(gathering, now, kEnough, many));
  CHECK_FALSE(window(gathering, now, kEnough - 1, many));
  CHECK(window(gathering, now, kEnough, many));
  CHECK_FALSE(window(gathering, now, 100 * kEnough, few));
  CHECK_FALSE(window(gathering, now, 0, many));
}

TEST_CASE("gathering: a pause counts as time") {
  Gathering gathering;
  Instant now = kStart;
  std::vector<std::uint16_t> flows(100);
  CHECK_FALSE(gathering.pays(now));
  for (std::uint32_t i = 0; i < 300; ++i) gathering.note_completion(flows[i % 100]);
  now += std::chrono::seconds(1);
  CHECK_FALSE(gathering.pays(now));
}

TEST_CASE("gathering: the number of the window runs over") {
  Gathering gathering;
  Instant now = kStart;
  CHECK_FALSE(gathering.pays(now));
  std::vector<std::uint16_t> flows(100);
  for (int i = 0; i < 70'000; ++i) {
    if (!window(gathering, now, 300, flows)) FAIL("window " << i);
  }
}

}  // namespace millrace::worker
