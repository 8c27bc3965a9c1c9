// From accept to the first byte: connecting, its failures, waiting.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "bench.hpp"

namespace millrace::flow::test {

TEST_CASE("connect: opens a socket towards the backend and connects it") {
  Bench bench;
  bench.source = net::Endpoint::ipv4(0x0a0000fe, 0);
  CHECK(bench.flow.stage() == TcpFlow::Stage::waiting);
  CHECK(bench.flow.client_fd() == RecordingIo::kClient);
  CHECK(bench.flow.backend_fd() == Fd::none);
  bench.connect();
  CHECK(bench.flow.stage() == TcpFlow::Stage::connecting);
  CHECK(bench.flow.backend_fd() == bench.io.backend);
  CHECK(bench.socket(Side::backend).source == bench.source);
  CHECK_FALSE(bench.socket(Side::backend).keepalive);
  CHECK(bench.op(Side::backend, OpKind::connect).remote == bench.remote);
  CHECK(bench.armed(Side::backend) == "connect");
  CHECK(bench.armed(Side::client).empty());  // nothing of the client's is read before there is somewhere to send it
}

TEST_CASE("keepalive: set on the backend's socket once the connection has lasted, when the listener wants it") {
  for (const bool wanted : {true, false}) {
    Setup setup;
    setup.options.keepalive = wanted;
    Bench bench(setup);
    bench.connected();
    bench.pass_time(std::chrono::seconds(4));
    CHECK_FALSE(bench.socket(Side::backend).keepalive);
    bench.pass_time(std::chrono::seconds(2));
    CHECK(bench.socket(Side::backend).keepalive == wanted);
    bench.pass_time(std::chrono::seconds(20));  // once
  }
}

TEST_CASE("keepalive: after a slow connect at once") {
  Bench bench;
  bench.pass_time(std::chrono::seconds(8));
  bench.connected();
  bench.pass_time(std::chrono::milliseconds(2));
  CHECK(bench.socket(Side::backend).keepalive);
}

TEST_CASE("connect: once connected both sides are received from, the client at once") {
  Bench bench;
  bench.connected();
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);
  CHECK(bench.flow.connect_error() == 0);
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.armed(Side::backend) == "recv");
  CHECK(bench.op(Side::client, OpKind::recv).fd == bench.flow.client_fd());
  CHECK(bench.op(Side::backend, OpKind::recv).fd == bench.flow.backend_fd());
}

TEST_CASE("connect: refused: the backend's socket is closed, and another connect works") {
  Bench bench;
  for (const int error : std::array{ECONNREFUSED, EHOSTUNREACH, EADDRNOTAVAIL}) {
    bench.connect();
    CHECK(bench.complete(Side::backend, OpKind::connect, -error) == Verdict::connect_failed);
    CHECK(bench.flow.connect_error() == error);
    CHECK(bench.flow.stage() == TcpFlow::Stage::waiting);
    CHECK(bench.flow.backend_fd() == Fd::none);
    CHECK(bench.socket(Side::backend).closed.has_value());
    CHECK_FALSE(bench.socket(Side::client).closed);
    CHECK(bench.flow.close_reason() == CloseReason::none);
  }
  bench.connected();
  CHECK(bench.flow.connect_error() == 0);
  bench.receive(Side::client);
  bench.sent(Side::backend);
}

TEST_CASE("connect: no socket to be had: the errno, and nothing has changed") {
  Bench bench;
  for (const int error : std::array{EMFILE, EADDRNOTAVAIL, ENOBUFS}) {
    bench.io.open_error = error;
    CHECK(bench.flow.connect(bench.context, bench.remote, bench.source, Bench::kConnectTimeout) == error);
    CHECK(bench.flow.stage() == TcpFlow::Stage::waiting);
    CHECK(bench.flow.backend_fd() == Fd::none);
    CHECK(bench.io.in_flight().empty());
    CHECK(bench.timers.armed() == 0);
  }
  bench.io.open_error = 0;
  bench.connected();
}

TEST_CASE("connect: too slow: cancelled, and told as ETIMEDOUT") {
  Bench bench;
  bench.connect();
  CHECK(bench.pass_time(Bench::kConnectTimeout - milliseconds(1)) == Verdict::ongoing);
  CHECK(bench.armed(Side::backend) == "connect");
  CHECK(bench.pass_time(milliseconds(2)) == Verdict::ongoing);
  CHECK(bench.armed(Side::backend) == "connect!");
  CHECK_FALSE(bench.socket(Side::backend).closed);  // a join: not before the connect has ended
  CHECK(bench.cancelled(Side::backend, OpKind::connect) == Verdict::connect_failed);
  CHECK(bench.flow.connect_error() == ETIMEDOUT);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);  // it may stand all the same by now
}

TEST_CASE("connect: an earlier timeout does not colour the next failure") {
  Bench bench;
  bench.connect();
  bench.pass_time(Bench::kConnectTimeout + milliseconds(1));
  bench.cancelled(Side::backend, OpKind::connect);
  bench.connect();
  bench.complete(Side::backend, OpKind::connect, -ECONNREFUSED);
  CHECK(bench.flow.connect_error() == ECONNREFUSED);
}

