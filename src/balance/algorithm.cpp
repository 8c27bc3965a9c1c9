#include "millrace/balance/algorithm.hpp"

#include <algorithm>

#include "millrace/base/assert.hpp"

namespace millrace::balance {

std::string_view name(Algorithm algorithm) {
  switch (algorithm) {
    case Algorithm::least_conn:
      return "least_conn";
    case Algorithm::source_hash:
      return "source_hash";
    case Algorithm::round_robin:
      return "round_robin";
    case Algorithm::random_two:
      return "random_two";
    case Algorithm::first:
      return "first";
  }
  assert_failed("algorithm", "not a value of the enum", __FILE__, __LINE__);
}

std::optional<Algorithm> parse_algorithm(std::string_view text) {
  const auto* const found =
      std::find_if(kAlgorithms.begin(), kAlgorithms.end(), [text](Algorithm a) { return name(a) == text; });
  if (found == kAlgorithms.end()) return std::nullopt;
  return *found;
}

}  // namespace millrace::balance
