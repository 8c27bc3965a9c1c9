#include "millrace/balance/least_conn.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "support.hpp"

namespace millrace::balance::test {
namespace {

/// Connections that never end.
struct Filling {
  explicit Filling(Weights w) : weights(std::move(w)), active(weights.size()), algorithm(weights) {}

  std::uint32_t place() {
    const auto index = algorithm.pick([this](std::uint32_t i) { return active[i]; }, kAll);
    REQUIRE(index.has_value());
    ++active[*index];
    return *index;
  }

  Weights weights;
  Counts active;
  LeastConn algorithm;
};

}  // namespace

TEST_CASE("least_conn: the fewest connections per unit of weight win") {
  LeastConn algorithm(Weights{1, 2, 4});
  const auto pick = [&](const Counts& active) {
    return algorithm.pick([&](std::uint32_t i) { return active[i]; }, kAll);
  };
  CHECK(pick({3, 5, 9}) == 2U);
  CHECK(pick({2, 5, 9}) == 0U);
  CHECK(pick({3, 4, 9}) == 1U);
  CHECK(pick({1, 0, 0xffff'ffff}) == 1U);
}

TEST_CASE("least_conn: compares exactly at the ends of the ranges") {
  LeastConn algorithm(Weights{0xffff'ffff, 0xffff'fffe});
  const auto pick = [&](std::uint32_t a, std::uint32_t b) {
    return algorithm.pick([=](std::uint32_t i) { return i == 0 ? a : b; }, kAll);
  };
  // The products differ by one in 2^64: doubles would call these equal.
  CHECK(pick(0xffff'fffe, 0xffff'fffd) == 1U);
  CHECK(pick(0xffff'fffd, 0xffff'fffd) == 0U);
  CHECK(pick(0xffff'ffff, 0xffff'fffd) == 1U);
}

TEST_CASE("least_conn: connections that never end: nobody is more than one above the least loaded") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Filling pool(random_weights(2 + seed * 2, 20, seed));
    const std::uint64_t sum = total(pool.weights);
    for (std::uint64_t placed = 1; placed <= 3 * sum; ++placed) {
      const std::uint32_t index = pool.place();
      // Only the one just picked can break the bound, and never above its fair share by more than one.
      const std::uint64_t before = pool.active[index] - 1;
      for (std::size_t i = 0; i < pool.weights.size(); ++i) {
        REQUIRE(before * pool.weights[i] <= std::uint64_t{pool.active[i]} * pool.weights[index]);
      }
      REQUIRE(before * sum <= placed * pool.weights[index]);
    }
  }
}

TEST_CASE("least_conn: connections that never end: exactly by weight whenever that is possible") {
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    Filling pool(random_weights(2 + seed, 20, seed));
    for (std::uint32_t round = 1; round <= 5; ++round) {
      for (std::uint64_t i = 0; i < total(pool.weights); ++i) pool.place();
      for (std::size_t i = 0; i < pool.weights.size(); ++i) CHECK(pool.active[i] == round * pool.weights[i]);
    }
  }
}

TEST_CASE("least_conn: few backends stay within one connection of their share") {
  for (const Weights& weights : {Weights{1, 1, 1}, Weights{1, 2}, Weights{1, 2, 3}, Weights{5, 1}}) {
    Filling pool(weights);
    const auto sum = static_cast<double>(total(weights));
    for (int placed = 1; placed <= 600; ++placed) {
      pool.place();
      for (std::size_t i = 0; i < weights.size(); ++i) {
        REQUIRE(std::abs(pool.active[i] - placed * static_cast<double>(weights[i]) / sum) <= 1.0);
      }
    }
  }
}

TEST_CASE("least_conn: among equals in turn, by weight") {
  const Weights weights{3, 1, 0, 2};
  LeastConn algorithm(weights);
  for (int cycle = 0; cycle < 10; ++cycle) {
    CHECK(count_picks(4, 6, [&] { return algorithm.pick(kIdle, kAll); }) == Counts{3, 1, 0, 2, 0});
  }
}

TEST_CASE("least_conn: a heavy backend's turns are spread, equal weights go in the order of the backends") {
  const auto sequence = [](const Weights& weights, int picks) {
    LeastConn algorithm(weights);
    std::string names;
    for (int i = 0; i < picks; ++i) names += static_cast<char>('a' + algorithm.pick(kIdle, kAll).value());
    return names;
  };
  CHECK(sequence({5, 1, 1}, 14) == "aaabcaaaaabcaa");
  CHECK(sequence({1, 2}, 6) == "babbab");
  CHECK(sequence({3, 3, 3}, 7) == "abcabca");
}

TEST_CASE("least_conn: among equals exactly by weight over every cycle, whatever the weights") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Weights weights = random_weights(1 + seed * 3, 1000, seed);
    LeastConn algorithm(weights);
    for (int cycle = 0; cycle < 3; ++cycle) {
      Counts counts = count_picks(weights.size(), total(weights), [&] { return algorithm.pick(kIdle, kAll); });
      counts.pop_back();
      CHECK(counts == weights);
    }
  }
}

