// Relaying by copy: received, queued, sent; back-pressure; a lack of buffers.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "bench.hpp"

namespace millrace::flow::test {

TEST_CASE("copy: what one side says is sent to the other, once") {
  for (const Side from : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    CHECK(bench.receive(from, 300) == Verdict::ongoing);
    CHECK(bench.armed(other(from)) == "recv send");
    CHECK(bench.op(other(from), OpKind::send).length == 300);
    CHECK(bench.armed(from) == "recv");  // multishot: still armed
    CHECK(bench.sent(other(from)) == Verdict::ongoing);
    CHECK(bench.armed(other(from)) == "recv");
    CHECK(bench.io.submitted(OpKind::send) == 1);
    CHECK(bench.flow.bytes_from(from) == 300);
    CHECK(bench.flow.bytes_from(other(from)) == 0);
    CHECK(bench.io.buffers().free_count() == bench.io.buffers().count());  // an idle direction holds no buffer
  }
}

TEST_CASE("copy: what comes while a send is in flight goes with the next one, as slices") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 10);
  for (std::uint32_t length = 20; length <= 40; length += 10) bench.receive(Side::client, length);
  CHECK(bench.op(Side::backend, OpKind::send).length == 10);
  bench.sent(Side::backend);
  const RecordingIo::Op& op = bench.op(Side::backend, OpKind::send);
  CHECK(op.slices.size() == 3);
  CHECK(op.length == 20 + 30 + 40);
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::backend) == "recv");
  CHECK(bench.socket(Side::backend).taken == 100);
}

TEST_CASE("copy: no more slices than a send takes; the rest follows") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 1);
  for (int i = 0; i < 12; ++i) bench.receive(Side::client, 2);
  bench.sent(Side::backend);
  CHECK(bench.op(Side::backend, OpKind::send).slices.size() == io::Io::kMaxSlices);
  bench.sent(Side::backend);
  CHECK(bench.op(Side::backend, OpKind::send).slices.size() == 12 - io::Io::kMaxSlices);
  bench.sent(Side::backend);
  CHECK(bench.socket(Side::backend).taken == 25);
}

TEST_CASE("copy: a short send goes on where it ended") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.receive(Side::client, 100);
  bench.sent(Side::backend, 1);
  CHECK(bench.op(Side::backend, OpKind::send).length == 199);
  bench.sent(Side::backend, 99);  // exactly to the end of a buffer
  CHECK(bench.op(Side::backend, OpKind::send).length == 100);
  bench.sent(Side::backend, 60);
  bench.sent(Side::backend, 40);
  CHECK(bench.socket(Side::backend).taken == 200);
  CHECK(bench.flow.bytes_from(Side::client) == 200);
}

TEST_CASE("copy: both directions at once, each on its own") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.receive(Side::backend, 200);
  CHECK(bench.armed(Side::client) == "recv send");
  CHECK(bench.armed(Side::backend) == "recv send");
  bench.sent(Side::client);
  bench.sent(Side::backend);
  CHECK(bench.totals.bytes_from_client.get() == 100);
  CHECK(bench.totals.bytes_from_backend.get() == 200);
  CHECK(bench.totals.bytes_copied.get() == 300);
  CHECK(bench.totals.bytes_spliced.get() == 0);
}

TEST_CASE("copy: a receive that ends for no reason of the peer's is armed again") {
  for (const int error : std::array{EAGAIN, EINTR, ECANCELED}) {
    Bench bench;
    bench.connected();
    CHECK(bench.complete(Side::backend, OpKind::recv, -error) == Verdict::ongoing);
    CHECK(bench.armed(Side::backend) == "recv");
    CHECK(bench.flow.close_reason() == CloseReason::none);
  }
  Bench bench;
  bench.connected();
  bench.receive_last(Side::client);  // multishot ended with bytes
  CHECK(bench.armed(Side::client) == "recv");
  bench.sent(Side::backend);
}

