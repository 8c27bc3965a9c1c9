#include "load_cells.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::worker {

namespace {

using Outcome = LoadCells::Outcome;

constexpr unsigned kBits = 24;
constexpr std::uint64_t kAll = (std::uint64_t{1} << kBits) - 1;

LoadCells::Shape counts_up_to(std::uint64_t full, std::uint32_t cells = 1024) {
  return {.cells = cells, .clock_bits = kBits, .full = full, .live_max = kAll};
}
LoadCells::Shape decaying(std::uint64_t full, std::uint32_t cells = 1024) {
  return {.cells = cells, .clock_bits = kBits, .full = full, .live_max = 8 * full, .replaces_least = true};
}

std::uint64_t key(std::uint64_t number) {
  return mix64(number);
}

/// The least, two buckets: every key may be anywhere.
constexpr std::uint32_t kFewCells = 16;

}  // namespace

TEST_CASE("LoadCells: counts each key up to the maximum") {
  LoadCells cells(counts_up_to(3));
  std::vector<std::uint32_t> held;
  for (std::uint64_t k = 0; k < 20; ++k) {
    for (int i = 0; i < 3; ++i) {
      const LoadCells::Added added = cells.add(key(k), 1, 0);
      REQUIRE(added.outcome == Outcome::added);
      held.push_back(added.cell);
    }
    CHECK(cells.add(key(k), 1, 0).outcome == Outcome::over);
  }
  CHECK(cells.total(0) == 60);
  cells.subtract_one(held[0]);  // of key 0
  CHECK(cells.add(key(1), 1, 0).outcome == Outcome::over);
  CHECK(cells.add(key(0), 1, 0).outcome == Outcome::added);
  CHECK(cells.add(key(0), 1, 0).outcome == Outcome::over);
  for (const std::uint32_t cell : held) cells.subtract_one(cell);
  CHECK(cells.total(0) == 0);
}

TEST_CASE("LoadCells: an amount that does not fit leaves the load as it was") {
  LoadCells cells(counts_up_to(10));
  CHECK(cells.add(key(1), 7, 0).outcome == Outcome::added);
  CHECK(cells.add(key(1), 4, 0).outcome == Outcome::over);
  CHECK(cells.total(0) == 7);
  CHECK(cells.add(key(1), 3, 0).outcome == Outcome::added);
  CHECK(cells.add(key(2), 11, 0).outcome == Outcome::over);
}

TEST_CASE("LoadCells: without a free cell a new key is uncounted, and those that are there are counted on") {
  LoadCells cells(counts_up_to(2, kFewCells));
  std::vector<std::uint32_t> held;
  for (std::uint64_t k = 0; k < kFewCells; ++k) {
    const LoadCells::Added added = cells.add(key(k), 1, 0);
    REQUIRE(added.outcome == Outcome::added);
    held.push_back(added.cell);
  }
  CHECK(cells.add(key(100), 1, 0).outcome == Outcome::uncounted);
  CHECK(cells.total(0) == kFewCells);
  CHECK(cells.add(key(3), 1, 0).outcome == Outcome::added);
  CHECK(cells.add(key(3), 1, 0).outcome == Outcome::over);
  cells.subtract_one(held[7]);
  const LoadCells::Added late = cells.add(key(100), 1, 0);
  CHECK(late.outcome == Outcome::added);
  CHECK(late.cell == held[7]);  // the cell that has become free
  CHECK(cells.add(key(7), 1, 0).outcome == Outcome::uncounted);
}

TEST_CASE("LoadCells: half full, everything finds a place") {
  constexpr std::uint32_t kCells = 1U << 14U;
  LoadCells cells(counts_up_to(1, kCells));
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    CAPTURE(seed);
    std::vector<std::uint32_t> held;
    std::uint32_t uncounted = 0;
    for (std::uint64_t k = 0; k < kCells / 2; ++k) {
      const LoadCells::Added added = cells.add(key(seed << 32U | k), 1, 0);
      if (added.outcome == Outcome::added) held.push_back(added.cell);
      uncounted += added.outcome == Outcome::uncounted ? 1 : 0;
    }
    CHECK(uncounted == 0);
    CHECK(held.size() == kCells / 2);
    for (const std::uint32_t cell : held) cells.subtract_one(cell);
    CHECK(cells.total(0) == 0);
  }
}

