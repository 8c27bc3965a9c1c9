#include "millrace/worker/source_limits.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::worker {

namespace {

using namespace std::chrono_literals;
using net::IpEndpoint;
using Outcome = SourceLimits::Outcome;
using Rules = std::vector<SourceLimits::Rule>;

constexpr std::uint64_t kSeed = 7;
const Instant kStart{Nanos(123'456'789'012'345)};

IpEndpoint v4(std::uint32_t last, std::uint16_t port = 1) {
  return IpEndpoint::ipv4(0x0a000000U + last, port);
}
IpEndpoint v6(std::uint8_t last, std::uint32_t scope = 0) {
  return IpEndpoint::ipv6({0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}, 1, scope);
}

/// Admits as many as there may be at that moment; the holds.
std::vector<std::uint32_t> admit_all(SourceLimits& limits, const IpEndpoint& client, Instant now = kStart,
                                     std::uint32_t listener = 0) {
  std::vector<std::uint32_t> holds;
  for (int i = 0; i < 100'000; ++i) {
    const SourceLimits::Entry entry = limits.admit(listener, client, now);
    if (entry.outcome != Outcome::admitted) break;
    holds.push_back(entry.hold);
  }
  return holds;
}

void release_all(SourceLimits& limits, const std::vector<std::uint32_t>& holds, std::uint32_t listener = 0) {
  for (const std::uint32_t hold : holds) limits.release(listener, hold);
}

}  // namespace

TEST_CASE("SourceLimits: connections of an address, whatever its port; addresses and listeners apart") {
  SourceLimits limits(Rules{{.connections = 3, .connections_max = 100}, {.connections = 5, .connections_max = 100}},
                      kSeed);
  std::vector<std::uint32_t> holds;
  for (std::uint16_t port = 1; port <= 3; ++port) {
    const SourceLimits::Entry entry = limits.admit(0, v4(1, port), kStart);
    REQUIRE(entry.outcome == Outcome::admitted);
    holds.push_back(entry.hold);
  }
  CHECK(limits.admit(0, v4(1, 4), kStart).outcome == Outcome::too_many);
  CHECK(limits.admit(0, v4(1, 1), kStart).outcome == Outcome::too_many);
  const std::vector<std::uint32_t> others = admit_all(limits, v4(2));
  const std::vector<std::uint32_t> elsewhere = admit_all(limits, v4(1), kStart, 1);
  CHECK(others.size() == 3);
  CHECK(elsewhere.size() == 5);
  CHECK(limits.counted() == 11);
  limits.release(0, holds[1]);
  holds[1] = SourceLimits::kUncounted;
  CHECK(admit_all(limits, v4(2)).empty());
  const std::vector<std::uint32_t> again = admit_all(limits, v4(1));
  CHECK(again.size() == 1);
  for (const std::vector<std::uint32_t>* each : {&std::as_const(holds), &others, &again}) release_all(limits, *each);
  release_all(limits, elsewhere, 1);
  CHECK(limits.counted() == 0);
  CHECK(limits.uncounted() == 0);
}

TEST_CASE("SourceLimits: what is one address") {
  SourceLimits limits(Rules{{.connections = 1, .connections_max = 100}}, kSeed);
  CHECK(admit_all(limits, v4(1)).size() == 1);
  const std::array<std::uint8_t, 16> mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1};
  CHECK(admit_all(limits, IpEndpoint::ipv6(mapped, 9)).empty());
  CHECK(admit_all(limits, v6(1)).size() == 1);
  CHECK(admit_all(limits, v6(2)).size() == 1);
  CHECK(admit_all(limits, v6(1, 2)).size() == 1);  // by another interface
  CHECK(admit_all(limits, IpEndpoint::ipv6({10, 0, 0, 2}, 1)).size() == 1);
  CHECK(admit_all(limits, v4(2)).size() == 1);
}

TEST_CASE("SourceLimits: no limit, and no address") {
  SourceLimits limits(Rules{{}, {.connections = 1, .rate = 1, .connections_max = 10}}, kSeed);
  for (int i = 0; i < 10; ++i) {
    const SourceLimits::Entry entry = limits.admit(0, v4(1), kStart);
    CHECK(entry.outcome == Outcome::admitted);
    CHECK(entry.hold == SourceLimits::kUncounted);
    limits.release(0, entry.hold);
    const SourceLimits::Entry local = limits.admit(1, IpEndpoint(), kStart);
    CHECK(local.outcome == Outcome::admitted);
    CHECK(local.hold == SourceLimits::kUncounted);
    limits.release(1, local.hold);
  }
  CHECK(limits.counted() == 0);
  CHECK(limits.uncounted() == 0);
}

