#include "millrace/base/slab.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <vector>

using millrace::Slab;

namespace {

struct Counted {
  explicit Counted(int n = 0) : number(n) { ++alive; }
  ~Counted() { --alive; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  int number;
  static int alive;
};
int Counted::alive = 0;

}  // namespace

TEST_CASE("slab: constructs, finds and destroys") {
  Slab<Counted> slab(4);
  CHECK(slab.capacity() == 4);
  Counted* one = slab.take(17);
  REQUIRE(one != nullptr);
  CHECK(one->number == 17);
  CHECK(Counted::alive == 1);
  CHECK(slab.in_use() == 1);
  CHECK(slab.find(slab.index_of(one), slab.generation_of(one)) == one);
  slab.give_back(one);
  CHECK(Counted::alive == 0);
  CHECK(slab.in_use() == 0);
}

TEST_CASE("slab: runs out and recovers") {
  Slab<Counted> slab(3);
  std::array<Counted*, 3> all{slab.take(0), slab.take(1), slab.take(2)};
  for (const Counted* each : all) REQUIRE(each != nullptr);
  CHECK(slab.take(3) == nullptr);
  CHECK(slab.take(4) == nullptr);
  CHECK(slab.in_use() == 3);
  slab.give_back(all[1]);
  CHECK(slab.take(5) == all[1]);
  CHECK(slab.take(6) == nullptr);
}

TEST_CASE("slab: without capacity there is nothing to take") {
  Slab<Counted> slab(0);
  CHECK(slab.take() == nullptr);
  CHECK(slab.find(0, 0) == nullptr);
}

TEST_CASE("slab: the slot given back last is taken first") {
  Slab<Counted> slab(8);
  Counted* a = slab.take();
  Counted* b = slab.take();
  Counted* c = slab.take();
  slab.give_back(b);
  slab.give_back(a);
  slab.give_back(c);
  CHECK(slab.take() == c);
  CHECK(slab.take() == a);
  CHECK(slab.take() == b);
  Counted* fresh = slab.take();
  CHECK(slab.index_of(fresh) == 3);
}

TEST_CASE("slab: a stale generation finds nothing") {
  Slab<Counted> slab(2);
  Counted* first = slab.take(1);
  const std::uint32_t index = slab.index_of(first);
  const std::uint32_t stale = slab.generation_of(first);
  slab.give_back(first);
  CHECK(slab.find(index, stale) == nullptr);

  Counted* second = slab.take(2);
  REQUIRE(slab.index_of(second) == index);
  CHECK(slab.generation_of(second) != stale);
  CHECK(slab.find(index, stale) == nullptr);
  CHECK(slab.find(index, slab.generation_of(second)) == second);
}

TEST_CASE("slab: an index that was never taken finds nothing") {
  Slab<Counted> slab(2);
  Counted* one = slab.take();
  CHECK(slab.find(1, 0) == nullptr);
  CHECK(slab.find(1, slab.generation_of(one)) == nullptr);
  CHECK(slab.find(2, 0) == nullptr);
  CHECK(slab.find(0xffffffffU, 1) == nullptr);
}

TEST_CASE("slab: generations wrap within their bits and stay distinct in between") {
  Slab<char> slab(1);
  char* value = slab.take();
  const std::uint32_t first = slab.generation_of(value);
  std::uint32_t turns = 0;
  do {
    slab.give_back(value);
    value = slab.take();
    ++turns;
  } while (slab.generation_of(value) != first);
  CHECK(turns == Slab<char>::kGenerationMask + 1);
}

TEST_CASE("slab: objects never move") {
  Slab<std::uint64_t> slab(1000);
  std::vector<std::uint64_t*> all;
  for (std::uint64_t i = 0; i < 1000; ++i) all.push_back(slab.take(i));
  for (std::uint64_t i = 0; i < 1000; ++i) {
    CHECK(*all[i] == i);
    CHECK(slab.index_of(all[i]) == i);
  }
}

TEST_CASE("slab: for_each visits what is in use, and the slab destroys it") {
  {
    Slab<Counted> slab(8);
    slab.give_back(slab.take(1));
    Counted* two = slab.take(2);
    Counted* three = slab.take(3);
    slab.give_back(two);
    Counted* four = slab.take(4);
    (void)three;
    (void)four;
    int sum = 0;
    slab.for_each([&](Counted& each) { sum += each.number; });
    CHECK(sum == 7);
    CHECK(Counted::alive == 2);
  }
  CHECK(Counted::alive == 0);
}

TEST_CASE("slab: memory that was never needed is never touched") {
  struct Page {
    std::array<unsigned char, 4000> bytes;
  };
  constexpr std::uint32_t kCapacity = 1U << 16U;
  Slab<Page> slab(kCapacity);
  constexpr std::uint32_t kTaken = 8;
  Page* first = nullptr;
  for (std::uint32_t i = 0; i < kTaken; ++i) {
    Page* page = slab.take();
    REQUIRE(page != nullptr);
    if (first == nullptr) first = page;
  }
  const auto page_bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t total = Slab<Page>::slot_bytes() * kCapacity;
  std::vector<unsigned char> residency((total + page_bytes - 1) / page_bytes);
  REQUIRE(slab.index_of(first) == 0);
  REQUIRE(reinterpret_cast<std::uintptr_t>(first) % page_bytes == 0);
  REQUIRE(::mincore(first, total, residency.data()) == 0);
  std::size_t resident = 0;
  for (const unsigned char each : residency) resident += (each & 1U) * page_bytes;
  // A huge page may bring more than was touched; the rest of 256 MiB must stay away.
  CHECK(resident >= kTaken * sizeof(Page) / 2);
  CHECK(resident <= kTaken * Slab<Page>::slot_bytes() + (4U << 20U));
}
