#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "millrace/worker/counters.hpp"

namespace millrace::worker {

TEST_CASE("Counter: begins at zero and adds up") {
  Counter counter;
  CHECK(counter.get() == 0);
  counter.add();
  counter.add(0);
  counter.add(41);
  CHECK(counter.get() == 42);
  counter.add(~std::uint64_t{0} - 42);
  CHECK(counter.get() == ~std::uint64_t{0});
}

TEST_CASE("Counter: may be read while it is written; never goes back") {
  constexpr std::uint64_t kSteps = 20'000;
  Counter counter;
  std::atomic<bool> written{false};
  std::thread writer([&] {
    for (std::uint64_t i = 0; i < kSteps; ++i) counter.add(3);
    written.store(true);
  });
  std::uint64_t before = 0;
  bool steady = true;
  while (!written.load()) {
    const std::uint64_t now = counter.get();
    steady = steady && now >= before && now % 3 == 0;
    before = now;
    std::this_thread::yield();
  }
  writer.join();
  CHECK(steady);
  CHECK(counter.get() == 3 * kSteps);
}

TEST_CASE("Counters: one for every reason to close") {
  Counters counters(1, 1);
  counters.closed[static_cast<std::size_t>(flow::CloseReason::backend_down)].add();
  CHECK(counters.closed.back().get() == 1);
  CHECK(counters.closed.front().get() == 0);
}

TEST_CASE("Counters: why clients were refused") {
  Counters counters(1, 1);
  counters.refused[static_cast<std::size_t>(Refusal::denied)].add(2);
  counters.refused[static_cast<std::size_t>(Refusal::local_error)].add(3);
  CHECK(counters.refused_total() == 5);
  CHECK(name(Refusal::denied) == "denied");
  CHECK(name(Refusal::source_limit) == "source_limit");
  CHECK(name(Refusal::rate_limit) == "rate_limit");
  CHECK(name(Refusal::local_error) == "local_error");
  CHECK(name(Drop::truncated) == "truncated");
  CHECK(name(Drop::denied) == "denied");
  CHECK(name(Drop::rate_limit) == "rate_limit");
}

}  // namespace millrace::worker
