// The timer wheel under 10,000 timers, at the distances that a worker has: connect and idle timeouts of seconds to
// minutes. A figure is the time for one timer.

#include <benchmark/benchmark.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/base/rng.hpp"
#include "millrace/base/time.hpp"
#include "millrace/base/timer_wheel.hpp"

namespace millrace::bench {
namespace {

constexpr std::size_t kTimers = 10'000;

std::vector<Nanos> distances() {
  Rng rng(1);
  std::vector<Nanos> drawn(kTimers);
  for (Nanos& one : drawn) one = std::chrono::milliseconds(1 + static_cast<std::int64_t>(rng.below(300'000)));
  return drawn;
}

/// A connection begins and ends, with the others in the wheel.
void arm_and_disarm(benchmark::State& state) {
  const std::vector<Nanos> distance = distances();
  const Instant now{};
  TimerWheel wheel(now);
  std::vector<TimerNode> nodes(kTimers);
  for (std::size_t i = 0; i < kTimers; ++i) wheel.arm(nodes[i], now + distance[i]);
  TimerNode node;
  std::size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    wheel.arm(node, now + distance[i]);
    wheel.disarm(node);
    if (++i == kTimers) i = 0;
  }
  for (TimerNode& one : nodes) wheel.disarm(one);
}

/// Traffic moves the idle timeout of one connection after the other; the clock runs, and nothing fires.
void rearm(benchmark::State& state) {
  const std::vector<Nanos> distance = distances();
  Instant now{};
  TimerWheel wheel(now);
  std::vector<TimerNode> nodes(kTimers);
  constexpr Nanos kIdle = std::chrono::minutes(5);
  for (std::size_t i = 0; i < kTimers; ++i) wheel.arm(nodes[i], now + kIdle + distance[i]);
  std::size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    now += std::chrono::microseconds(10);
    wheel.arm(nodes[i], now + kIdle + distance[i]);
    if (++i < kTimers) continue;
    i = 0;
    benchmark::DoNotOptimize(wheel.expire(now));
  }
  for (TimerNode& one : nodes) wheel.disarm(one);
}

/// All of them are armed and fire, woken when the wheel says.
void arm_and_expire(benchmark::State& state) {
  const std::vector<Nanos> distance = distances();
  Instant now{};
  TimerWheel wheel(now);
  std::vector<TimerNode> nodes(kTimers);
  while (state.KeepRunningBatch(kTimers)) {
    for (std::size_t i = 0; i < kTimers; ++i) wheel.arm(nodes[i], now + distance[i]);
    while (wheel.armed() != 0) {
      now = wheel.next_deadline();
      while (const TimerNode* due = wheel.expire(now)) benchmark::DoNotOptimize(due);
    }
  }
}

BENCHMARK(arm_and_disarm)->Name("timer/arm and disarm");
BENCHMARK(rearm)->Name("timer/re-arm");
BENCHMARK(arm_and_expire)->Name("timer/arm and expire");

}  // namespace
}  // namespace millrace::bench
