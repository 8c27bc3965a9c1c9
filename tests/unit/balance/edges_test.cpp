// What holds for every algorithm alike: nobody there, one, nobody eligible, a weight of 0, a thousand; and that a pick
// does not allocate.

#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "millrace/balance/bounded_load.hpp"
#include "millrace/balance/first.hpp"
#include "millrace/balance/least_conn.hpp"
#include "millrace/balance/maglev.hpp"
#include "millrace/balance/random_two.hpp"
#include "millrace/balance/smooth_wrr.hpp"
#include "support.hpp"

namespace {
std::size_t allocations = 0;
}

// Count for the whole executable. The nothrow form is here because std::stable_sort frees its memory with the operator
// below, and both must be of one kind.
void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  ++allocations;
  return std::malloc(size == 0 ? 1 : size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace millrace::balance::test {
namespace {

/// All algorithms behind one call. `eligible` also stands for the pool's health.
class Picks {
 public:
  explicit Picks(const Weights& weights)
      : weights_(weights), wrr_(weights), least_conn_(weights), random_two_(weights), maglev_(entries(weights)) {}

  static constexpr int kAlgorithmCount = 5;

  template <class Eligible>
  std::optional<std::uint32_t> pick(int algorithm, Eligible&& eligible) {
    const std::uint64_t word = rng_.next();
    const auto active = [word](std::uint32_t b) { return static_cast<std::uint32_t>(mix64(word + b) % 4); };
    switch (algorithm) {
      case 0:
        return wrr_.pick(eligible);
      case 1:
        return least_conn_.pick(active, eligible);
      case 2:
        return random_two_.pick(word, active, eligible);
      case 3:
        return maglev_.pick(word, eligible);
      default:
        return first(weights_, eligible);
    }
  }

 private:
  static std::vector<Maglev::Entry> entries(const Weights& weights) {
    static std::vector<std::string> names;
    names.clear();
    for (std::size_t i = 0; i < weights.size(); ++i) names.push_back("backend-" + std::to_string(i));
    std::vector<Maglev::Entry> entries;
    for (std::size_t i = 0; i < weights.size(); ++i) entries.push_back({names[i], weights[i]});
    return entries;
  }

  Weights weights_;
  SmoothWrr wrr_;
  LeastConn least_conn_;
  RandomTwo random_two_;
  Maglev maglev_;
  Rng rng_{42};
};

template <class Check>
void for_each_algorithm(const Weights& weights, Check&& check) {
  Picks picks(weights);
  for (int algorithm = 0; algorithm < Picks::kAlgorithmCount; ++algorithm) {
    CAPTURE(algorithm);
    check(picks, algorithm);
  }
}

}  // namespace

TEST_CASE("every algorithm: no backend") {
  for_each_algorithm({}, [](Picks& picks, int algorithm) { CHECK_FALSE(picks.pick(algorithm, kAll).has_value()); });
  CHECK(Maglev({}).empty());
}

TEST_CASE("every algorithm: only backends of weight 0") {
  for_each_algorithm({0, 0, 0},
                     [](Picks& picks, int algorithm) { CHECK_FALSE(picks.pick(algorithm, kAll).has_value()); });
}

TEST_CASE("every algorithm: one backend") {
  for_each_algorithm({3}, [](Picks& picks, int algorithm) {
    for (int i = 0; i < 10; ++i) CHECK(picks.pick(algorithm, kAll) == 0U);
    CHECK_FALSE(picks.pick(algorithm, kNone).has_value());
    CHECK(picks.pick(algorithm, kAll) == 0U);
  });
}

TEST_CASE("every algorithm: nobody eligible") {
  for (const std::size_t backends : {2U, 10U, 1000U}) {
    for_each_algorithm(random_weights(backends, 10, backends),
                       [](Picks& picks, int algorithm) { CHECK_FALSE(picks.pick(algorithm, kNone).has_value()); });
  }
}

TEST_CASE("every algorithm: weight 0 and ineligible are never picked, and something always is") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Weights weights = random_weights(64, 10, seed);
    Rng rng(seed);
    for (auto& weight : weights) weight = rng.one_in(4) ? 0 : weight;
    for_each_algorithm(weights, [&](Picks& picks, int algorithm) {
      for (int i = 0; i < 200; ++i) {
        std::uint64_t mask = rng.next();
        for (std::uint64_t thinner = rng.below(4); thinner > 0; --thinner) mask &= rng.next();
        bool any = false;
        for (std::uint32_t b = 0; b < 64; ++b) any = any || (weights[b] != 0 && ((mask >> b) & 1U) != 0);
        const auto index = picks.pick(algorithm, [=](std::uint32_t b) { return ((mask >> b) & 1U) != 0; });
        REQUIRE(index.has_value() == any);
        if (index) REQUIRE((weights[*index] != 0 && ((mask >> *index) & 1U) != 0));
      }
    });
  }
}

TEST_CASE("every algorithm: the one eligible backend of a thousand is found") {
  for_each_algorithm(random_weights(1000, 100, 1), [](Picks& picks, int algorithm) {
    for (std::uint32_t only = 0; only < 1000; only += 37) {
      CHECK(picks.pick(algorithm, [=](std::uint32_t b) { return b == only; }) == only);
    }
  });
}

TEST_CASE("random_two and maglev ask few of a thousand backends, also when half of them are not eligible") {
  Picks picks(Weights(1000, 1));
  for (const int algorithm : {2, 3}) {
    CAPTURE(algorithm);
    std::uint32_t asked = 0;
    for (int i = 0; i < 10'000; ++i) {
      const auto index = picks.pick(algorithm, [&](std::uint32_t b) {
        ++asked;
        return b % 2 == 0;
      });
      REQUIRE(index.has_value());
    }
    // Two questions for each eligible one that is needed; a few picks that had to scan.
    CHECK(asked <= 10'000 * (algorithm == 2 ? 5 : 3));
  }
}

TEST_CASE("every algorithm: a pick does not allocate") {
  for_each_algorithm(random_weights(1000, 100, 1), [](Picks& picks, int algorithm) {
    const std::size_t before = allocations;
    std::uint32_t found = 0;
    for (std::uint32_t i = 0; i < 100; ++i) {
      if (picks.pick(algorithm, kAll)) ++found;
      if (picks.pick(algorithm, [=](std::uint32_t b) { return b % 100 == i; })) ++found;
      if (picks.pick(algorithm, kNone)) ++found;
    }
    const std::size_t after = allocations;
    CHECK(after == before);
    CHECK(found == 200);
  });
  const std::size_t before = allocations;
  const auto proof = std::make_unique<int>(1);
  CHECK(allocations > before);
}

}  // namespace millrace::balance::test
