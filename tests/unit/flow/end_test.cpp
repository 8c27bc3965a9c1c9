// How a relay ends by what the peers do: FIN, reset, and what is still on its way then.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <set>
#include <string_view>

#include "bench.hpp"

namespace millrace::flow::test {

namespace {

/// The backend has reset after `length` bytes; they were sent to the client, whose kernel has not got all of it out.
void reset_with_unsent(Bench& bench, std::uint32_t unsent) {
  bench.connected();
  bench.receive(Side::backend, 1000);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  bench.socket(Side::client).unsent = unsent;
  bench.sent(Side::client);
}

/// The backend has answered early and closed while the client still sends: it refuses the rest with EPIPE. The client
/// has not taken all of the answer yet.
void answered_early(Bench& bench, std::uint32_t unsent) {
  bench.connected();
  bench.receive(Side::backend, 1000);
  bench.sent(Side::client);
  bench.fin(Side::backend);
  bench.socket(Side::client).unsent = unsent;
  bench.receive(Side::client, 50);
  bench.complete(Side::backend, OpKind::send, -EPIPE);
  bench.cancelled(Side::client, OpKind::recv);
  REQUIRE(bench.flow.stage() == TcpFlow::Stage::lingering);
}

}  // namespace

// ---- FIN ----

TEST_CASE("FIN: passed on at once when nothing waits; the other direction goes on") {
  for (const Side from : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    CHECK(bench.fin(from) == Verdict::ongoing);
    CHECK(bench.socket(other(from)).fin_sent);
    CHECK_FALSE(bench.socket(from).fin_sent);
    CHECK(bench.armed(from).empty());
    CHECK(bench.armed(other(from)) == "recv");
    CHECK(bench.flow.close_reason() == (from == Side::client ? CloseReason::client_fin : CloseReason::backend_fin));
    for (int i = 0; i < 3; ++i) {
      bench.receive(other(from), 500);
      bench.sent(from);
    }
    CHECK(bench.fin(other(from)) == Verdict::closed);
    CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
    CHECK(bench.socket(Side::backend).closed == io::CloseMode::normal);
    CHECK(bench.socket(from).taken == 1500);
  }
}

TEST_CASE("FIN: the send that it follows is told, so that both leave together") {
  for (const Side from : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.receive(from, 300);
    CHECK_FALSE(bench.op(other(from), OpKind::send).is_last);
    bench.fin(from);
    CHECK(bench.op(other(from), OpKind::send).is_last);
    CHECK_FALSE(bench.socket(other(from)).fin_sent);
    bench.sent(other(from));
    CHECK(bench.socket(other(from)).fin_sent);
  }
}

TEST_CASE("FIN: a send that more bytes follow is not the last one") {
  Bench bench;
  bench.connected();
  bench.receive(Side::backend, 300);
  bench.receive(Side::backend, 200);
  bench.fin(Side::backend);
  CHECK_FALSE(bench.op(Side::client, OpKind::send).is_last);
  bench.sent(Side::client, 100);  // of 300
  CHECK(bench.op(Side::client, OpKind::send).length == 400);
  CHECK(bench.op(Side::client, OpKind::send).is_last);
  bench.sent(Side::client, 50);  // short again: what is left is the last one in its turn
  CHECK(bench.op(Side::client, OpKind::send).is_last);
  bench.sent(Side::client);
  CHECK(bench.socket(Side::client).fin_sent);
}

TEST_CASE("FIN: an end of stream that may be a reset makes no send the last one") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.receive(Side::backend, 300);
  bench.sent(Side::backend, 60);  // it may have met an error
  bench.fin(Side::backend);
  CHECK_FALSE(bench.op(Side::client, OpKind::send).is_last);
  bench.complete(Side::backend, OpKind::send, -EPIPE);
  CHECK_FALSE(bench.op(Side::client, OpKind::send).is_last);
}

TEST_CASE("FIN: only after everything before it was delivered") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 10);
  bench.receive(Side::client, 20);
  bench.fin(Side::client);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.sent(Side::backend);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.sent(Side::backend, 19);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.sent(Side::backend, 1);
  CHECK(bench.socket(Side::backend).fin_sent);
}

