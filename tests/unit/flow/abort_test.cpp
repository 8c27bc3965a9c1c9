// Timeouts, abort, and close as a join.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "bench.hpp"

namespace millrace::flow::test {

namespace {

Setup limits(Nanos idle, Nanos half_close, Nanos duration) {
  Setup setup;
  setup.options.idle_timeout = idle;
  setup.options.half_close_timeout = half_close;
  setup.options.max_duration = duration;
  return setup;
}

}  // namespace

// ---- timeouts ----

TEST_CASE("idle_timeout: ends a silent flow in order") {
  Bench bench(limits(seconds(10), seconds(60), Nanos(0)));
  bench.connected();
  bench.pass_time(milliseconds(9'990));
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
  bench.pass_time(milliseconds(20));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::idle_timeout);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::normal);
}

TEST_CASE("idle_timeout: a byte either way begins it anew") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench(limits(seconds(10), seconds(60), Nanos(0)));
    bench.connected();
    for (int i = 0; i < 10; ++i) {
      bench.pass_time(seconds(8));
      bench.receive(side, 1);
      bench.pass_time(seconds(8));
      bench.sent(other(side));
    }
    CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
    bench.pass_time(milliseconds(10'002));
    CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  }
}

TEST_CASE("idle_timeout: spliced bytes count") {
  Bench bench(limits(seconds(10), seconds(60), Nanos(0)));
  bench.connected();
  bench.promote(Side::client);
  for (int i = 0; i < 10; ++i) {
    bench.pass_time(seconds(8));
    bench.complete(Side::client, OpKind::splice_in, 100'000);
    bench.pass_time(seconds(8));
    bench.complete(Side::client, OpKind::splice_out, 100'000);
  }
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
}

TEST_CASE("idle_timeout: with undelivered bytes: the side that would miss them is reset, the other is not") {
  Bench bench(limits(seconds(10), seconds(60), Nanos(0)));
  bench.connected();
  bench.receive(Side::backend, 100);  // the client takes nothing
  bench.pass_time(milliseconds(10'002));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::idle_timeout);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::normal);
}

TEST_CASE("idle_timeout: bytes in a pipe, or in the kernel, are undelivered too") {
  Bench piped(limits(seconds(10), seconds(60), Nanos(0)));
  piped.connected();
  piped.promote(Side::backend);
  piped.complete(Side::backend, OpKind::splice_in, 100'000);
  piped.complete(Side::backend, OpKind::splice_out, -EAGAIN);
  piped.pass_time(milliseconds(10'002));
  CHECK(piped.finish_cancelled() == Verdict::closed);
  CHECK(piped.socket(Side::client).closed == io::CloseMode::reset);
  CHECK(piped.pipes.open() == 0);  // not kept with bytes in it

  Bench unsent(limits(seconds(10), seconds(60), Nanos(0)));
  unsent.connected();
  unsent.socket(Side::backend).unsent = 1;
  unsent.pass_time(milliseconds(10'002));
  CHECK(unsent.finish_cancelled() == Verdict::closed);
  CHECK(unsent.socket(Side::client).closed == io::CloseMode::normal);
  CHECK(unsent.socket(Side::backend).closed == io::CloseMode::reset);
}

TEST_CASE("idle_timeout: 0 is never") {
  Bench bench(limits(Nanos(0), Nanos(0), Nanos(0)));
  bench.connected();
  bench.pass_time(std::chrono::hours(24 * 365));
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
}

TEST_CASE("half_close_timeout: takes over from idle_timeout after a FIN") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench(limits(std::chrono::hours(1), seconds(5), Nanos(0)));
    bench.connected();
    bench.pass_time(minutes(50));
    bench.fin(side);
    bench.pass_time(seconds(4));
    bench.receive(other(side), 1);  // still at work
    bench.sent(side);
    bench.pass_time(milliseconds(4'990));
    CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
    bench.pass_time(milliseconds(20));
    CHECK(bench.finish_cancelled() == Verdict::closed);
    CHECK(bench.flow.close_reason() == CloseReason::half_close_timeout);
    CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
    CHECK(bench.socket(Side::backend).closed == io::CloseMode::normal);
  }
}

TEST_CASE("half_close_timeout: may be longer than idle_timeout, or never") {
  Bench longer(limits(seconds(5), seconds(60), Nanos(0)));
  longer.connected();
  longer.fin(Side::client);
  longer.pass_time(seconds(59));
  CHECK(longer.flow.stage() == TcpFlow::Stage::relaying);

  Bench never(limits(seconds(5), Nanos(0), Nanos(0)));
  never.connected();
  never.fin(Side::client);
  never.pass_time(std::chrono::hours(24));
  CHECK(never.flow.stage() == TcpFlow::Stage::relaying);
}

TEST_CASE("half_close_timeout: a reset peer whose last bytes nobody takes") {
  Bench bench(limits(std::chrono::hours(1), seconds(5), Nanos(0)));
  bench.connected();
  bench.receive(Side::backend, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  bench.cancelled(Side::client, OpKind::recv);
  bench.pass_time(milliseconds(5'002));
  CHECK(bench.armed(Side::client) == "send! watch!");
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("max_duration: from the accept, however busy") {
  Bench bench(limits(seconds(10), seconds(60), seconds(30)));
  bench.pass_time(seconds(5));
  bench.connected();
  for (int i = 0; i < 24; ++i) {
    bench.pass_time(seconds(1));
    bench.receive(Side::client, 1);
    bench.sent(Side::backend);
  }
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
  bench.pass_time(milliseconds(1'002));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::max_duration);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
}

TEST_CASE("max_duration: ends lingering; what the other side misses is not made to look whole") {
  Bench bench(limits(seconds(10), seconds(60), seconds(3)));
  bench.connected();
  bench.receive(Side::backend, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  bench.socket(Side::client).unsent = 100;
  bench.sent(Side::client);
  REQUIRE(bench.flow.stage() == TcpFlow::Stage::lingering);
  bench.pass_time(milliseconds(3'002));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("max_duration: in the very pass in which lingering would have ended") {
  // the client of a backend that was reset gets an orderly end.
  Bench bench(limits(seconds(10), seconds(60), seconds(3)));
  bench.connected();
  bench.receive(Side::backend, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  bench.socket(Side::client).unsent = 100;
  bench.sent(Side::client);
  bench.pass_time(milliseconds(2'999));
  bench.socket(Side::client).unsent = 0;
  bench.jump(milliseconds(3));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

// ---- abort ----

TEST_CASE("abort: resets both sides, whatever is delivered") {
  for (const CloseReason reason : std::array{CloseReason::drain, CloseReason::killed, CloseReason::local_error}) {
    Bench bench;
    bench.connected();
    CHECK(bench.abort(reason) == Verdict::ongoing);
    CHECK(bench.armed(Side::client) == "recv!");
    CHECK(bench.armed(Side::backend) == "recv!");
    CHECK_FALSE(bench.socket(Side::client).closed);
    CHECK(bench.finish_cancelled() == Verdict::closed);
    CHECK(bench.flow.close_reason() == reason);
    CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
    CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
  }
}

TEST_CASE("abort: before any connect: closed at once") {
  Bench bench;
  CHECK(bench.abort(CloseReason::no_backend) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::no_backend);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("abort: after a failed connect: closed at once, the timer is out of the wheel") {
  Bench bench;
  bench.connect();
  bench.complete(Side::backend, OpKind::connect, -ECONNREFUSED);
  CHECK(bench.abort(CloseReason::connect_failed) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::connect_failed);
}

TEST_CASE("abort: while connecting: after the connect has ended, either way") {
  for (const int result : std::array{0, -ECANCELED, -ECONNREFUSED}) {
    Bench bench;
    bench.connect();
    CHECK(bench.abort(CloseReason::killed) == Verdict::ongoing);
    CHECK(bench.complete(Side::backend, OpKind::connect, result) == Verdict::closed);
    CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
  }
}

TEST_CASE("abort: replaces the reason of an end that has only begun") {
  Bench bench;
  bench.connected();
  bench.fin(Side::client);
  bench.abort(CloseReason::drain);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::drain);
}

TEST_CASE("abort: once is enough; the first reason stays") {
  Bench bench;
  bench.connected();
  bench.abort(CloseReason::drain);
  CHECK(bench.abort(CloseReason::killed) == Verdict::ongoing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::drain);
}

TEST_CASE("join: everything is cancelled once, and closed with the last completion, in any order") {
  for (const bool backwards : {false, true}) {
    Bench bench;
    bench.connected();
    bench.promote(Side::client);
    bench.complete(Side::client, OpKind::splice_in, 100'000);
    bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
    bench.receive(Side::backend, 10);
    bench.pass_time(milliseconds(501));
    REQUIRE(bench.armed(Side::client) == "send watch");
    REQUIRE(bench.armed(Side::backend) == "recv poll_out");
    bench.abort(CloseReason::killed);
    CHECK(bench.armed(Side::client) == "send! watch!");
    CHECK(bench.armed(Side::backend) == "recv! poll_out!");
    while (bench.io.in_flight().size() > 1) {
      const auto& ops = bench.io.in_flight();
      const OpTag tag = (backwards ? ops.back() : ops.front()).tag;
      CHECK(bench.complete(static_cast<Side>(tag.side()), tag.kind(), -ECANCELED) == Verdict::ongoing);
    }
    CHECK(bench.finish_cancelled() == Verdict::closed);
  }
}

TEST_CASE("join: what completes all the same releases its buffer") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.abort(CloseReason::killed);
  CHECK(bench.receive(Side::client, 200) == Verdict::ongoing);
  CHECK(bench.receive_last(Side::backend, 300) == Verdict::ongoing);
  CHECK(bench.sent(Side::backend, 100) == Verdict::ongoing);
  CHECK(bench.fin(Side::client) == Verdict::closed);
  CHECK(bench.io.submitted(OpKind::send) == 1);
  CHECK(bench.flow.close_reason() == CloseReason::killed);
}

TEST_CASE("join: bytes that still went into a pipe or out of it") {
  Bench in;
  in.connected();
  in.promote(Side::client);
  in.abort(CloseReason::killed);
  in.complete(Side::client, OpKind::splice_in, 5000);
  CHECK(in.finish_cancelled() == Verdict::closed);
  CHECK(in.pipes.open() == 0);

  Bench out;
  out.connected();
  out.promote(Side::client);
  out.complete(Side::client, OpKind::splice_in, 5000);
  out.abort(CloseReason::killed);
  out.complete(Side::client, OpKind::splice_out, 5000);
  CHECK(out.finish_cancelled() == Verdict::closed);
  CHECK(out.pipes.open() == 1);  // empty again: kept
}

TEST_CASE("join: nothing new is begun while closing") {
  Bench bench;
  bench.connected();
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  bench.abort(CloseReason::killed);
  bench.flow.on_buffers_available(bench.context);
  CHECK(bench.armed(Side::client).empty());
  CHECK(bench.timers.armed() == 0);
  CHECK(bench.pass_time(std::chrono::hours(2)) == Verdict::ongoing);
  CHECK(bench.armed(Side::backend) == "recv!");
}

}  // namespace millrace::flow::test
