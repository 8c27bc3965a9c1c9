#include "millrace/balance/random_two.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "support.hpp"

namespace millrace::balance::test {
namespace {

/// Places connections that never end; returns the active ones by backend.
Counts fill(const Weights& weights, std::uint64_t connections, std::uint64_t seed) {
  const RandomTwo algorithm(weights);
  Counts active(weights.size());
  Rng rng(seed);
  for (std::uint64_t i = 0; i < connections; ++i) {
    const auto index = algorithm.pick(
        rng.next(), [&](std::uint32_t b) { return active[b]; }, kAll);
    REQUIRE(index.has_value());
    ++active[*index];
  }
  return active;
}

/// Asserts that counts are as picks with these chances give, within five standard deviations.
void check_shares(const Counts& counts, const std::vector<double>& shares, double picks) {
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double expected = picks * shares[i];
    const double deviation = std::sqrt(expected * (1 - shares[i]));
    CAPTURE(i);
    CHECK(std::abs(counts[i] - expected) <= 5 * deviation);
  }
}

}  // namespace

TEST_CASE("random_two: connections that never end stay close to even") {
  // Theory: the fullest of n is log2(log2(n)) + O(1) above the mean however many are placed (Berenbrink et al. 2000):
  // about 3 for n = 100. One choice instead of two would be about 30 above it.
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Counts active = fill(Weights(100, 1), 10'000, seed);
    CHECK(*std::max_element(active.begin(), active.end()) <= 100 + 5);
    CHECK(*std::min_element(active.begin(), active.end()) >= 100 - 15);
  }
}

TEST_CASE("random_two: connections that never end follow the weights") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Weights weights = random_weights(30, 10, seed);
    const Counts active = fill(weights, 100 * total(weights), seed);
    for (std::size_t i = 0; i < weights.size(); ++i) {
      CHECK(active[i] <= 100 * weights[i] + 5 * weights[i] + 5);
      CHECK(active[i] + 15 * weights[i] + 15 >= 100 * weights[i]);
    }
  }
}

TEST_CASE("random_two: of two backends always the less loaded, whatever the weights") {
  const RandomTwo algorithm(Weights{1000, 1});
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    CHECK(algorithm.pick(
              rng.next(), [](std::uint32_t b) { return b == 0 ? 5000U : 4U; }, kAll) == 1U);
    CHECK(algorithm.pick(
              rng.next(), [](std::uint32_t b) { return b == 0 ? 5000U : 6U; }, kAll) == 0U);
  }
}

TEST_CASE("random_two: the most loaded backend is never picked while all are eligible") {
  const RandomTwo algorithm(random_weights(10, 5, 2));
  Rng rng(3);
  for (int i = 0; i < 10'000; ++i) {
    CHECK(algorithm.pick(
              rng.next(), [](std::uint32_t b) { return b == 4 ? 1'000'000U : b; }, kAll) != 4U);
  }
}

TEST_CASE("random_two: an idle pool is drawn from by weight") {
  const Weights weights{1, 0, 2, 3, 10};
  const RandomTwo algorithm(weights);
  Rng rng(5);
  const Counts counts = count_picks(5, 100'000, [&] { return algorithm.pick(rng.next(), kIdle, kAll); });
  check_shares(counts, {1 / 16.0, 0, 2 / 16.0, 3 / 16.0, 10 / 16.0}, 100'000);
}

TEST_CASE("random_two: the two draws are by weight, the second among the others") {
  // With strictly rising loads the lower index of the two wins: P(0) = P(0 is drawn at all), and so on.
  const RandomTwo algorithm(Weights{1, 2, 1});
  Rng rng(6);
  const Counts counts = count_picks(3, 100'000, [&] {
    return algorithm.pick(
        rng.next(), [](std::uint32_t b) { return 10 * b * (b + 1); }, kAll);
  });
  const double both_others = 2 / 4.0 * 1 / 2.0 + 1 / 4.0 * 2 / 3.0;  // {1, 2} in either order
  check_shares(counts, {1 - both_others, both_others, 0}, 100'000);
}

TEST_CASE("random_two: the same word, counts and eligibility give the same pick") {
  const RandomTwo algorithm(random_weights(100, 9, 1));
  Rng rng(9);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t word = rng.next();
    const auto load = [&](std::uint32_t b) { return static_cast<std::uint32_t>(mix64(b) % 10); };
    const auto odd = [](std::uint32_t b) { return b % 2 == 1; };
    const auto index = algorithm.pick(word, load, odd);
    CHECK(index == algorithm.pick(word, load, odd));
    CHECK(index.value() % 2 == 1);
  }
}

TEST_CASE("random_two: when few of many are eligible, the least loaded of them, and equals by weight") {
  Weights weights(1000, 100);
  weights[10] = 1;
  weights[20] = 3;
  weights[30] = 1;
  const RandomTwo algorithm(weights);
  const auto few = [](std::uint32_t b) { return b == 10 || b == 20 || b == 30; };
  Rng rng(11);
  for (const std::uint32_t least : {10U, 20U, 30U}) {
    const auto busy = [=](std::uint32_t b) { return b == least ? 0U : 50U; };
    for (int i = 0; i < 300; ++i) CHECK(algorithm.pick(rng.next(), busy, few) == least);
  }

  const Counts counts = count_picks(1000, 50'000, [&] { return algorithm.pick(rng.next(), kIdle, few); });
  CHECK(counts[10] + counts[20] + counts[30] == 50'000);
  check_shares({counts[10], counts[20], counts[30]}, {0.2, 0.6, 0.2}, 50'000);
}

TEST_CASE("random_two: the only eligible one is found") {
  for (const std::size_t backends : {1U, 2U, 3U, 50U, 1000U}) {
    const RandomTwo algorithm{Weights(backends, 7)};
    Rng rng(backends);
    for (std::uint32_t only = 0; only < backends; ++only) {
      CHECK(algorithm.pick(rng.next(), kIdle, [=](std::uint32_t b) { return b == only; }) == only);
    }
  }
}

TEST_CASE("random_two: eligibility that changes between two questions still ends") {
  const RandomTwo algorithm(Weights{1, 1, 1, 1});
  Rng words(1);
  Rng answers(2);
  for (int i = 0; i < 1000; ++i) {
    Flags said_yes(4);
    const auto flapping = [&](std::uint32_t b) {
      const bool answer = answers.one_in(8);
      if (answer) said_yes[b] = true;
      return answer;
    };
    const auto index = algorithm.pick(words.next(), kIdle, flapping);
    if (index) CHECK(said_yes.at(*index));
  }
}

}  // namespace millrace::balance::test