TEST_CASE("FIN: of both sides: closed when both are delivered, with no FIN of its own before") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 10);
  bench.fin(Side::client);
  bench.fin(Side::backend);
  CHECK(bench.socket(Side::client).fin_sent);  // the backend's was due first
  CHECK(bench.sent(Side::backend) == Verdict::closed);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);  // close says it
  CHECK(bench.flow.close_reason() == CloseReason::client_fin);
}

TEST_CASE("FIN: an orderly end does not wait for the kernel to send the rest") {
  Bench bench;
  bench.connected();
  bench.receive(Side::backend, 100);
  bench.sent(Side::client);
  bench.socket(Side::client).unsent = 100;
  bench.fin(Side::client);
  CHECK(bench.fin(Side::backend) == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
}

TEST_CASE("FIN: cannot be passed on, as the other side is reset: the flow ends when that is read") {
  Bench bench;
  bench.connected();
  bench.socket(Side::backend).shutdown_error = ENOTCONN;
  CHECK(bench.fin(Side::client) == Verdict::ongoing);
  CHECK(bench.complete(Side::backend, OpKind::recv, -ECONNRESET) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

// ---- reset ----

TEST_CASE("reset: one side's is passed on to the other as a reset") {
  for (const Side side : {Side::client, Side::backend}) {
    for (const int error : std::array{ECONNRESET, ETIMEDOUT, EHOSTUNREACH}) {
      Bench bench;
      bench.connected();
      CHECK(bench.complete(side, OpKind::recv, -error) == Verdict::ongoing);
      CHECK(bench.armed(other(side)) == "recv!");
      CHECK(bench.cancelled(other(side), OpKind::recv) == Verdict::closed);
      CHECK(bench.flow.close_reason() ==
            (side == Side::client ? CloseReason::client_reset : CloseReason::backend_reset));
      CHECK(bench.socket(side).closed == io::CloseMode::normal);
      CHECK(bench.socket(other(side)).closed == io::CloseMode::reset);
      CHECK_FALSE(bench.socket(other(side)).fin_sent);
    }
  }
}

TEST_CASE("reset: what came before it is delivered first") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 12; ++i) bench.receive(Side::backend, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  bench.cancelled(Side::client, OpKind::recv);
  CHECK_FALSE(bench.closed());
  bench.sent(Side::client);
  bench.sent(Side::client);
  CHECK_FALSE(bench.closed());
  CHECK(bench.sent(Side::client) == Verdict::closed);
  CHECK(bench.socket(Side::client).taken == 1200);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("reset: what was meant for the side that reset is dropped, once its send has ended") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.receive(Side::client, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  CHECK(bench.io.buffers().queued_count() == 2);  // the kernel may still read them
  CHECK(bench.armed(Side::client) == "recv!");
  bench.complete(Side::backend, OpKind::send, -ECONNRESET);
  CHECK(bench.cancelled(Side::client, OpKind::recv) == Verdict::closed);
  CHECK(bench.io.buffers().queued_count() == 0);
}

TEST_CASE("reset: bytes that still come for a side that takes no more are dropped") {
  Bench bench;
  bench.connected();
  bench.receive(Side::backend, 100);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  REQUIRE(bench.armed(Side::client) == "recv! send");
  bench.receive(Side::client, 100);
  CHECK(bench.io.buffers().queued_count() == 1);
  CHECK(bench.receive_last(Side::client, 100) == Verdict::ongoing);
  CHECK(bench.armed(Side::client) == "send");
  CHECK(bench.sent(Side::client) == Verdict::closed);
}

TEST_CASE("reset: the other side's is not sent before its kernel has got everything out") {
  Bench bench;
  reset_with_unsent(bench, 1000);
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  CHECK(bench.armed(Side::client) == "recv! watch");
  bench.cancelled(Side::client, OpKind::recv);
  bench.pass_time(seconds(1));
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  bench.socket(Side::client).unsent = 0;
  bench.pass_time(milliseconds(12));
  CHECK(bench.armed(Side::client) == "watch!");
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
}

TEST_CASE("lingering: the backend likewise gets all that the client said before its reset") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 1000);
  bench.complete(Side::client, OpKind::recv, -ECONNRESET);
  bench.socket(Side::backend).unsent = 1000;
  bench.sent(Side::backend);
  bench.cancelled(Side::backend, OpKind::recv);
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  CHECK(bench.armed(Side::client).empty());
  CHECK(bench.armed(Side::backend) == "watch");
  bench.socket(Side::backend).unsent = 0;
  bench.pass_time(milliseconds(12));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
  CHECK(bench.flow.close_reason() == CloseReason::client_reset);
}

TEST_CASE("lingering: also before the reset of a backend that has finished") {
  Bench bench;
  bench.connected();
  bench.fin(Side::backend);
  bench.receive(Side::client, 1000);
  bench.complete(Side::client, OpKind::recv, -ECONNRESET);
  bench.socket(Side::backend).unsent = 1;
  bench.sent(Side::backend);
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  bench.socket(Side::backend).unsent = 0;
  bench.pass_time(milliseconds(12));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
}

TEST_CASE("lingering: patience ends half_close_timeout after the last progress") {
  Bench bench;
  reset_with_unsent(bench, 1000);
  for (int i = 0; i < 5; ++i) {
    bench.pass_time(seconds(50));
    CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
    bench.socket(Side::client).unsent -= 100;
  }
  bench.pass_time(seconds(59));
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  bench.pass_time(seconds(2));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
}

TEST_CASE("lingering: patience is never endless, nor above a minute") {
  for (const Nanos configured : std::array<Nanos, 2>{Nanos(0), std::chrono::hours(2)}) {
    Setup setup;
    setup.options.half_close_timeout = configured;
    Bench bench(setup);
    reset_with_unsent(bench, 1000);
    bench.pass_time(seconds(59));
    CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
    bench.pass_time(seconds(2));
    CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  }
}

TEST_CASE("lingering: a short half_close_timeout is obeyed") {
  Setup setup;
  setup.options.half_close_timeout = milliseconds(200);
  Bench bench(setup);
  reset_with_unsent(bench, 1000);
  bench.pass_time(milliseconds(250));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
}

TEST_CASE("lingering: ends when the peer resets") {
  Bench bench;
  reset_with_unsent(bench, 1000);
  bench.complete(Side::client, OpKind::watch, io::kPollError | io::kPollHangup);
  bench.pass_time(milliseconds(12));
  CHECK(bench.flow.stage() == TcpFlow::Stage::closing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
}

TEST_CASE("lingering: bytes and a lack of buffers no longer matter") {
  Bench bench;
  reset_with_unsent(bench, 1000);
  bench.receive(Side::client, 100);
  CHECK(bench.io.buffers().queued_count() == 0);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  bench.flow.on_buffers_available(bench.context);
  CHECK_FALSE(bench.flow.waits_for_buffers());
  CHECK(bench.armed(Side::client) == "watch");
}

TEST_CASE("lingering: an abort ends it, and the reason stays the first one") {
  Bench bench;
  reset_with_unsent(bench, 1000);
  CHECK(bench.abort(CloseReason::killed) == Verdict::ongoing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE(
    "reset: told to a send: what is received from that side is looked at again, as it may not be told a second time") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.receive(other(side), 10);
    bench.complete(side, OpKind::send, -ECONNRESET);
    CHECK(bench.armed(side) == "recv!");
    bench.receive_last(side, 20);  // its last words, which were on their way
    CHECK(bench.armed(side) == "recv");
    bench.sent(other(side));
    CHECK(bench.armed(side) == "recv");  // once is enough
    bench.complete(side, OpKind::recv, 0);
    bench.finish_cancelled();
    CHECK(bench.closed());
    CHECK(bench.socket(other(side)).closed == io::CloseMode::reset);
  }
}

TEST_CASE("reset: told to a send, reading then ends like after a FIN: still a reset") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.receive(other(side), 100);
    CHECK(bench.complete(side, OpKind::send, -ECONNRESET) == Verdict::ongoing);
    CHECK(bench.armed(side) == "recv!");  // what it said before is still read
    bench.receive(side, 30);
    bench.fin(side);
    CHECK_FALSE(bench.socket(other(side)).fin_sent);
    bench.sent(other(side));
    CHECK(bench.finish_cancelled() == Verdict::closed);
    CHECK(bench.socket(other(side)).taken == 30);
    CHECK(bench.socket(other(side)).closed == io::CloseMode::reset);
    CHECK(bench.flow.close_reason() == (side == Side::client ? CloseReason::client_reset : CloseReason::backend_reset));
  }
}