TEST_CASE("least_conn: a backend that missed turns comes next, and does not catch up") {
  for (const bool busy : {false, true}) {
    CAPTURE(busy);
    LeastConn algorithm(Weights{2, 2, 2});
    const auto active = [busy](std::uint32_t i) -> std::uint32_t { return busy && i == 0 ? 7 : 0; };
    const auto eligible = [busy](std::uint32_t i) { return busy || i != 0; };
    CHECK(count_picks(3, 1000, [&] { return algorithm.pick(active, eligible); }) == Counts{0, 500, 500, 0});
    CHECK(algorithm.pick(kIdle, kAll) == 0U);
    CHECK(count_picks(3, 30, [&] { return algorithm.pick(kIdle, kAll); }) == Counts{10, 10, 10, 0});
  }
}

TEST_CASE("least_conn: picks without a choice move the turn as well") {
  LeastConn algorithm(Weights{1, 1, 1});
  const auto only_last = [](std::uint32_t i) -> std::uint32_t { return i == 2 ? 0 : 1; };
  for (int i = 0; i < 100; ++i) CHECK(algorithm.pick(only_last, kAll) == 2U);
  // The others waited meanwhile; afterwards nobody is owed anything.
  CHECK(algorithm.pick(kIdle, kAll) == 0U);
  CHECK(algorithm.pick(kIdle, kAll) == 1U);
  CHECK(count_picks(3, 30, [&] { return algorithm.pick(kIdle, kAll); }) == Counts{10, 10, 10, 0});
}

TEST_CASE("least_conn: nobody eligible has less load than the one that is picked") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    Rng rng(seed);
    // From all alike to all different, and from small counts that are often equal to such as fill their 32 bits.
    const std::uint32_t highest_weight = std::uint32_t{1} << rng.below(32);
    const std::uint64_t counts_below = std::uint64_t{1} << (1 + rng.below(32));
    Weights weights = random_weights(1 + rng.below(40), highest_weight, seed);
    for (auto& weight : weights) weight = rng.one_in(8) ? 0 : weight;
    LeastConn algorithm(weights);
    for (int i = 0; i < 50; ++i) {
      Counts active(weights.size());
      for (auto& count : active) count = static_cast<std::uint32_t>(rng.below(counts_below));
      const std::uint64_t mask = rng.next() | rng.next();
      const auto eligible = [mask](std::uint32_t b) { return ((mask >> b) & 1U) != 0; };
      const auto index = algorithm.pick([&](std::uint32_t b) { return active[b]; }, eligible);
      for (std::uint32_t b = 0; b < weights.size(); ++b) {
        if (weights[b] == 0 || !eligible(b)) continue;
        REQUIRE(index.has_value());
        REQUIRE_FALSE(Load{active[b], weights[b]} < Load{active[*index], weights[*index]});
      }
      if (index) REQUIRE((weights[*index] != 0 && eligible(*index)));
    }
  }
}

TEST_CASE("least_conn: who is not the best so far is not asked whether it is eligible") {
  LeastConn algorithm(Weights(100, 1));
  int asked = 0;
  const auto index = algorithm.pick([](std::uint32_t i) { return i; },
                                    [&](std::uint32_t) {
                                      ++asked;
                                      return true;
                                    });
  CHECK(index == 0U);
  CHECK(asked == 1);
}

TEST_CASE("least_conn: the turn goes on among the equals when others are busy") {
  LeastConn algorithm(Weights{1, 1, 1, 1});
  const auto active = [](std::uint32_t i) -> std::uint32_t { return i % 2 == 0 ? 5 : 0; };
  CHECK(count_picks(4, 100, [&] { return algorithm.pick(active, kAll); }) == Counts{0, 50, 0, 50, 0});
}

TEST_CASE("least_conn: eligibility is obeyed, and asked for at most once per backend and pick") {
  const Weights weights = random_weights(50, 5, 3);
  LeastConn algorithm(weights);
  Rng rng(4);
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t mask = rng.next() & rng.next() & rng.next();
    Counts asked(50);
    Counts counted(50);
    const auto index = algorithm.pick(
        [&](std::uint32_t candidate) {
          ++counted[candidate];
          return static_cast<std::uint32_t>(mix64(mask ^ candidate) % 3);
        },
        [&](std::uint32_t candidate) {
          ++asked[candidate];
          return ((mask >> candidate) & 1U) != 0;
        });
    REQUIRE(index.has_value() == ((mask & ((1ULL << 50U) - 1)) != 0));
    if (index) REQUIRE(((mask >> *index) & 1U) != 0);
    REQUIRE(*std::max_element(asked.begin(), asked.end()) == 1);
    REQUIRE(*std::max_element(counted.begin(), counted.end()) <= 1);
  }
}

TEST_CASE("least_conn: counts that move during the pick still give a pick") {
  LeastConn algorithm(Weights{1, 1, 1});
  Rng rng(1);
  for (int i = 0; i < 1000; ++i) {
    CHECK(algorithm.pick([&](std::uint32_t) { return static_cast<std::uint32_t>(rng.below(3)); }, kAll).has_value());
  }
}

}  // namespace millrace::balance::test
