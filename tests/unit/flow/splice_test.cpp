// Relaying by splice: promotion, the steps, and back to copy.

#include <doctest/doctest.h>

#include <array>
#include <cerrno>

#include "bench.hpp"

namespace millrace::flow::test {

namespace {

constexpr std::uint32_t kMebibyte = 1024 * 1024;

Setup forwarding(Forwarding way) {
  Setup setup;
  setup.options.forwarding = way;
  return setup;
}

}  // namespace

// ---- promotion ----

TEST_CASE("promotion: after 32 KiB one way") {
  for (const Side from : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.bulk(from, 1);
    CHECK(bench.armed(from) == "recv");
    bench.bulk(from, 1);
    CHECK(bench.armed(from) == "recv!");
    bench.cancelled(from, OpKind::recv);
    CHECK(bench.armed(from) == "splice_in");
    CHECK(bench.armed(other(from)) == "recv");
    CHECK(bench.totals.promotions.get() == 1);
    CHECK(bench.totals.receive_pauses.get() == 0);  // that was no back-pressure
    const RecordingIo::Op& op = bench.op(from, OpKind::splice_in);
    CHECK(op.length == kMebibyte);
    bench.complete(from, OpKind::splice_in, -EAGAIN);
  }
}

TEST_CASE("promotion: what was received meanwhile is sent before the first splice") {
  Bench bench;
  bench.connected();
  bench.bulk(Side::client, 1);
  bench.receive(Side::client, Bench::kBuffer);
  CHECK(bench.armed(Side::client) == "recv!");
  bench.receive(Side::client, 3000);
  bench.receive_last(Side::client, 5000);
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client).empty());
  bench.sent(Side::backend);
  CHECK(bench.armed(Side::client) == "splice_in");
  bench.splice_through(Side::client, 100'000);
}

TEST_CASE("promotion: FIN instead of the cancel ends the direction as usual") {
  Bench bench;
  bench.connected();
  bench.bulk(Side::client, 2);
  bench.fin(Side::client);
  CHECK(bench.armed(Side::client).empty());
  CHECK(bench.socket(Side::backend).fin_sent);
  CHECK(bench.totals.promotions.get() == 0);
}

TEST_CASE("promotion: not while turns alternate") {
  Bench bench;
  bench.connected();
  for (int turn = 0; turn < 10; ++turn) {
    bench.bulk(Side::client, 1);
    bench.receive(Side::backend, 1);  // an answer, however short
    bench.sent(Side::client);
  }
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.totals.promotions.get() == 0);
}

TEST_CASE("promotion: not for small receives") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 1000; ++i) {
    bench.receive(Side::client, 2047);
    bench.sent(Side::backend);
  }
  CHECK(bench.armed(Side::client) == "recv");
  bench.bulk(Side::client, 1);
  bench.receive(Side::client, 2047);  // one small receive begins anew
  bench.sent(Side::backend);
  bench.bulk(Side::client, 1);
  CHECK(bench.armed(Side::client) == "recv");
}

TEST_CASE("promotion: receives of 2 KiB are bulk") {
  Bench bench;
  bench.connected();
  for (int i = 0; i < 15; ++i) {
    bench.receive(Side::client, 2048);
    bench.sent(Side::backend);
  }
  CHECK(bench.armed(Side::client) == "recv");
  bench.receive(Side::client, 2048);
  CHECK(bench.armed(Side::client) == "recv!");
  bench.sent(Side::backend);
}

TEST_CASE("forwarding copy never splices") {
  Bench bench(forwarding(Forwarding::copy));
  bench.connected();
  bench.bulk(Side::client, 100);
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.io.submitted(OpKind::splice_in) == 0);
  CHECK(bench.totals.promotions.get() == 0);
}

TEST_CASE("forwarding splice begins with it, holds no pipe before bytes come, and stays with it") {
  Bench bench(forwarding(Forwarding::splice));
  bench.connected();
  CHECK(bench.armed(Side::client) == "poll_in");
  CHECK(bench.armed(Side::backend) == "poll_in");
  CHECK(bench.pipes.taken() == 0);
  for (int i = 0; i < 50; ++i) {
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
    bench.splice_through(Side::client, 1);
  }
  CHECK(bench.armed(Side::client) == "poll_in");
  CHECK(bench.io.submitted(OpKind::recv) == 0);
  CHECK(bench.totals.bytes_spliced.get() == 50);
}

TEST_CASE("forwarding splice without a pipe copies, and tries again with bulk") {
  Setup setup = forwarding(Forwarding::splice);
  setup.pipes.open = 0;
  Bench bench(setup);
  bench.connected();
  bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  CHECK(bench.armed(Side::client) == "recv");
  bench.bulk(Side::client, 2);
  CHECK(bench.armed(Side::client) == "recv!");
}

