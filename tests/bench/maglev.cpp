// Building a Maglev table: at start and at each change of a pool.

#include "millrace/balance/maglev.hpp"

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::balance::bench {
namespace {

void build(benchmark::State& state, std::uint32_t highest_weight) {
  Rng rng(1);
  std::vector<std::string> names;
  names.reserve(static_cast<std::size_t>(state.range(0)));
  for (std::int64_t i = 0; i < state.range(0); ++i) names.push_back("backend-" + std::to_string(i));
  std::vector<Maglev::Entry> entries;
  entries.reserve(names.capacity());
  for (const std::string& name : names) {
    entries.push_back({.name = name, .weight = static_cast<std::uint32_t>(1 + rng.below(highest_weight))});
  }
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(Maglev(entries));
}

BENCHMARK_CAPTURE(build, equal, 1)->Name("maglev/build")->Arg(10)->Arg(100)->Arg(1000);
BENCHMARK_CAPTURE(build, weights, 100)->Name("maglev/build, weights")->Arg(10)->Arg(100)->Arg(1000);

}  // namespace
}  // namespace millrace::balance::bench
