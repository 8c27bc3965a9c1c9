#include "millrace/flow/coalescer.hpp"

#include <doctest/doctest.h>

namespace millrace::flow {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Instant kStart{std::chrono::seconds(1000)};
constexpr std::uint32_t kMebibyte = 1024 * 1024;

/// One interval in which one direction rests and moves that much.
void interval(Coalescer& coalescer, std::uint32_t bytes, io::ReceiveQueue queue = {}) {
  coalescer.rest({{1, 1}, Side::client}, bytes, kStart);
  CHECK(coalescer.wake(coalescer.due()).size() == 1);
  coalescer.note_queue(queue);
}

}  // namespace

TEST_CASE("coalescer: a direction rests after a mebibyte, if it was fast") {
  const Coalescer coalescer;
  CHECK(coalescer.worth_beginning(kMebibyte, milliseconds(256)));  // 4 MB/s: 32 KiB in the longest interval
  CHECK_FALSE(coalescer.worth_beginning(kMebibyte, milliseconds(257)));
  CHECK_FALSE(coalescer.worth_beginning(kMebibyte - 1, milliseconds(1)));
  CHECK(coalescer.worth_beginning(kMebibyte, Nanos(0)));
  CHECK(coalescer.worth_going_on(32 * 1024));
  CHECK_FALSE(coalescer.worth_going_on(32 * 1024 - 1));
}

TEST_CASE("coalescer: all that rest are woken together, one interval after the first of them lay down") {
  Coalescer coalescer;
  CHECK(coalescer.due() == kNever);
  coalescer.rest({{1, 7}, Side::client}, 0, kStart);
  coalescer.rest({{2, 8}, Side::backend}, 0, kStart + microseconds(150));
  CHECK(coalescer.due() == kStart + microseconds(400));
  CHECK(coalescer.wake(kStart + microseconds(399)).empty());
  const std::span<const DirectionId> awake = coalescer.wake(kStart + microseconds(400));
  REQUIRE(awake.size() == 2);
  CHECK(awake[0].flow == SlotId{1, 7});
  CHECK(awake[1].flow == SlotId{2, 8});
  CHECK(awake[1].side == Side::backend);
  CHECK(coalescer.due() == kNever);
  CHECK(coalescer.wake(kStart + milliseconds(9)).empty());
}

TEST_CASE("coalescer: one may lie down again while the others are being woken") {
  Coalescer coalescer;
  coalescer.rest({{1, 1}, Side::client}, 0, kStart);
  coalescer.rest({{2, 1}, Side::client}, 0, kStart);
  int seen = 0;
  for (const DirectionId& direction : coalescer.wake(kStart + milliseconds(1))) {
    coalescer.rest(direction, kMebibyte, kStart + milliseconds(1));
    ++seen;
  }
  CHECK(seen == 2);
  CHECK(coalescer.wake(coalescer.due()).size() == 2);
}

TEST_CASE("coalescer: the interval follows what the busiest direction moves in it, between its bounds") {
  Coalescer coalescer;
  CHECK(coalescer.interval() == microseconds(400));
  interval(coalescer, kMebibyte);  // half of what is wanted …
  interval(coalescer, kMebibyte);
  CHECK(coalescer.interval() == microseconds(1600));  // … so twice as long each time
  interval(coalescer, 2 * kMebibyte);
  CHECK(coalescer.interval() == microseconds(1600));
  interval(coalescer, 8 * kMebibyte);
  CHECK(coalescer.interval() == microseconds(800));  // at most halved at once
  for (int i = 0; i < 20; ++i) interval(coalescer, 64 * 1024);
  CHECK(coalescer.interval() == milliseconds(8));
  for (int i = 0; i < 20; ++i) interval(coalescer, 64 * kMebibyte);
  CHECK(coalescer.interval() == microseconds(400));
}

TEST_CASE("coalescer: a receive queue that fills up shortens the interval, however little was moved") {
  Coalescer coalescer;
  for (int i = 0; i < 20; ++i) interval(coalescer, 64 * 1024);
  REQUIRE(coalescer.interval() == milliseconds(8));
  interval(coalescer, 64 * 1024, {.used = 100'000, .limit = 131'072});
  interval(coalescer, 64 * 1024, {.used = 100'000, .limit = 131'072});
  CHECK(coalescer.interval() < milliseconds(5));
  interval(coalescer, 64 * 1024, {.used = 1000, .limit = 0});  // unknown: says nothing
  const Nanos before = coalescer.interval();
  interval(coalescer, 64 * 1024);
  interval(coalescer, 64 * 1024);
  CHECK(coalescer.interval() > before);
}

TEST_CASE("coalescer: an interval of which nothing is known stays") {
  Coalescer coalescer;
  interval(coalescer, 0);
  CHECK(coalescer.interval() == microseconds(400));
}

}  // namespace millrace::flow