TEST_CASE("reset: swallowed by a short send: the end of stream after it is settled by the next send") {
  struct Case {
    int next_send;
    CloseReason reason;
    io::CloseMode client;
  };
  for (const Case& c : std::array<Case, 3>{{{60, CloseReason::backend_fin, io::CloseMode::normal},
                                            {-EPIPE, CloseReason::backend_reset, io::CloseMode::reset},
                                            {-ECONNRESET, CloseReason::backend_reset, io::CloseMode::reset}}}) {
    Bench bench;
    bench.connected();
    bench.receive(Side::client, 100);
    bench.sent(Side::backend, 40);
    bench.fin(Side::backend);
    CHECK_FALSE(bench.socket(Side::client).fin_sent);
    CHECK(bench.armed(Side::backend) == "send");
    bench.complete(Side::backend, OpKind::send, c.next_send);
    CHECK(bench.socket(Side::client).fin_sent == (c.reason == CloseReason::backend_fin));
    CHECK(bench.armed(Side::backend).empty());
    if (c.reason == CloseReason::backend_fin) bench.fin(Side::client);
    bench.finish_cancelled();
    CHECK(bench.closed());
    CHECK(bench.flow.close_reason() == c.reason);
    CHECK(bench.socket(Side::client).closed == c.client);
  }
}

