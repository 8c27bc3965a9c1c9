#include "millrace/balance/smooth_wrr.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "support.hpp"

namespace millrace::balance::test {

TEST_CASE("smooth_wrr: the sequence of nginx's commit message") {
  SmoothWrr wrr(Weights{5, 1, 1});
  std::string sequence;
  for (int i = 0; i < 14; ++i) sequence += static_cast<char>('a' + wrr.pick(kAll).value());
  CHECK(sequence == "aabacaaaabacaa");
}

TEST_CASE("smooth_wrr: equal weights go in the order of the backends") {
  SmoothWrr wrr(Weights{3, 3, 3});
  for (std::uint32_t i = 0; i < 30; ++i) CHECK(wrr.pick(kAll) == i % 3);
}

TEST_CASE("smooth_wrr: exact by weight over every cycle") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Weights weights = random_weights(1 + seed * 3, 50, seed);
    SmoothWrr wrr(weights);
    for (int cycle = 0; cycle < 3; ++cycle) {
      Counts counts = count_picks(weights.size(), total(weights), [&] { return wrr.pick(kAll); });
      CHECK(counts.back() == 0);
      counts.pop_back();
      CHECK(counts == weights);
    }
  }
}

TEST_CASE("smooth_wrr: a heavy backend's turns are spread") {
  // Half of all turns, the other half goes to 500 others. Neither waits for longer than two turns of the other.
  Weights weights(501, 1);
  weights[0] = 500;
  SmoothWrr wrr(weights);
  int run = 0;
  bool before = false;
  for (int i = 0; i < 3000; ++i) {
    const bool heavy = wrr.pick(kAll) == 0U;
    run = heavy == before ? run + 1 : 1;
    before = heavy;
    REQUIRE(run <= 2);
  }
}

TEST_CASE("smooth_wrr: ineligible backends take no part, the others keep their proportions") {
  const Weights weights{4, 3, 2, 1};
  SmoothWrr wrr(weights);
  const Counts counts = count_picks(4, 8 * 7, [&] { return wrr.pick([](std::uint32_t i) { return i != 1; }); });
  CHECK(counts == Counts{4 * 8, 0, 2 * 8, 1 * 8, 0});
}

TEST_CASE("smooth_wrr: a backend that comes back does not catch up") {
  SmoothWrr wrr(Weights{1, 1});
  for (int i = 0; i < 1000; ++i) CHECK(wrr.pick([](std::uint32_t index) { return index == 0; }) == 0U);
  CHECK(count_picks(2, 10, [&] { return wrr.pick(kAll); }) == Counts{5, 5, 0});
}

TEST_CASE("smooth_wrr: long runs of random eligibility leave the cycle close to exact") {
  const Weights weights = random_weights(20, 10, 7);
  SmoothWrr wrr(weights);
  Rng rng(8);
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t mask = rng.next() | 1;
    const auto index = wrr.pick([&](std::uint32_t candidate) { return ((mask >> candidate) & 1U) != 0; });
    REQUIRE(index.has_value());
    REQUIRE(((mask >> *index) & 1U) != 0);
  }
  // Balances from before are paid back once; within a few turns of the share however long the disorder lasted.
  const Counts counts = count_picks(20, total(weights) * 10, [&] { return wrr.pick(kAll); });
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(counts[i] + 20 >= weights[i] * 10);
    CHECK(counts[i] <= weights[i] * 10 + 20);
  }
}

TEST_CASE("smooth_wrr: the highest weights do not overflow") {
  const Weights weights(1000, 0xffff'ffff);
  SmoothWrr wrr(weights);
  for (std::uint32_t i = 0; i < 3000; ++i) REQUIRE(wrr.pick(kAll) == i % 1000);
}

}  // namespace millrace::balance::test