// ---- the steps ----

TEST_CASE("splice: into the pipe, out of it, and again while much comes") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  const Fd write_end = bench.op(Side::client, OpKind::splice_in).to;
  CHECK(bench.op(Side::client, OpKind::splice_in).fd == bench.flow.client_fd());
  bench.complete(Side::client, OpKind::splice_in, 200'000);
  CHECK(bench.armed(Side::client) == "splice_out");
  CHECK(bench.op(Side::client, OpKind::splice_out).to == bench.flow.backend_fd());
  CHECK(bench.op(Side::client, OpKind::splice_out).length == 200'000);
  bench.complete(Side::client, OpKind::splice_out, 200'000);
  CHECK(bench.armed(Side::client) == "splice_in");  // after a move of 64 KiB more is likely to wait
  CHECK(bench.op(Side::client, OpKind::splice_in).to == write_end);
  bench.splice_through(Side::client, 64 * 1024);
  CHECK(bench.armed(Side::client) == "splice_in");
  bench.splice_through(Side::client, 64 * 1024 - 1);
  CHECK(bench.armed(Side::client) == "poll_in");
  CHECK(bench.totals.bytes_spliced.get() == 200'000 + 128 * 1024 - 1);
  CHECK(bench.flow.bytes_from(Side::client) == 2 * Bench::kBuffer + bench.totals.bytes_spliced.get());
  CHECK(bench.totals.bytes_from_client.get() == bench.flow.bytes_from(Side::client));
}

TEST_CASE("splice: nothing to read: polls, then goes on") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, -EAGAIN);
  CHECK(bench.armed(Side::client) == "poll_in");
  CHECK(bench.op(Side::client, OpKind::poll_in).fd == bench.flow.client_fd());
  bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  CHECK(bench.armed(Side::client) == "splice_in");
  bench.complete(Side::client, OpKind::splice_in, -EAGAIN);
  CHECK(bench.armed(Side::client) == "poll_in");
}

TEST_CASE("splice: a poll that ends without news is armed again") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, -EAGAIN);
  bench.complete(Side::client, OpKind::poll_in, -ECANCELED);
  CHECK(bench.armed(Side::client) == "poll_in");
}

