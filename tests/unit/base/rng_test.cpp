#include "millrace/base/rng.hpp"

#include <doctest/doctest.h>

#include <array>
#include <set>

using millrace::mix64;
using millrace::Rng;

TEST_CASE("rng: the sequence is SplitMix64's and never changes") {
  // The published test vector for seed 1234567.
  Rng rng(1234567);
  CHECK(rng.next() == 6457827717110365317ULL);
  CHECK(rng.next() == 3203168211198807973ULL);
  CHECK(rng.next() == 9817491932198370423ULL);
  CHECK(rng.next() == 4593380528125082431ULL);
  CHECK(rng.next() == 16408922859458223821ULL);
}

TEST_CASE("rng: usable in constant expressions") {
  static_assert(mix64(1234567) == 6457827717110365317ULL);
  static_assert(Rng(1).below(1) == 0);
}

TEST_CASE("rng: below stays below its bound and reaches all of it") {
  Rng rng(1);
  std::array<unsigned, 7> hits{};
  for (unsigned i = 0; i < 7000; ++i) {
    const std::uint64_t word = rng.below(7);
    REQUIRE(word < 7);
    ++hits[word];
  }
  for (const unsigned count : hits) CHECK((count > 850 && count < 1150));
  CHECK(rng.below(0) == 0);
  CHECK(rng.below(1) == 0);
}

TEST_CASE("rng: one_in") {
  Rng rng(2);
  unsigned hits = 0;
  for (unsigned i = 0; i < 10000; ++i) hits += rng.one_in(10) ? 1U : 0U;
  CHECK((hits > 850 && hits < 1150));
  CHECK_FALSE(rng.one_in(0));
  CHECK(rng.one_in(1));
}

TEST_CASE("rng: unit lies in [0, 1)") {
  Rng rng(3);
  double sum = 0;
  for (unsigned i = 0; i < 10000; ++i) {
    const double part = rng.unit();
    REQUIRE((part >= 0.0 && part < 1.0));
    sum += part;
  }
  CHECK((sum > 4800 && sum < 5200));
}

TEST_CASE("rng: mix64 keeps different words apart") {
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(mix64(i));
  CHECK(seen.size() == 1000);
}
