#include "bench.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <exception>

namespace millrace::flow::test {

namespace {

constexpr Instant kStart{std::chrono::seconds(1000)};
constexpr std::array<const char*, io::kOpKinds> kKindNames = {
    "none", "accept", "connect", "recv", "send", "splice_in", "splice_out", "poll_in", "poll_out", "watch"};

unsigned number(Side side) {
  return static_cast<unsigned>(side);
}

}  // namespace

Bench::Bench(const Setup& setup)
    : io(setup.buffers),
      timers(kStart),
      pipes(io, setup.pipes),
      context{.io = io, .timers = timers, .pipes = pipes, .coalescer = coalescer, .totals = totals, .now = kStart},
      options(setup.options),
      flow(kSlot, kGeneration, RecordingIo::kClient, options, kStart) {}

Bench::~Bench() {
  if (!closed() && flow.abort(context, CloseReason::killed) == Verdict::ongoing) finish_cancelled();
  flow.disarm(timers);
  for (const std::string& breach : io.breaches) FAIL_CHECK(breach);
  if (std::uncaught_exceptions() > 0) return;  // the test has failed in the middle
  CHECK(closed());
  CHECK(io.in_flight().empty());
  for (const auto& [fd, socket] : io.sockets) CHECK(socket.closed.has_value());
  io.take_back_lent();
  CHECK(io.buffers().free_count() == io.buffers().count());
  CHECK(io.buffers().queued_count() == 0);
  CHECK(pipes.taken() == 0);
  CHECK(pipes.open() == io.pipes_open);
  pipes.trim();
  CHECK(io.pipes_open == 0);
}

Verdict Bench::note(Verdict verdict) {
  CHECK((verdict == Verdict::closed) == closed());
  if (!closed()) return verdict;
  CHECK(timers.armed() == 0);
  CHECK(flow.client_fd() == Fd::none);
  CHECK(flow.backend_fd() == Fd::none);
  return verdict;
}

// ---- what happens to the flow ----

void Bench::connect() {
  REQUIRE(flow.connect(context, remote, source, kConnectTimeout) == 0);
  backend_ = io.backend;
}

void Bench::connected() {
  connect();
  REQUIRE(complete(Side::backend, OpKind::connect, 0) == Verdict::connected);
}

Verdict Bench::complete(Side side, OpKind kind, std::int32_t result) {
  const OpTag tag = op(side, kind).tag;
  return note(flow.on_completion(context, io.complete(tag, result)));
}

Verdict Bench::cancelled(Side side, OpKind kind) {
  CHECK(op(side, kind).cancelled);
  return complete(side, kind, -ECANCELED);
}

Verdict Bench::receive(Side side, std::uint32_t length) {
  return note(flow.on_completion(context, io.receive(op(side, OpKind::recv).tag, length, true)));
}

Verdict Bench::receive_last(Side side, std::uint32_t length) {
  return note(flow.on_completion(context, io.receive(op(side, OpKind::recv).tag, length, false)));
}

Verdict Bench::sent(Side side) {
  return complete(side, OpKind::send, static_cast<std::int32_t>(op(side, OpKind::send).length));
}

void Bench::bulk(Side side, std::uint32_t buffers) {
  for (std::uint32_t i = 0; i < buffers; ++i) {
    receive(side, kBuffer);
    sent(other(side));
  }
}

void Bench::promote(Side side) {
  bulk(side, 2);
  cancelled(side, OpKind::recv);
  REQUIRE(armed(side) == "splice_in");
}

void Bench::splice_through(Side side, std::uint32_t length) {
  complete(side, OpKind::splice_in, static_cast<std::int32_t>(length));
  REQUIRE(op(side, OpKind::splice_out).length == length);
  complete(side, OpKind::splice_out, static_cast<std::int32_t>(length));
}

Verdict Bench::pass_time(Nanos duration) {
  const Instant until = context.now + duration;
  Verdict last = Verdict::ongoing;
  while (!closed() && timers.next_deadline() <= until) {
    const Verdict verdict = jump(std::max(timers.next_deadline() - context.now, Nanos(0)));
    if (verdict != Verdict::ongoing) last = verdict;
  }
  context.now = until;
  return last;
}

Verdict Bench::jump(Nanos duration) {
  context.now += duration;
  Verdict last = Verdict::ongoing;
  while (TimerNode* node = timers.expire(context.now)) {
    REQUIRE(&TcpFlow::from_timer(*node) == &flow);
    const Verdict verdict = note(flow.on_timer(context));
    if (verdict != Verdict::ongoing) last = verdict;
  }
  return last;
}

Verdict Bench::finish_cancelled() {
  Verdict verdict = Verdict::ongoing;
  while (!io.in_flight().empty()) {
    const auto& ops = io.in_flight();
    const auto next = std::find_if(ops.begin(), ops.end(), [](const RecordingIo::Op& op) { return op.cancelled; });
    if (next == ops.end()) break;
    CHECK(verdict == Verdict::ongoing);  // closed comes with the last one
    verdict = note(flow.on_completion(context, io.complete(next->tag, -ECANCELED)));
  }
  return verdict;
}

// ---- what it did ----

std::string Bench::armed(Side side) const {
  std::string text;
  for (unsigned kind = 0; kind < io::kOpKinds; ++kind) {
    const RecordingIo::Op* found = io.find(static_cast<OpKind>(kind), number(side));
    if (found == nullptr) continue;
    CHECK(found->tag == OpTag(static_cast<OpKind>(kind), number(side), kGeneration, kSlot));
    text += std::string(text.empty() ? "" : " ") + kKindNames.at(kind) + (found->cancelled ? "!" : "");
  }
  return text;
}

const RecordingIo::Op& Bench::op(Side side, OpKind kind) const {
  const RecordingIo::Op* found = io.find(kind, number(side));
  REQUIRE_MESSAGE(found != nullptr, "not in flight: ", kKindNames.at(static_cast<std::size_t>(kind)), " on side ",
                  number(side), "; in flight there: ", armed(side));
  return *found;
}

RecordingIo::Socket& Bench::socket(Side side) {
  return io.sockets.at(side == Side::client ? RecordingIo::kClient : backend_);
}

}  // namespace millrace::flow::test