TEST_CASE("LoadCells: on a clock that runs, loads decay") {
  LoadCells cells(decaying(100));
  CHECK(cells.add(key(1), 60, 1'000).outcome == Outcome::added);
  CHECK(cells.add(key(1), 41, 1'000).outcome == Outcome::over);
  CHECK(cells.add(key(1), 41, 1'001).outcome == Outcome::added);
  CHECK(cells.total(1'001) == 100);
  CHECK(cells.total(1'050) == 51);
  CHECK(cells.add(key(2), 1, 1'050).outcome == Outcome::added);
  CHECK(cells.total(1'101) == 0);
  CHECK(cells.add(key(1), 100, 5'000).outcome == Outcome::added);
  CHECK(cells.add(key(1), 1, 5'000).outcome == Outcome::over);
  // A thread that is late sees more load than there is, never less.
  CHECK(cells.add(key(1), 1, 4'500).outcome == Outcome::over);
  CHECK(cells.add(key(1), 100, 5'100).outcome == Outcome::added);
}

TEST_CASE("LoadCells: without a free cell the least load gives way, where that is wanted") {
  LoadCells cells(decaying(100, kFewCells));
  for (std::uint64_t k = 0; k < kFewCells; ++k) {
    REQUIRE(cells.add(key(k), k == 5 ? 10 : 50, 1'000).outcome == Outcome::added);
  }
  CHECK(cells.add(key(100), 100, 1'000).outcome == Outcome::added);  // in the place of 5
  CHECK(cells.add(key(100), 1, 1'000).outcome == Outcome::over);
  CHECK(cells.add(key(3), 51, 1'000).outcome == Outcome::over);
  CHECK(cells.add(key(5), 100, 1'000).outcome == Outcome::added);  // forgotten; it replaces one of 50
  CHECK(cells.total(1'000) == 100 + 100 + 14 * 50);
  // Whose time is past has no load: they go first.
  CHECK(cells.add(key(200), 1, 1'060).outcome == Outcome::added);
  CHECK(cells.add(key(100), 60, 1'060).outcome == Outcome::added);
  CHECK(cells.add(key(5), 60, 1'060).outcome == Outcome::added);
}

TEST_CASE("LoadCells: agrees with a map of every key, also where the clock goes round") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const std::uint64_t full = 1 + rng.below(200);
    LoadCells cells(decaying(full));
    std::map<std::uint64_t, std::uint64_t> ends;  // by key
    std::uint64_t now = kAll - 3'000 + rng.below(2'000);
    std::uint32_t wrong = 0;
    for (int i = 0; i < 20'000; ++i) {
      now += rng.below(3);
      const std::uint64_t k = rng.below(20);
      const std::uint64_t amount = 1 + rng.below(full);
      std::uint64_t& end = ends[k];
      const std::uint64_t load = end > now ? end - now : 0;
      const bool fits = load + amount <= full;
      if (fits) end = now + load + amount;
      if ((cells.add(key(seed * 100 + k), amount, now).outcome == Outcome::added) != fits) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("LoadCells: keys that come and go agree with a map of counts") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const std::uint64_t full = 1 + rng.below(5);
    LoadCells cells(counts_up_to(full, 64));
    std::map<std::uint64_t, std::vector<std::uint32_t>> held;
    std::size_t all = 0;
    std::uint32_t wrong = 0;
    for (int i = 0; i < 20'000; ++i) {
      std::vector<std::uint32_t>& mine = held[rng.below(20) + static_cast<std::uint64_t>(i / 1'000)];
      if (!mine.empty() && rng.one_in(2)) {
        cells.subtract_one(mine.back());
        mine.pop_back();
        --all;
        continue;
      }
      const std::uint64_t k = rng.below(20) + static_cast<std::uint64_t>(i / 1'000);
      const LoadCells::Added added = cells.add(key(k), 1, 0);
      if ((added.outcome == Outcome::over) != (held[k].size() == full)) ++wrong;
      if (added.outcome == Outcome::added) {
        held[k].push_back(added.cell);
        ++all;
      }
      if (cells.total(0) != all) ++wrong;
    }
    CHECK(wrong == 0);
  }
}

// Few cells and keys that come and go: threads meet in the same cells, and begin to count the same key at once.
TEST_CASE("LoadCells: threads never hold more than the maximum, and nothing is left") {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kKeys = 3;
  constexpr std::uint64_t kFull = 1;
  LoadCells cells(counts_up_to(kFull, kFewCells));
  std::array<std::atomic<std::uint64_t>, kKeys> held{};
  std::atomic<std::uint64_t> above{0};
  std::atomic<std::uint64_t> admitted{0};
  const auto work = [&](std::uint64_t seed) {
    Rng rng(seed);
    struct Hold {
      std::uint64_t key;
      std::uint32_t cell;
    };
    std::vector<Hold> mine;
    for (int i = 0; i < 200'000; ++i) {
      const std::uint64_t k = rng.below(kKeys);
      const LoadCells::Added added = cells.add(key(k), 1, 0);
      if (added.outcome == Outcome::added) {
        if (held[k].fetch_add(1) + 1 > kFull) ++above;
        mine.push_back({k, added.cell});
        ++admitted;
      }
      while (mine.size() > rng.below(3)) {
        held[mine.back().key].fetch_sub(1);
        cells.subtract_one(mine.back().cell);
        mine.pop_back();
      }
    }
    for (const Hold& hold : mine) {
      held[hold.key].fetch_sub(1);
      cells.subtract_one(hold.cell);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  CHECK(above == 0);
  CHECK(admitted > 1'000);
  CHECK(cells.total(0) == 0);
  for (std::uint64_t k = 0; k < kKeys; ++k) {
    CHECK(cells.add(key(k), kFull, 0).outcome == Outcome::added);  // all of it is free again
  }
}

TEST_CASE("LoadCells: threads add no more than the maximum at one moment, and all of it can be had") {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint64_t kKeys = 3;
  constexpr std::uint64_t kFull = 500;
  for (std::uint64_t round = 0; round < 20; ++round) {
    LoadCells cells(decaying(kFull, kFewCells));
    const std::uint64_t now = 1'000 + round;
    std::array<std::atomic<std::uint64_t>, kKeys> added{};
    const auto work = [&](std::uint64_t seed) {
      Rng rng(seed);
      for (int i = 0; i < 2'000; ++i) {
        const std::uint64_t k = rng.below(kKeys);
        if (cells.add(key(round * kKeys + k), 1, now).outcome == Outcome::added) ++added[k];
      }
    };
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < kThreads; ++t) threads.emplace_back(work, round * kThreads + t);
    for (std::thread& thread : threads) thread.join();
    for (std::uint64_t k = 0; k < kKeys; ++k) {
      CHECK(added[k] <= kFull);
      while (cells.add(key(round * kKeys + k), 1, now).outcome == Outcome::added) ++added[k];
      CHECK(added[k] == kFull);
    }
  }
}

}  // namespace millrace::worker