TEST_CASE("connect: success after the cancel counts") {
  Bench bench;
  bench.connect();
  bench.pass_time(Bench::kConnectTimeout + milliseconds(1));
  REQUIRE(bench.armed(Side::backend) == "connect!");
  CHECK(bench.complete(Side::backend, OpKind::connect, 0) == Verdict::connected);
  CHECK(bench.flow.connect_error() == 0);
  CHECK(bench.armed(Side::client) == "recv watch");
  CHECK(bench.armed(Side::backend) == "recv");
}

TEST_CASE("connect: the client is watched after 20 ms, not before: most connects are over by then") {
  Bench bench;
  bench.connect();
  bench.pass_time(milliseconds(19));
  CHECK(bench.armed(Side::client).empty());
  bench.pass_time(milliseconds(2));
  CHECK(bench.armed(Side::client) == "watch");
  // A hang-up only: neither bytes nor FIN of the client are a reason to stop.
  CHECK(bench.op(Side::client, OpKind::watch).poll_for == io::PollFor::hangup);
  CHECK(bench.op(Side::client, OpKind::watch).fd == bench.flow.client_fd());
}

TEST_CASE("connect: a fast one watches nobody") {
  Bench bench;
  bench.connected();
  bench.pass_time(seconds(10));
  CHECK(bench.io.submitted(OpKind::watch) == 0);
}

TEST_CASE("connect: a client's reset meanwhile ends the flow, once the connect has ended") {
  Bench bench;
  bench.connect();
  bench.pass_time(milliseconds(21));
  CHECK(bench.complete(Side::client, OpKind::watch, io::kPollError | io::kPollHangup) == Verdict::ongoing);
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.armed(Side::backend) == "connect!");
  CHECK(bench.cancelled(Side::backend, OpKind::connect) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::client_reset);
  CHECK(bench.socket(Side::client).closed.has_value());
  CHECK(bench.socket(Side::backend).closed.has_value());
}

TEST_CASE("connect: a client's reset, and the connect succeeds all the same: closed") {
  Bench bench;
  bench.connect();
  bench.pass_time(milliseconds(21));
  bench.complete(Side::client, OpKind::watch, io::kPollError | io::kPollHangup);
  CHECK(bench.complete(Side::backend, OpKind::connect, 0) == Verdict::closed);
  CHECK(bench.io.submitted(OpKind::recv) == 0);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);  // it must not look like an empty stream
}

TEST_CASE("connect: a watch that ends without news changes nothing") {
  Bench bench;
  bench.connect();
  bench.pass_time(milliseconds(21));
  CHECK(bench.complete(Side::client, OpKind::watch, -ECANCELED) == Verdict::ongoing);
  CHECK(bench.flow.stage() == TcpFlow::Stage::connecting);
  CHECK(bench.complete(Side::backend, OpKind::connect, 0) == Verdict::connected);
}

TEST_CASE("connect: the watch goes on through a retry, and is not doubled") {
  Bench bench;
  bench.connect();
  bench.pass_time(milliseconds(21));
  bench.complete(Side::backend, OpKind::connect, -ECONNREFUSED);
  bench.connect();
  bench.pass_time(milliseconds(50));
  CHECK(bench.armed(Side::client) == "watch");
  CHECK(bench.io.submitted(OpKind::watch) == 1);
}

TEST_CASE("wait: answers retry when it is over, then connects") {
  Bench bench;
  bench.flow.wait(bench.context, bench.context.now + seconds(1));
  CHECK(bench.pass_time(milliseconds(999)) == Verdict::ongoing);
  CHECK(bench.pass_time(milliseconds(2)) == Verdict::retry);
  CHECK(bench.flow.stage() == TcpFlow::Stage::waiting);
  CHECK(bench.pass_time(seconds(60)) == Verdict::ongoing);  // told once
  bench.connected();
  CHECK(bench.armed(Side::client) == "recv watch");
}

TEST_CASE("wait: without an end, until connect is called") {
  Bench bench;
  bench.flow.wait(bench.context, kNever);
  CHECK(bench.pass_time(std::chrono::hours(24)) == Verdict::ongoing);
  bench.connected();
}

TEST_CASE("wait: a client that resets is noticed, and the flow closes at once") {
  Bench bench;
  bench.flow.wait(bench.context, kNever);
  bench.pass_time(milliseconds(21));
  REQUIRE(bench.armed(Side::client) == "watch");
  CHECK(bench.complete(Side::client, OpKind::watch, io::kPollError | io::kPollHangup) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::client_reset);
}

TEST_CASE("connect: max_duration counts from the accept and ends the attempt") {
  Setup setup;
  setup.options.max_duration = seconds(2);
  Bench bench(setup);
  bench.pass_time(seconds(1));
  bench.connect();
  bench.pass_time(milliseconds(990));
  CHECK(bench.flow.stage() == TcpFlow::Stage::connecting);
  bench.pass_time(milliseconds(20));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::max_duration);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);  // it was never answered
}

TEST_CASE("connect: idle_timeout is for relaying; connecting has its own limit") {
  Setup setup;
  setup.options.idle_timeout = seconds(1);
  Bench bench(setup);
  bench.connect();
  bench.pass_time(seconds(3));
  CHECK(bench.flow.stage() == TcpFlow::Stage::connecting);
  CHECK(bench.complete(Side::backend, OpKind::connect, 0) == Verdict::connected);
  bench.pass_time(milliseconds(990));
  CHECK(bench.flow.stage() == TcpFlow::Stage::relaying);  // idle since it was connected, not since it was accepted
}

}  // namespace millrace::flow::test