TEST_CASE("reset: swallowed by a short send: another short one settles nothing, a splice does likewise") {
  Bench copied;
  copied.connected();
  copied.receive(Side::client, 100);
  copied.sent(Side::backend, 40);
  copied.fin(Side::backend);
  copied.sent(Side::backend, 20);
  CHECK_FALSE(copied.socket(Side::client).fin_sent);
  copied.sent(Side::backend, 40);
  CHECK(copied.socket(Side::client).fin_sent);

  Bench spliced;
  spliced.connected();
  spliced.promote(Side::client);
  spliced.complete(Side::client, OpKind::splice_in, 100'000);
  spliced.complete(Side::client, OpKind::splice_out, 40'000);
  spliced.fin(Side::backend);
  CHECK_FALSE(spliced.socket(Side::client).fin_sent);
  spliced.complete(Side::client, OpKind::splice_out, -EAGAIN);  // it was short because the socket was full
  CHECK(spliced.socket(Side::client).fin_sent);
}

TEST_CASE("reset: of a side that had sent FIN before: EPIPE, and an orderly end") {
  Bench bench;
  bench.connected();
  bench.receive(Side::backend, 200);
  bench.fin(Side::backend);
  bench.receive(Side::client, 100);
  bench.complete(Side::backend, OpKind::send, -EPIPE);
  bench.sent(Side::client);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::backend_fin);
  CHECK(bench.socket(Side::client).taken == 200);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
}

TEST_CASE("reset: EPIPE first, and the FIN is read afterwards: an orderly end") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.complete(Side::backend, OpKind::send, -EPIPE);
  CHECK(bench.armed(Side::client) == "recv!");
  bench.cancelled(Side::client, OpKind::recv);
  bench.receive(Side::backend, 200);
  bench.fin(Side::backend);
  CHECK(bench.sent(Side::client) == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::backend_fin);
  CHECK(bench.socket(Side::client).fin_sent);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
}

TEST_CASE("early answer: lingers until the client has it, for an early close would reset it") {
  Bench bench;
  answered_early(bench, 1000);
  CHECK(bench.socket(Side::client).fin_sent);
  bench.pass_time(seconds(2));
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
  bench.socket(Side::client).unsent = 0;
  bench.pass_time(milliseconds(12));
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
  CHECK(bench.flow.close_reason() == CloseReason::backend_fin);
}

TEST_CASE("early answer: the client's FIN (a hang-up, no error) is no reset") {
  Bench bench;
  answered_early(bench, 1000);
  bench.complete(Side::client, OpKind::watch, io::kPollHangup);
  bench.socket(Side::client).unsent = 0;
  bench.pass_time(milliseconds(100));
  CHECK(bench.closed());
  CHECK(bench.flow.close_reason() == CloseReason::backend_fin);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::normal);
}

TEST_CASE("early answer: the client's FIN does not end the lingering") {
  // with bytes of the client unread, the close resets it while it still reads the answer.
  Bench bench;
  answered_early(bench, 1000);
  bench.complete(Side::client, OpKind::watch, io::kPollHangup);
  bench.pass_time(milliseconds(100));
  CHECK(bench.flow.stage() == TcpFlow::Stage::lingering);
}

