#include "millrace/balance/algorithm.hpp"

#include <doctest/doctest.h>

namespace millrace::balance {

TEST_CASE("algorithm names are those of the configuration") {
  CHECK(name(Algorithm::least_conn) == "least_conn");
  CHECK(name(Algorithm::source_hash) == "source_hash");
  CHECK(name(Algorithm::round_robin) == "round_robin");
  CHECK(name(Algorithm::random_two) == "random_two");
  CHECK(name(Algorithm::first) == "first");
}

TEST_CASE("every algorithm is found by its name, exactly") {
  for (const Algorithm algorithm : kAlgorithms) CHECK(parse_algorithm(name(algorithm)) == algorithm);
  for (const char* text : {"", "least_con", "least_connn", "LEAST_CONN", " first", "maglev"}) {
    CHECK_FALSE(parse_algorithm(text).has_value());
  }
}

}  // namespace millrace::balance
