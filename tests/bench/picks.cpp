// A pick as the worker makes it: through the Picker, with the table that the workers share, and the release at the end
// of the connection.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/balance/algorithm.hpp"
#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::pool::bench {
namespace {

using balance::Algorithm;

/// What the pool looks like. `held` are the connections of this worker; one of them ends when a new one begins.
struct Scene {
  std::string_view name;
  bool weighted = false;     // weights of 1 to 100 at random, else all 1
  bool tenth_down = false;   // one backend in ten, at random
  std::uint32_t loads = 0;   // each backend has 0 to this many connections of others
  std::size_t held = 0;      // connections for every ten backends
  bool limited = false;      // max_connections that are far away
  double load_factor = 0.0;  // source_hash only
};

constexpr Scene kScenes[] = {
    {.name = "idle"},
    {.name = "tenth down", .tenth_down = true},
    {.name = "weights", .weighted = true},
    {.name = "loads", .loads = 100},
    {.name = "weights and loads", .weighted = true, .loads = 100},
    {.name = "busy", .held = 25},
    {.name = "weights, busy, tenth down", .weighted = true, .tenth_down = true, .held = 25},
    {.name = "limits", .limited = true},
};
constexpr Scene kBounded = {.name = "load_factor", .loads = 100, .load_factor = 1.25};

constexpr int kSizes[] = {10, 100, 1000};

std::shared_ptr<const Snapshot> snapshot_of(Algorithm algorithm, const Scene& scene, std::size_t backends) {
  Rng rng(1);
  config::Pool pool;
  pool.name = std::string("p");
  pool.balance = algorithm;
  pool.hash.load_factor = scene.load_factor;
  for (std::size_t i = 0; i < backends; ++i) {
    config::Backend backend;
    backend.name = "backend-" + std::to_string(i);
    backend.address = net::Endpoint::ipv4(0x0a000000U + static_cast<std::uint32_t>(i), 80);
    backend.weight = scene.weighted ? static_cast<std::uint32_t>(1 + rng.below(100)) : 1;
    backend.max_connections = scene.limited ? 10'000 : 0;
    pool.backends.push_back(backend);
  }
  config::Config config;
  config.pools.push_back(pool);
  return build_snapshot(config);
}

void set_the_scene(const Scene& scene, BackendTable& table) {
  Rng rng(2);
  for (std::uint32_t row = 0; row < table.rows(); ++row) {
    if (scene.tenth_down && rng.one_in(10)) table.set_health(BackendId{row}, HealthState::down);
    if (scene.loads == 0) continue;
    for (std::uint64_t n = rng.below(scene.loads + 1); n > 0; --n) (void)table.acquire(BackendId{row}, 0);
  }
}

/// A new client each time: a few that come again and again would find everything in the nearest cache, and every branch
/// foretold. Costs some 3 ns.
PickRequest new_client(Rng& rng) {
  const std::uint64_t word = rng.next();
  return {.client_hash = word, .random = word, .tried = {}};
}

/// Nothing but the pick; the counts only grow, for which source_hash does not care.
void pick_alone(benchmark::State& state) {
  const auto backends = static_cast<std::size_t>(state.range(0));
  const auto snapshot = snapshot_of(Algorithm::source_hash, kScenes[0], backends);
  BackendTable table(backends);
  Picker picker(*snapshot->pools[0], table);
  Rng rng(3);
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(picker.pick(new_client(rng)));
}

void pick_and_release(benchmark::State& state, Algorithm algorithm, const Scene& scene) {
  const auto backends = static_cast<std::size_t>(state.range(0));
  const auto snapshot = snapshot_of(algorithm, scene, backends);
  const Pool& pool = *snapshot->pools[0];
  BackendTable table(backends);
  set_the_scene(scene, table);
  Picker picker(pool, table);
  Rng rng(3);
  std::vector<BackendId> held(1 + scene.held * backends / 10);
  for (BackendId& id : held) id = pool.backends[picker.pick(new_client(rng)).index].id;
  Rng ends(4);
  for ([[maybe_unused]] auto _ : state) {
    BackendId& one = held[held.size() == 1 ? 0 : ends.below(held.size())];
    table.release(one);
    one = pool.backends[picker.pick(new_client(rng)).index].id;
  }
}

void add(Algorithm algorithm, const Scene& scene) {
  const std::string name = "pick/" + std::string(balance::name(algorithm)) + "/" + std::string(scene.name);
  auto* const added = benchmark::RegisterBenchmark(
      name.c_str(), [algorithm, scene](benchmark::State& state) { pick_and_release(state, algorithm, scene); });
  for (const int backends : kSizes) added->Arg(backends);
}

[[maybe_unused]] const bool kAdded = [] {
  for (const Algorithm algorithm : balance::kAlgorithms) {
    for (const Scene& scene : kScenes) add(algorithm, scene);
  }
  add(Algorithm::source_hash, kBounded);
  auto* const alone = benchmark::RegisterBenchmark("pick/source_hash/the pick alone", pick_alone);
  for (const int backends : kSizes) alone->Arg(backends);
  return true;
}();

}  // namespace
}  // namespace millrace::pool::bench