TEST_CASE("splice: moves out of the pipe piece by piece") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  bench.complete(Side::client, OpKind::splice_out, 1);
  CHECK(bench.op(Side::client, OpKind::splice_out).length == 99'999);
  bench.complete(Side::client, OpKind::splice_out, 60'000);
  CHECK(bench.op(Side::client, OpKind::splice_out).length == 39'999);
  bench.complete(Side::client, OpKind::splice_out, 39'999);
  CHECK(bench.armed(Side::client) == "splice_in");
}

TEST_CASE("splice: no room: polls the other side, then goes on with the rest") {
  for (const Side from : {Side::client, Side::backend}) {
    Bench bench;
    bench.connected();
    bench.promote(from);
    bench.complete(from, OpKind::splice_in, 100'000);
    bench.complete(from, OpKind::splice_out, 30'000);
    bench.complete(from, OpKind::splice_out, -EAGAIN);
    CHECK(bench.armed(from).empty());  // back-pressure: nothing is read meanwhile
    CHECK(bench.armed(other(from)) == "recv poll_out");
    CHECK(bench.op(other(from), OpKind::poll_out).poll_for == io::PollFor::writable);
    bench.complete(other(from), OpKind::poll_out, io::kPollOut);
    CHECK(bench.op(from, OpKind::splice_out).length == 70'000);
    bench.complete(from, OpKind::splice_out, 70'000);
    CHECK(bench.armed(from) == "splice_in");
  }
}

TEST_CASE("splice: the poll for room may end early, and room may be gone again") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
  bench.complete(Side::backend, OpKind::poll_out, -ECANCELED);
  CHECK(bench.armed(Side::backend) == "recv poll_out");
  bench.complete(Side::backend, OpKind::poll_out, io::kPollOut);
  bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
  CHECK(bench.armed(Side::backend) == "recv poll_out");
}

TEST_CASE("splice: EINTR and ECANCELED are no facts") {
  for (const int error : std::array{EINTR, ECANCELED}) {
    Bench bench;
    bench.connected();
    bench.promote(Side::client);
    bench.complete(Side::client, OpKind::splice_in, -error);
    CHECK(bench.armed(Side::client) == "poll_in");
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
    bench.complete(Side::client, OpKind::splice_in, 10);
    bench.complete(Side::client, OpKind::splice_out, -error);
    bench.complete(Side::backend, OpKind::poll_out, io::kPollOut);
    bench.complete(Side::client, OpKind::splice_out, 10);
    CHECK(bench.flow.close_reason() == CloseReason::none);
  }
}

TEST_CASE("splice: both directions at once, each with its own pipe") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.promote(Side::backend);
  CHECK(bench.op(Side::client, OpKind::splice_in).to != bench.op(Side::backend, OpKind::splice_in).to);
  CHECK(bench.pipes.taken() == 2);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  bench.splice_through(Side::backend, 200'000);
  bench.complete(Side::client, OpKind::splice_out, 100'000);
  CHECK(bench.totals.bytes_from_backend.get() == 2 * Bench::kBuffer + 200'000);
}

TEST_CASE("splice: FIN is passed on when the pipe is empty") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.complete(Side::client, OpKind::splice_out, 99'999);
  bench.complete(Side::client, OpKind::splice_out, 1);
  CHECK_FALSE(bench.socket(Side::backend).fin_sent);
  bench.complete(Side::client, OpKind::splice_in, 0);
  CHECK(bench.socket(Side::backend).fin_sent);
  CHECK(bench.flow.close_reason() == CloseReason::client_fin);
  CHECK(bench.armed(Side::client).empty());
  bench.receive(Side::backend);
  bench.sent(Side::client);
  CHECK(bench.fin(Side::backend) == Verdict::closed);
}

TEST_CASE("splice: the source resets: what is in the pipe is delivered, then the other side is reset") {
  Bench bench;
  bench.connected();
  bench.promote(Side::backend);
  bench.complete(Side::backend, OpKind::splice_in, 100'000);
  bench.receive(Side::client, 10);
  bench.complete(Side::backend, OpKind::send, -ECONNRESET);  // first told to a send
  CHECK(bench.armed(Side::backend) == "splice_out");
  bench.complete(Side::backend, OpKind::splice_out, 100'000);
  CHECK_FALSE(bench.closed());
  bench.complete(Side::backend, OpKind::splice_in, 0);  // so reading only ends
  bench.finish_cancelled();
  CHECK(bench.closed());
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("splice: a reset met while splicing in") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  CHECK(bench.complete(Side::client, OpKind::splice_in, -ECONNRESET) == Verdict::ongoing);
  CHECK(bench.finish_cancelled() == Verdict::closed);
  CHECK(bench.flow.close_reason() == CloseReason::client_reset);
  CHECK(bench.socket(Side::backend).closed == io::CloseMode::reset);
}

TEST_CASE("splice: the sink resets: the pipe goes, with what is in it, and is not kept") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  bench.complete(Side::client, OpKind::splice_out, -ECONNRESET);
  CHECK(bench.pipes.taken() == 0);
  CHECK(bench.pipes.open() == 0);
  bench.complete(Side::backend, OpKind::recv, 0);
  CHECK(bench.closed());
  CHECK(bench.flow.close_reason() == CloseReason::backend_reset);
  CHECK(bench.socket(Side::client).closed == io::CloseMode::reset);
}

TEST_CASE("splice: the sink resets while bytes go into the pipe: the pipe goes when they are in") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.receive(Side::backend, 10);
  bench.complete(Side::backend, OpKind::recv, -ECONNRESET);
  CHECK(bench.pipes.taken() == 1);
  bench.sent(Side::client);
  bench.finish_cancelled();
  CHECK(bench.closed());
  CHECK(bench.pipes.open() == 0 + 1);  // it was empty: kept
  CHECK(bench.socket(Side::client).taken == 10);
}

TEST_CASE("splice: no pipe to be had: copies on, and promotes again after another 32 KiB") {
  Bench bench;
  bench.io.pipe_error = EMFILE;
  bench.connected();
  bench.bulk(Side::client, 2);
  bench.cancelled(Side::client, OpKind::recv);
  CHECK(bench.armed(Side::client) == "recv");
  bench.bulk(Side::client, 1);
  CHECK(bench.armed(Side::client) == "recv");
  bench.io.pipe_error = 0;
  bench.bulk(Side::client, 1);
  bench.cancelled(Side::client, OpKind::recv);
  CHECK(bench.armed(Side::client) == "splice_in");
  CHECK(bench.totals.demotions.get() == 1);
}

// ---- back to copy ----

TEST_CASE("small moves: 16 in a row are not worth a splice") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  for (int i = 0; i < 16; ++i) {
    CHECK(bench.pipes.taken() == 1);
    bench.splice_through(Side::client, 4095);
    if (i < 15) bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  }
  CHECK(bench.armed(Side::client) == "recv");
  CHECK(bench.pipes.taken() == 0);
  CHECK(bench.totals.demotions.get() == 1);
  bench.receive(Side::client, 100);
  bench.sent(Side::backend);
  bench.promote(Side::client);  // and bulk promotes it again
}

TEST_CASE("small moves: a larger one between them begins anew") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  for (int i = 0; i < 60; ++i) {
    bench.splice_through(Side::client, i % 16 == 15 ? 4096 : 1);
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
  }
  CHECK(bench.armed(Side::client) == "splice_in");
  CHECK(bench.totals.demotions.get() == 0);
}

TEST_CASE("splice: a direction that waits for bytes holds no pipe") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  for (int i = 0; i < 20; ++i) {
    bench.splice_through(Side::client, 10'000);
    CHECK(bench.armed(Side::client) == "poll_in");
    CHECK(bench.pipes.taken() == 0);
    bench.pass_time(milliseconds(250));
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
    CHECK(bench.armed(Side::client) == "splice_in");
    CHECK(bench.pipes.taken() == 1);
  }
  CHECK(bench.pipes.open() == 1);  // always the same
}

TEST_CASE("quiet: after a silence the next bytes are copied") {
  for (const int silence : {499, 500}) {
    Bench bench;
    bench.connected();
    bench.promote(Side::client);
    bench.splice_through(Side::client, 1000);
    REQUIRE(bench.armed(Side::client) == "poll_in");
    bench.pass_time(milliseconds(silence));
    bench.complete(Side::client, OpKind::poll_in, io::kPollIn);
    if (silence < 500) {
      CHECK(bench.armed(Side::client) == "splice_in");
    } else {
      CHECK(bench.armed(Side::client) == "recv");
      bench.receive(Side::client, 10);
      bench.sent(Side::backend);
    }
  }
}

TEST_CASE("quiet: a pipe with bytes in it stays, and its source is watched") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.complete(Side::client, OpKind::splice_in, 100'000);
  bench.complete(Side::client, OpKind::splice_out, -EAGAIN);
  bench.pass_time(seconds(5));
  CHECK(bench.pipes.taken() == 1);
  CHECK(bench.armed(Side::client) == "watch");
  bench.complete(Side::backend, OpKind::poll_out, io::kPollOut);
  bench.complete(Side::client, OpKind::splice_out, 100'000);
  CHECK(bench.armed(Side::client) == "splice_in watch");
}

TEST_CASE("quiet: the pipe of a direction that has ended goes back") {
  Bench bench;
  bench.connected();
  bench.promote(Side::client);
  bench.splice_through(Side::client, 100'000);
  bench.complete(Side::client, OpKind::splice_in, 0);
  REQUIRE(bench.socket(Side::backend).fin_sent);
  bench.pass_time(seconds(10));
  CHECK(bench.pipes.taken() == 0);
}

// ---- the pool of pipes ----

TEST_CASE("pipes: no more than the bound; an empty one that comes back is used again") {
  RecordingIo io({.count = 1, .bytes_per_buffer = 1});
  PipePool pool(io, {.open = 2, .kept = 1});
  std::array<io::Pipe, 3> pipes;
  CHECK(pool.take(pipes[0]));
  CHECK(pool.take(pipes[1]));
  CHECK_FALSE(pool.take(pipes[2]));
  CHECK(pipes[2].read_end == Fd::none);
  const Fd first = pipes[0].read_end;
  pool.give_back(pipes[0], true);
  CHECK(pipes[0].read_end == Fd::none);
  CHECK(pipes[0].write_end == Fd::none);
  CHECK(pool.taken() == 1);
  CHECK(pool.take(pipes[2]));
  CHECK(pipes[2].read_end == first);
  pool.give_back(pipes[1], true);
  pool.give_back(pipes[2], true);  // one is kept already
  CHECK(pool.taken() == 0);
  CHECK(pool.open() == 1);
  CHECK(io.pipes_open == 1);
  pool.trim();
  CHECK(io.pipes_open == 0);
}

TEST_CASE("pipes: one with bytes in it is closed") {
  RecordingIo io({.count = 1, .bytes_per_buffer = 1});
  PipePool pool(io, {.open = 2, .kept = 2});
  io::Pipe pipe;
  REQUIRE(pool.take(pipe));
  pool.give_back(pipe, false);
  CHECK(pool.open() == 0);
  CHECK(io.pipes_open == 0);
}

TEST_CASE("pipes: the kernel's refusal counts nothing; the end closes what is kept") {
  RecordingIo io({.count = 1, .bytes_per_buffer = 1});
  {
    PipePool pool(io, {.open = 2, .kept = 2});
    io::Pipe pipe;
    io.pipe_error = EMFILE;
    CHECK_FALSE(pool.take(pipe));
    CHECK(pool.open() == 0);
    io.pipe_error = 0;
    REQUIRE(pool.take(pipe));
    pool.give_back(pipe, true);
    CHECK(io.pipes_open == 1);
  }
  CHECK(io.pipes_open == 0);
}

}  // namespace millrace::flow::test
