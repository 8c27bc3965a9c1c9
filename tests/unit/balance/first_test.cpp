#include "millrace/balance/first.hpp"

#include <doctest/doctest.h>

#include "support.hpp"

namespace millrace::balance::test {

TEST_CASE("first: the first that has a weight and is eligible") {
  const Weights weights{0, 1, 5, 1};
  CHECK(first(weights, kAll) == 1U);
  CHECK(first(weights, [](std::uint32_t i) { return i != 1; }) == 2U);
  CHECK(first(weights, [](std::uint32_t i) { return i == 3 || i == 0; }) == 3U);
  CHECK_FALSE(first(weights, [](std::uint32_t i) { return i == 0; }).has_value());
}

TEST_CASE("first: with a limit on connections it fills one backend before it uses the next") {
  const Weights weights{1, 1, 1};
  Counts active(3);
  for (int i = 0; i < 25; ++i) {
    ++active[first(weights, [&](std::uint32_t b) { return active[b] < 10; }).value()];
  }
  CHECK(active == Counts{10, 10, 5});
}

}  // namespace millrace::balance::test