TEST_CASE("SourceLimits: a burst of a second's worth, then one at a time") {
  for (const std::uint32_t rate : {1U, 3U, 10U, 1'000U, SourceLimits::kRateMax}) {
    CAPTURE(rate);
    SourceLimits limits(Rules{{.rate = rate, .connections_max = 100}}, kSeed);
    const Nanos each = Nanos(1s) / rate + 1ns;
    CHECK(admit_all(limits, v4(1)).size() == rate);
    CHECK(admit_all(limits, v4(1), kStart + each * 9 / 10).empty());
    CHECK(admit_all(limits, v4(2)).size() == rate);
    CHECK(admit_all(limits, v4(1), kStart + each).size() == 1);
    CHECK(admit_all(limits, v4(1), kStart + each * 3).size() == std::min(rate, 2U));
    CHECK(admit_all(limits, v4(1), kStart + 10s).size() == rate);
    CHECK(admit_all(limits, v4(1), kStart + 1h).size() == rate);
    CHECK(limits.counted() == 0);
  }
}

TEST_CASE("SourceLimits: in no span of time are there more than the burst and what the rate gives") {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const auto rate = static_cast<std::uint32_t>(1 + rng.below(50));
    SourceLimits limits(Rules{{.rate = rate, .connections_max = 100}}, seed);
    std::vector<Instant> admitted;
    Instant now = kStart;
    for (int i = 0; i < 2'000; ++i) {
      now += Nanos(rng.below(2 * std::uint64_t{1'000'000'000} / rate));
      if (limits.admit(0, v4(1), now).outcome == Outcome::admitted) admitted.push_back(now);
    }
    bool held = true;
    for (std::size_t first = 0; first < admitted.size(); first += 1 + admitted.size() / 100) {
      for (std::size_t last = first; last < admitted.size(); ++last) {
        const double seconds = std::chrono::duration<double>(admitted[last] - admitted[first]).count();
        held = held && static_cast<double>(last - first + 1) <= rate + rate * seconds + 0.05;
      }
    }
    CHECK(held);
    const double whole = std::chrono::duration<double>(now - kStart).count();
    CHECK(static_cast<double>(admitted.size()) >= std::min(0.9 * rate * whole, 900.0));  // and not much fewer
  }
}

TEST_CASE("SourceLimits: what one limit refuses, the other does not count") {
  SourceLimits limits(Rules{{.connections = 5, .rate = 3, .connections_max = 100}}, kSeed);
  const std::vector<std::uint32_t> three = admit_all(limits, v4(1));
  CHECK(three.size() == 3);
  CHECK(limits.admit(0, v4(1), kStart).outcome == Outcome::too_fast);
  CHECK(limits.counted() == 3);
  const std::vector<std::uint32_t> two = admit_all(limits, v4(1), kStart + 10s);
  CHECK(two.size() == 2);
  for (int i = 0; i < 10; ++i) CHECK(limits.admit(0, v4(1), kStart + 10s).outcome == Outcome::too_many);
  release_all(limits, three);
  CHECK(admit_all(limits, v4(1), kStart + 10s).size() == 1);  // the third of this second
  CHECK(limits.counted() == 3);
}

TEST_CASE("SourceLimits: without room, what is uncounted is released as such") {
  SourceLimits limits(Rules{{.connections = 2, .connections_max = 1}}, kSeed);
  std::vector<std::uint32_t> holds;
  for (std::uint32_t address = 0; address < 40; ++address) {
    const SourceLimits::Entry entry = limits.admit(0, v4(address), kStart);
    REQUIRE(entry.outcome == Outcome::admitted);
    holds.push_back(entry.hold);
  }
  const auto uncounted = static_cast<std::uint64_t>(std::count(holds.begin(), holds.end(), SourceLimits::kUncounted));
  CHECK(uncounted == 40 - limits.counted());
  CHECK(limits.uncounted() == uncounted);
  CHECK(limits.counted() == 16);
  release_all(limits, holds);
  CHECK(limits.counted() == 0);
}

TEST_CASE("SourceLimits: addresses come and go, the places are used again") {
  SourceLimits limits(Rules{{.connections = 1, .rate = 1, .connections_max = 100}}, kSeed);
  for (std::uint32_t address = 0; address < 200'000; address += 50) {
    std::vector<std::uint32_t> holds;
    for (std::uint32_t i = 0; i < 50; ++i) {
      const SourceLimits::Entry entry = limits.admit(0, v4(address + i), kStart);
      if (entry.outcome == Outcome::admitted) holds.push_back(entry.hold);
    }
    REQUIRE(holds.size() == 50);
    release_all(limits, holds);
  }
  CHECK(limits.counted() == 0);
  CHECK(limits.uncounted() == 0);
}

TEST_CASE("SourceLimits: threads together keep to the limits, and all is released") {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kAddresses = 5;
  constexpr std::uint32_t kConnections = 3;
  constexpr std::uint32_t kRate = 1'000;
  SourceLimits limits(Rules{{.connections = kConnections, .rate = kRate, .connections_max = 16}}, kSeed);
  std::array<std::atomic<std::uint32_t>, kAddresses> held{};
  std::array<std::atomic<std::uint32_t>, kAddresses> admitted{};
  std::atomic<std::uint32_t> above{0};
  std::atomic<std::int64_t> clock{0};  // microseconds; every thread moves it, and uses what it saw a little later
  const auto work = [&](std::uint64_t seed) {
    Rng rng(seed);
    struct Hold {
      std::uint32_t address;
      std::uint32_t hold;
    };
    std::vector<Hold> mine;
    const auto release_one = [&] {
      held[mine.back().address].fetch_sub(1);
      limits.release(0, mine.back().hold);
      mine.pop_back();
    };
    for (int i = 0; i < 20'000; ++i) {
      const Instant now = kStart + std::chrono::microseconds(clock.fetch_add(10));
      const auto address = static_cast<std::uint32_t>(rng.below(kAddresses));
      const auto port = static_cast<std::uint16_t>(rng.below(60'000));
      const SourceLimits::Entry entry = limits.admit(0, v4(address, port), now);
      if (entry.outcome == Outcome::admitted) {
        if (held[address].fetch_add(1) + 1 > kConnections) ++above;
        ++admitted[address];
        mine.push_back({address, entry.hold});
      }
      while (mine.size() > rng.below(4)) release_one();
    }
    while (!mine.empty()) release_one();
  };
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  CHECK(above == 0);
  CHECK(limits.counted() == 0);
  CHECK(limits.uncounted() == 0);
  const double seconds = static_cast<double>(clock.load()) * 1e-6;
  for (const auto& each : admitted) {
    CHECK(each.load() > kRate);
    CHECK(each.load() <= kRate + kRate * seconds + 1);
  }
}

}  // namespace millrace::worker