TEST_CASE("copy: a send that ends for no reason of the peer's is tried again") {
  for (const int error : std::array{EAGAIN, EINTR, ECANCELED}) {
    Bench bench;
    bench.connected();
    bench.receive(Side::client, 100);
    CHECK(bench.complete(Side::backend, OpKind::send, -error) == Verdict::ongoing);
    CHECK(bench.op(Side::backend, OpKind::send).length == 100);
    CHECK(bench.flow.close_reason() == CloseReason::none);
    bench.sent(Side::backend);
  }
}

// ---- back-pressure ----

TEST_CASE("back-pressure: receiving pauses at 16 buffers and goes on at 8") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 15; ++i) bench.receive(Side::client);
  CHECK(bench.armed(Side::client) == "recv");
  bench.receive(Side::client);
  CHECK(bench.armed(Side::client) == "recv!");
  CHECK(bench.totals.receive_pauses.get() == 1);
  bench.receive(Side::client);  // what was on its way still counts
  CHECK(bench.totals.receive_pauses.get() == 1);
  bench.cancelled(Side::client, OpKind::recv);
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);  // the first one alone: 16 wait
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);  // 8 wait
  CHECK(bench.armed(Side::client) == "recv");
  bench.sent(Side::backend);
  CHECK(bench.socket(Side::backend).taken == 1700);
}

TEST_CASE("back-pressure: the other direction goes on") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 16; ++i) bench.receive(Side::client);
  bench.cancelled(Side::client, OpKind::recv);
  bench.receive(Side::backend, 500);
  bench.sent(Side::client);
  CHECK(bench.armed(Side::backend) == "recv send");
  CHECK(bench.socket(Side::client).taken == 500);
}

TEST_CASE("back-pressure: a receive that ends with data instead of the cancel is not lost") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 16; ++i) bench.receive(Side::client, 10);
  bench.receive_last(Side::client, 5);
  CHECK(bench.armed(Side::client).empty());
  for (int i = 0; i < 3; ++i) bench.sent(Side::backend);
  CHECK(bench.socket(Side::backend).taken == 165);
  CHECK(bench.armed(Side::client) == "recv");
}

TEST_CASE("back-pressure: drained before the cancel is done: armed again when it is") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 16; ++i) bench.receive(Side::client);
  for (int i = 0; i < 3; ++i) bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "recv!");
  bench.cancelled(Side::client, OpKind::recv);
  CHECK(bench.armed(Side::client) == "recv");
}

TEST_CASE("back-pressure: with less than half of the buffers free nobody queues more than one") {
  Bench bench;
  bench.connected();
  bench.io.lend(32);
  bench.receive(Side::client);
  CHECK(bench.armed(Side::client) == "recv!");
  bench.cancelled(Side::client, OpKind::recv);
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "recv");
}

TEST_CASE("back-pressure: while buffers are scarce a receive waits until all is sent") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client);
  bench.io.lend(32);
  bench.receive(Side::client);
  bench.receive(Side::client);
  bench.cancelled(Side::client, OpKind::recv);
  bench.sent(Side::backend);  // two wait, which is less than the usual low mark
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "recv");
}

TEST_CASE("back-pressure: buffers are not scarce while half of them are free") {
  Bench bench;
  bench.connected();
  bench.io.lend(31);
  bench.receive(Side::client);
  CHECK(bench.armed(Side::client) == "recv");
  bench.sent(Side::backend);
}

TEST_CASE("back-pressure: a paused side is watched, and what it sent before its reset is delivered") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 16; ++i) bench.receive(Side::client);
  bench.cancelled(Side::client, OpKind::recv);
  bench.pass_time(milliseconds(501));
  REQUIRE(bench.armed(Side::client) == "watch");
  CHECK(bench.complete(Side::client, OpKind::watch, io::kPollError | io::kPollHangup) == Verdict::ongoing);
  CHECK(bench.flow.close_reason() == CloseReason::client_reset);
  CHECK(bench.armed(Side::backend) == "recv! send");  // the client takes nothing more
  bench.cancelled(Side::backend, OpKind::recv);
  bench.sent(Side::backend);
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "recv");  // more of it may wait in the kernel
  bench.receive(Side::client, 50);
  bench.complete(Side::client, OpKind::recv, 0);  // the error was taken by someone else
  bench.sent(Side::backend);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.sent(Side::backend);
  CHECK(bench.closed());
  CHECK(bench.socket(Side::backend).taken == 1650);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
}

