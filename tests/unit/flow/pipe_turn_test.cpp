// Directions that wait for their turn to have a pipe.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "bench.hpp"

namespace millrace::flow::test {

namespace {

constexpr DirectionId kFirst{{1, 1}, Side::client};
constexpr DirectionId kSecond{{2, 1}, Side::backend};

Setup one_moves() {
  Setup setup;
  setup.pipes.moving = 1;
  return setup;
}

/// Whoever's turn it is in the pool of this bench is its own flow.
Verdict take_turn(Bench& bench) {
  const std::optional<DirectionId> direction = bench.pipes.next_turn();
  REQUIRE(direction.has_value());
  CHECK(direction->flow == SlotId{Bench::kSlot, Bench::kGeneration});
  return bench.flow.on_pipe_turn(bench.context, direction->side);
}

}  // namespace

TEST_CASE("pipe turns: a few move, the others wait in the order in which they came") {
  RecordingIo io({.count = 1, .bytes_per_buffer = 1});
  PipePool pool(io, {.open = 8, .kept = 8, .moving = 2});
  std::array<io::Pipe, 3> pipes;
  CHECK(pool.turn_is_free());
  REQUIRE(pool.take(pipes[0]));
  CHECK(pool.turn_is_free());
  REQUIRE(pool.take(pipes[1]));
  CHECK_FALSE(pool.turn_is_free());
  pool.wait_for_turn(kFirst);
  pool.wait_for_turn(kSecond);
  CHECK_FALSE(pool.turn_due());
  CHECK_FALSE(pool.next_turn().has_value());
  pool.give_back(pipes[0], true);
  CHECK(pool.turn_due());
  CHECK_FALSE(pool.turn_is_free());  // somebody was there before
  const std::optional<DirectionId> next = pool.next_turn();
  REQUIRE(next.has_value());
  CHECK(next->flow == kFirst.flow);
  CHECK(next->side == Side::client);
  REQUIRE(pool.take(pipes[2]));
  CHECK_FALSE(pool.next_turn().has_value());
  pool.give_back(pipes[1], false);
  pool.give_back(pipes[2], true);
  CHECK(pool.next_turn()->flow == kSecond.flow);
  CHECK_FALSE(pool.next_turn().has_value());
  CHECK(pool.turn_is_free());
  pool.trim();
}

TEST_CASE("pipe turns: a pipe that waits for its reader is in nobody's way") {
  RecordingIo io({.count = 1, .bytes_per_buffer = 1});
  PipePool pool(io, {.open = 8, .kept = 8, .moving = 1});
  io::Pipe stalled;
  io::Pipe other;
  REQUIRE(pool.take(stalled));
  pool.wait_for_turn(kFirst);
  pool.stall();
  CHECK(pool.turn_due());
  CHECK(pool.next_turn().has_value());
  REQUIRE(pool.take(other));
  pool.go_on();  // two move now; nobody is held up for that
  pool.wait_for_turn(kSecond);
  pool.give_back(other, true);
  CHECK_FALSE(pool.turn_due());
  pool.give_back(stalled, true);
  CHECK(pool.turn_due());
  pool.trim();
}

TEST_CASE("pipe turns: the flow waits, holds nothing meanwhile, and reads when its turn has come") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench(one_moves());
    io::Pipe others;
    REQUIRE(bench.pipes.take(others));
    bench.connected();
    bench.bulk(side, 2);
    bench.cancelled(side, OpKind::recv);
    CHECK(bench.armed(side).empty());
    CHECK(bench.pipes.taken() == 1);
    CHECK_FALSE(bench.pipes.turn_due());
    bench.receive(other(side), 10);  // the other direction goes on, and no second place in the queue is taken
    bench.sent(side);
    bench.pass_time(seconds(2));
    CHECK(bench.armed(side).empty());  // not even watched: its turn comes soon
    bench.pipes.give_back(others, true);
    CHECK(take_turn(bench) == Verdict::ongoing);
    CHECK(bench.armed(side) == "splice_in");
    CHECK_FALSE(bench.pipes.next_turn().has_value());
    bench.splice_through(side, 100'000);
    CHECK(bench.armed(side) == "splice_in");  // nobody waits: at once
  }
}

TEST_CASE("pipe turns: after each move the others come first") {
  Bench bench(one_moves());
  bench.connected();
  bench.promote(Side::client);
  bench.pipes.wait_for_turn(kFirst);
  bench.splice_through(Side::client, 100'000);
  CHECK(bench.armed(Side::client).empty());
  CHECK(bench.pipes.taken() == 0);
  CHECK(bench.pipes.next_turn()->flow == kFirst.flow);  // it makes no use of it
  take_turn(bench);
  CHECK(bench.armed(Side::client) == "splice_in");
}

TEST_CASE("pipe turns: a reader without room lets others move, and the rest goes on at once") {
  Bench bench(one_moves());
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  CHECK_FALSE(bench.pipes.turn_is_free());
  bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
  CHECK(bench.pipes.turn_is_free());
  bench.complete(Side::backend, OpKind::poll_out, io::kPollOut);
  CHECK_FALSE(bench.pipes.turn_is_free());
  CHECK(bench.armed(Side::client) == "splice_out");
  bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
  CHECK(bench.pipes.turn_is_free());
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);  // the bytes in the pipe will never be read
  CHECK(bench.pipes.turn_is_free());
  CHECK(bench.pipes.open() == 0);
}

TEST_CASE("pipe turns: one that has nothing left to do takes no pipe when its turn comes") {
  Bench bench(one_moves());
  io::Pipe others;
  REQUIRE(bench.pipes.take(others));
  bench.connected();
  bench.bulk(Side::client, 2);
  bench.cancelled(Side::client, OpKind::recv);
  bench.receive(Side::backend, 10);
  SUBCASE("being closed") {
    bench.abort(CloseReason::killed);
    CHECK_FALSE(bench.closed());
    bench.pipes.give_back(others, true);
    CHECK(take_turn(bench) == Verdict::ongoing);
  }
  SUBCASE("the other side takes no more") {
    bench.sent(Side::client);
    bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
    bench.pipes.give_back(others, true);
    take_turn(bench);
  }
  CHECK(bench.armed(Side::client).find("splice_in") == std::string::npos);
  CHECK(bench.pipes.taken() == 0);
}

TEST_CASE("pipe turns: no pipe to be had when the turn has come: copies") {
  Setup setup = one_moves();
  setup.pipes.open = 1;
  Bench bench(setup);
  io::Pipe others;
  REQUIRE(bench.pipes.take(others));
  bench.connected();
  bench.bulk(Side::client, 2);
  bench.cancelled(Side::client, OpKind::recv);
  bench.pipes.stall();
  take_turn(bench);
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.totals.demotions.get() == 1);
  bench.pipes.go_on();
  bench.pipes.give_back(others, true);
}

}  // namespace millrace::flow::test
