#include "millrace/balance/bounded_load.hpp"

#include <doctest/doctest.h>

#include <limits>

#include "millrace/balance/maglev.hpp"
#include "support.hpp"

namespace millrace::balance::test {

TEST_CASE("bounded_load: the formula") {
  const BoundedLoad of_four{.load_factor = 1.25, .total_active = 99, .total_weight = 4};
  CHECK(of_four.capacity(1) == 32);  // 1.25 * 100 / 4 = 31.25
  CHECK(of_four.capacity(2) == 63);
  CHECK(of_four.capacity(4) == 125);
  CHECK(of_four.capacity(0) == 0);
  CHECK(of_four.has_room(31, 1));
  CHECK_FALSE(of_four.has_room(32, 1));
}

TEST_CASE("bounded_load: the first connection has room anywhere") {
  const BoundedLoad empty{.load_factor = 1.0, .total_active = 0, .total_weight = 1'000'000};
  CHECK(empty.capacity(1) == 1);
}

TEST_CASE("bounded_load: factors without an exact binary form are not rounded up by one") {
  CHECK(BoundedLoad{.load_factor = 1.1, .total_active = 49, .total_weight = 1}.capacity(1) == 55);
  CHECK(BoundedLoad{.load_factor = 1.2, .total_active = 999'999, .total_weight = 3}.capacity(1) == 400'000);
}

TEST_CASE("bounded_load: values out of range") {
  CHECK(BoundedLoad{.load_factor = 0.5, .total_active = 9, .total_weight = 2}.capacity(1) == 5);
  CHECK(BoundedLoad{.load_factor = std::numeric_limits<double>::quiet_NaN(), .total_active = 9, .total_weight = 2}
            .capacity(1) == 5);
  CHECK(BoundedLoad{.load_factor = 2, .total_active = 9, .total_weight = 0}.capacity(1) == 0);
  CHECK(BoundedLoad{.load_factor = 1e30, .total_active = 9, .total_weight = 1}.capacity(1) == 0xffff'ffff);
}

TEST_CASE("bounded_load: the capacities hold everyone, at the tightest factor too") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Weights weights = random_weights(1 + seed % 40, 1000, seed);
    for (const std::uint64_t active : {0U, 1U, 9U, 100U, 12'345U, 1'000'000U}) {
      const BoundedLoad bound{.load_factor = 1.0, .total_active = active, .total_weight = total(weights)};
      std::uint64_t room = 0;
      for (const std::uint32_t weight : weights) room += bound.capacity(weight);
      CHECK(room >= active + 1);
    }
  }
}

TEST_CASE("bounded_load: with Maglev nobody goes above its capacity and everyone finds a place") {
  const Weights weights{1, 2, 3, 1, 1, 4};
  const std::vector<std::string> names{"a", "b", "c", "d", "e", "f"};
  std::vector<Maglev::Entry> entries;
  for (std::size_t i = 0; i < names.size(); ++i) entries.push_back({names[i], weights[i]});
  const Maglev maglev(entries);

  for (const double factor : {1.0, 1.25, 2.0}) {
    Counts active(weights.size());
    Rng rng(1);
    std::uint32_t moved = 0;
    for (std::uint64_t placed = 0; placed < 20'000; ++placed) {
      // Half of all connections come from three clients: hashing alone would put them on three backends at most.
      const std::uint64_t client = rng.one_in(2) ? rng.below(3) : rng.next();
      const BoundedLoad bound{.load_factor = factor, .total_active = placed, .total_weight = total(weights)};
      const auto index = maglev.pick(client, [&](std::uint32_t b) { return bound.has_room(active[b], weights[b]); });
      REQUIRE(index.has_value());
      ++active[*index];
      REQUIRE(active[*index] <= bound.capacity(weights[*index]));
      if (*index != maglev.at(client)) ++moved;
    }
    CHECK(moved > 0);
  }
}

}  // namespace millrace::balance::test
