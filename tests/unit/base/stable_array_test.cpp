#include "millrace/base/stable_array.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

namespace millrace {

TEST_CASE("StableArray: grows without moving anything, and begins with values of zero") {
  StableArray<int> array(200, 3);
  CHECK(array.size() == 3);
  array[2] = 7;
  int* third = &array[2];
  array.grow(2);  // never smaller
  CHECK(array.size() == 3);
  array.grow(200);
  CHECK(array.size() == 200);
  CHECK(&array[2] == third);
  CHECK(array[2] == 7);
  CHECK(array[199] == 0);
}

TEST_CASE("StableArray: who reads its size may read so many elements while it grows") {
  StableArray<std::atomic<int>> array(4096);
  std::thread grower([&] {
    for (std::size_t size = 1; size <= 4096; size += 7) array.grow(size);
    array.grow(4096);
  });
  std::size_t seen = 0;
  while (seen < 4096) {
    seen = array.size();
    for (std::size_t i = 0; i < seen; i += 61) CHECK(array[i].load() == 0);
  }
  grower.join();
}

}  // namespace millrace