TEST_CASE("close reasons: both sides refuse with EPIPE: there is a reason") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client);
  bench.receive(Side::backend);
  bench.complete(Side::backend, OpKind::send, -EPIPE);
  bench.complete(Side::client, OpKind::send, -EPIPE);
  bench.finish_cancelled();
  CHECK(bench.closed());
  CHECK(bench.flow.close_reason() == CloseReason::backend_fin);
}

TEST_CASE("close reasons: a reset says more than the FIN before it, nothing else overrides") {
  Bench bench;
  bench.connected();
  bench.fin(Side::client);
  CHECK(bench.flow.close_reason() == CloseReason::client_fin);
  bench.receive(Side::backend, 10);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  bench.complete(Side::client, OpKind::send, -ECONNRESET);
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  CHECK(bench.closed());
}

TEST_CASE("close reasons: every one has a name of its own") {
  std::set<std::string_view> names;
  for (unsigned i = 0; i < kCloseReasons; ++i) names.insert(name(static_cast<CloseReason>(i)));
  CHECK(names.size() == kCloseReasons);
  CHECK(name(CloseReason::client_reset) == "client_reset");
  CHECK(name(CloseReason::killed) == "killed");
  CHECK(name(CloseReason::none) == "none");
}

// ---- TCP_INFO ----

namespace {

/// A flow whose peers answer with something, which then ends; after `age`, and `buffers` full ones.
void end_with_info(Bench& bench, Nanos age, std::uint32_t buffers) {
  bench.connected();
  bench.socket(Side::client).info = {.known = true, .rtt_us = 11, .retransmits = 1};
  bench.socket(Side::backend).info = {.known = true, .rtt_us = 22, .retransmits = 2};
  for (std::uint32_t i = 0; i < buffers; ++i) {
    bench.receive(Side::client, Bench::kBuffer);
    bench.sent(Side::backend);
    bench.receive(Side::backend, 1);
    bench.sent(Side::client);
  }
  bench.jump(age);
  bench.fin(Side::client);
  REQUIRE(bench.fin(Side::backend) == Verdict::closed);
}

}  // namespace

TEST_CASE("TCP_INFO: asked for at the end of flows that are worth it") {
  struct Case {
    bool wanted;
    Nanos age;
    std::uint32_t buffers;
    bool known;
  };
  for (const Case& c : {Case{false, milliseconds(999), 3, false}, Case{true, milliseconds(0), 0, true},
                        Case{false, seconds(1), 0, true}, Case{false, milliseconds(0), 4, true}}) {
    Setup setup;
    setup.options.tcp_info = c.wanted;
    Bench bench(setup);
    end_with_info(bench, c.age, c.buffers);
    CHECK(bench.context.tcp_info(Side::client).known == c.known);
    CHECK(bench.context.tcp_info(Side::backend).known == c.known);
    CHECK(bench.context.tcp_info(Side::client).rtt_us == (c.known ? 11 : 0));
    CHECK(bench.context.tcp_info(Side::backend).retransmits == (c.known ? 2 : 0));
  }
}

TEST_CASE("TCP_INFO: of a backend only when there was one") {
  Setup setup;
  setup.options.tcp_info = true;
  Bench bench(setup);
  bench.connect();
  bench.socket(Side::client).info = {.known = true, .rtt_us = 11};
  bench.socket(Side::backend).info = {.known = true, .rtt_us = 22};
  bench.abort(CloseReason::killed);
  bench.finish_cancelled();
  CHECK(bench.context.tcp_info(Side::client).known);
  CHECK_FALSE(bench.context.tcp_info(Side::backend).known);
}

TEST_CASE("first byte: when the backend's answer began to go to the client") {
  Bench bench;
  bench.connected();
  CHECK(bench.flow.first_byte() == Instant::min());
  bench.receive(Side::client);
  bench.sent(Side::backend);
  CHECK(bench.flow.first_byte() == Instant::min());
  bench.jump(milliseconds(7));
  bench.receive(Side::backend);
  bench.sent(Side::client);
  const Instant answered = bench.flow.first_byte();
  CHECK(answered - bench.flow.started() == milliseconds(7));
  bench.jump(milliseconds(7));
  bench.receive(Side::backend);
  bench.sent(Side::client);
  CHECK(bench.flow.first_byte() == answered);
  CHECK_FALSE(bench.flow.spliced());
}

}  // namespace millrace::flow::test
