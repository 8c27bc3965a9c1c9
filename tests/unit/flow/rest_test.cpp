// Bulk directions that rest in the coalescer instead of being polled.

#include <doctest/doctest.h>

#include <cerrno>
#include <vector>

#include "bench.hpp"

namespace millrace::flow::test {

namespace {

constexpr std::uint32_t kMebibyte = 1024 * 1024;

/// Promoted, and read empty after so much.
void move_then_empty(Bench& bench, Side side, std::uint32_t bytes) {
  bench.splice_through(side, bytes);
  if (bench.armed(side).starts_with("splice_in")) bench.complete(side, OpKind::splice_in, -EAGAIN);
}

/// The rest of all is over.
Verdict wake(Bench& bench) {
  Verdict last = Verdict::ongoing;
  bench.context.now = bench.coalescer.due();
  for (const DirectionId& direction : bench.coalescer.wake(bench.context.now)) {
    CHECK(direction.flow == SlotId{bench.flow.slot(), bench.flow.generation()});
    last = bench.flow.on_rested(bench.context, direction.side);
  }
  return last;
}

}  // namespace

TEST_CASE("rest: after a mebibyte one way nothing is polled; when the rest is over it is read at once") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.promote(side);
    move_then_empty(bench, side, kMebibyte);
    CHECK(bench.armed(side).empty());
    CHECK(bench.totals.rests.get() == 1);
    CHECK(bench.armed(other(side)) == "recv");
    CHECK(bench.socket(side).windows == std::vector{3 * kMebibyte});  // so that its peer goes on meanwhile
    CHECK(bench.socket(other(side)).windows.empty());
    wake(bench);
    CHECK(bench.armed(side) == "splice_in");
    move_then_empty(bench, side, 64 * 1024);
    CHECK(bench.armed(side).empty());
    CHECK(bench.totals.rests.get() == 2);
    CHECK(bench.socket(side).windows.size() == 1);
    wake(bench);
    bench.complete(side, OpKind::splice_in, 0);  // the end is met like in any other read
    CHECK(bench.socket(other(side)).fin_sent);
  }
}

TEST_CASE("rest: not before a mebibyte has gone one way") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  move_then_empty(bench, Side::client, kMebibyte - 1);
  CHECK(bench.armed(Side::client) == "poll_in");
  bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  bench.receive(Side::backend, 10);  // an answer: counted anew
  bench.sent(Side::client);
  move_then_empty(bench, Side::client, 100'000);
  CHECK(bench.armed(Side::client) == "poll_in");
  CHECK(bench.totals.rests.get() == 0);
}

TEST_CASE("rest: not for a slow direction") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  for (int i = 0; i < 10; ++i) {
    move_then_empty(bench, Side::client, 256 * 1024);
    CHECK(bench.armed(Side::client) == "poll_in");
    bench.pass_time(std::chrono::milliseconds(100));
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  }
  CHECK(bench.totals.rests.get() == 0);
}

TEST_CASE("rest: an interval that brings little ends it") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  move_then_empty(bench, Side::client, kMebibyte);
  wake(bench);
  bench.splice_through(Side::client, 32 * 1024 - 1);
  CHECK(bench.armed(Side::client) == "poll_in");
  bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  move_then_empty(bench, Side::client, kMebibyte);
  CHECK(bench.totals.rests.get() == 2);  // it may rest again later
  wake(bench);
  bench.complete(Side::client, OpKind::splice_in, -EAGAIN);
  CHECK(bench.armed(Side::client) == "poll_in");
}

TEST_CASE("rest: the other side goes on meanwhile, and its FIN is passed on") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  move_then_empty(bench, Side::client, kMebibyte);
  bench.receive(Side::backend, 10);
  bench.sent(Side::client);
  bench.fin(Side::backend);
  CHECK(bench.socket(Side::client).fin_sent);
  CHECK(bench.armed(Side::client).empty());
  wake(bench);
  CHECK(bench.armed(Side::client) == "splice_in");
  bench.complete(Side::client, OpKind::splice_in, 0);
  CHECK(bench.closed());
}

TEST_CASE("rest: a flow that rests may be ended; it is woken in vain") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  move_then_empty(bench, Side::client, kMebibyte);
  bench.abort(CloseReason::killed);
  bench.finish_cancelled();
  CHECK(bench.closed());
  CHECK(bench.coalescer.due() != kNever);  // the worker finds no such flow any more
}

TEST_CASE("rest: the sink fails meanwhile") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  move_then_empty(bench, Side::client, kMebibyte);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  CHECK(bench.closed());
}

TEST_CASE("rest: how full the receive queue is shortens the interval") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.socket(Side::client).queue = {.used = 1, .limit = 1'000'000};
  move_then_empty(bench, Side::client, kMebibyte);
  for (int i = 0; i < 3; ++i) {
    wake(bench);
    move_then_empty(bench, Side::client, 128 * 1024);
  }
  const Nanos empty = bench.coalescer.interval();
  bench.socket(Side::client).queue = {.used = 900'000, .limit = 1'000'000};
  for (int i = 0; i < 3; ++i) {
    wake(bench);
    move_then_empty(bench, Side::client, 128 * 1024);
  }
  CHECK(bench.coalescer.interval() < empty);
  bench.abort(CloseReason::killed);
  bench.finish_cancelled();
}

}  // namespace millrace::flow::test