TEST_CASE("back-pressure: nothing is polled in vain while both sides are received from") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client);
  bench.sent(Side::backend);
  bench.pass_time(minutes(5));
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.io.submitted(OpKind::watch) == 0);
}

// ---- a lack of buffers ----

TEST_CASE("shortage: a receive without a buffer waits until there are some") {
  for (const Side side : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    CHECK_FALSE(bench.flow.waits_for_buffers());
    CHECK(bench.complete(side, OpKind::recv, -ENOBUFS) == Verdict::ongoing);
    CHECK(bench.flow.waits_for_buffers());
    CHECK(bench.armed(side).empty());
    CHECK(bench.armed(other(side)) == "recv");
    CHECK(bench.totals.buffer_shortages.get() == 1);
    bench.flow.on_buffers_available(bench.context);
    CHECK_FALSE(bench.flow.waits_for_buffers());
    CHECK(bench.armed(side) == "recv");
    bench.receive(side);
    bench.sent(other(side));
  }
}

TEST_CASE("shortage: does not end the relay of what was received, nor of the other direction") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 10);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client).empty());
  bench.receive(Side::backend, 20);
  bench.sent(Side::client);
  CHECK(bench.flow.waits_for_buffers());
  CHECK(bench.socket(Side::backend).taken == 10);
}

TEST_CASE("shortage: may come again, on both sides") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 3; ++i) {
    bench.complete(Side::client, OpKind::recv, -ENOBUFS);
    bench.complete(Side::backend, OpKind::recv, -ENOBUFS);
    bench.flow.on_buffers_available(bench.context);
    CHECK(bench.armed(Side::client) == "recv");
    CHECK(bench.armed(Side::backend) == "recv");
  }
  CHECK(bench.totals.buffer_shortages.get() == 6);
}

TEST_CASE("shortage: armed again only once the queue is short enough") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 12; ++i) bench.receive(Side::client);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  bench.flow.on_buffers_available(bench.context);
  CHECK_FALSE(bench.flow.waits_for_buffers());
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "recv");
  bench.sent(Side::backend);
}

TEST_CASE("shortage: a silent starved side is watched for a reset") {
  Bench bench;
  bench.connected();
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  bench.pass_time(milliseconds(501));
  CHECK(bench.armed(Side::client) == "watch");
}

TEST_CASE("shortage: no buffer left at all: a pipe serves instead") {
  Bench bench;
  bench.connected();
  bench.io.lend(64);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  CHECK_FALSE(bench.flow.waits_for_buffers());
  CHECK(bench.armed(Side::client) == "splice_in");
  CHECK(bench.armed(Side::backend) == "recv");
  CHECK(bench.totals.promotions.get() == 1);
  bench.splice_through(Side::client, 10);
  CHECK(bench.armed(Side::client) == "poll_in");
}

TEST_CASE("shortage: what was received goes before the pipe is used") {
  Bench bench;
  bench.connected();
  bench.receive(Side::client, 100);
  bench.io.lend(63);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend, 40);
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "splice_in");
  bench.splice_through(Side::client, 10);
}

TEST_CASE("shortage: forwarding copy waits and never splices") {
  Setup setup;
  setup.options.forwarding = Forwarding::copy;
  Bench bench(setup);
  bench.connected();
  bench.io.lend(64);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  CHECK(bench.flow.waits_for_buffers());
  CHECK(bench.armed(Side::client).empty());
  CHECK(bench.io.submitted(OpKind::splice_in) == 0);
}

TEST_CASE("shortage: neither a buffer nor a pipe: waits") {
  // it arms a receive at once, which ends with ENOBUFS at once, and so on: a busy loop.
  Setup setup;
  setup.pipes.open = 0;
  Bench bench(setup);
  bench.connected();
  bench.io.lend(64);
  bench.complete(Side::client, OpKind::recv, -ENOBUFS);
  CHECK(bench.flow.waits_for_buffers());
  CHECK(bench.armed(Side::client).empty());
}

}  // namespace millrace::flow::test
