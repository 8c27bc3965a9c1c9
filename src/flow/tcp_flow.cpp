// Reconciling: what a flow wants against what is in flight. The facts are recorded in tcp_flow_facts.cpp, the end is in
// tcp_flow_end.cpp.

#include "millrace/flow/tcp_flow.hpp"

#include <cerrno>
#include <limits>

#include "limits.hpp"
#include "millrace/base/assert.hpp"

namespace millrace::flow {

using io::OpKind;

TcpFlow::TcpFlow(std::uint32_t slot, std::uint32_t generation, io::Fd client, const FlowOptions& options, Instant now)
    : options_(&options), started_(now), last_activity_(now), slot_(slot), generation_(generation) {
  half(Side::client).fd = client;
}

TcpFlow::~TcpFlow() = default;

// ---- operations in flight ----

bool TcpFlow::flying(const Half& half, OpKind kind) {
  return (half.in_flight & (1U << static_cast<unsigned>(kind))) != 0;
}

io::OpTag TcpFlow::tag_of(Side side, OpKind kind) const {
  return io::OpTag(kind, static_cast<unsigned>(side), generation_, slot_);
}

io::OpTag TcpFlow::begin(Side side, OpKind kind) {
  Half& h = half(side);
  MILLRACE_ASSERT(!flying(h, kind), "two operations of a kind on one half");
  h.in_flight = static_cast<std::uint16_t>(h.in_flight | (1U << static_cast<unsigned>(kind)));
  return tag_of(side, kind);
}

void TcpFlow::cancel(FlowContext& context, Side side, OpKind kind) {
  Half& h = half(side);
  const auto bit = static_cast<std::uint16_t>(1U << static_cast<unsigned>(kind));
  if ((h.in_flight & bit) == 0 || (h.cancelling & bit) != 0) return;
  h.cancelling = static_cast<std::uint16_t>(h.cancelling | bit);
  context.io.cancel(tag_of(side, kind));
}

void TcpFlow::cancel_all(FlowContext& context) {
  for (const Side side : {Side::client, Side::backend}) {
    for (unsigned kind = 0; kind < io::kOpKinds; ++kind) cancel(context, side, static_cast<OpKind>(kind));
  }
}

// ---- connecting ----

int TcpFlow::connect(FlowContext& context, const net::Endpoint& remote, const net::Endpoint& source, Nanos timeout,
                     Traffic* traffic) {
  MILLRACE_ASSERT(stage_ == Stage::waiting, "connect of a flow that is not waiting");
  const io::FdResult opened = context.io.open_stream(remote, source);
  if (opened.error != 0) return opened.error;
  half(Side::backend).fd = opened.fd;
  backend_traffic_ = traffic;
  context.io.connect(begin(Side::backend, OpKind::connect), opened.fd, remote);
  stage_ = Stage::connecting;
  connect_timed_out_ = false;
  stage_deadline_ = context.now + timeout;
  watch_at_ = context.now + kWatchAfter;
  arm_timer(context);
  return 0;
}

void TcpFlow::wait(FlowContext& context, Instant until) {
  MILLRACE_ASSERT(stage_ == Stage::waiting, "wait of a flow that is not waiting");
  stage_deadline_ = until;
  watch_at_ = context.now + kWatchAfter;
  arm_timer(context);
}

// ---- reconciling ----

Verdict TcpFlow::advance(FlowContext& context) {
  if (stage_ == Stage::closing) return close_when_idle(context);
  if (stage_ != Stage::relaying) return Verdict::ongoing;
  advance_direction(context, Side::client);
  advance_direction(context, Side::backend);
  if (direction_done(Side::client) && direction_done(Side::backend)) return begin_linger(context);
  pass_on_fin(context, Side::client);
  pass_on_fin(context, Side::backend);
  if (stage_deadline_ == kNever && needs_housekeeping()) stage_deadline_ = context.now + kHousekeeping;
  arm_timer(context);
  return Verdict::ongoing;
}

void TcpFlow::advance_direction(FlowContext& context, Side from) {
  if (half(other(from)).write_failed) {
    drop_undelivered(context, from);
    stop_reading(context, from);
  } else if (half(from).way == Way::splice) {
    advance_splice(context, from);
  } else {
    advance_copy(context, from);
  }
}

void TcpFlow::advance_copy(FlowContext& context, Side from) {
  Half& source = half(from);
  Half& sink = half(other(from));
  if (!source.pending.empty() && !flying(sink, OpKind::send)) {
    std::array<std::span<const std::byte>, io::Io::kMaxSlices> slices;
    const std::size_t count = source.pending.peek(context.io.buffers(), slices);
    sink.sending = 0;
    for (std::size_t i = 0; i < count; ++i) sink.sending += static_cast<std::uint32_t>(slices[i].size());
    context.io.send(begin(other(from), OpKind::send), sink.fd, std::span(slices).first(count));
    if (source.eof_seen) tell_last_send(context, from);
  }
  advance_receive(context, from);
}

void TcpFlow::advance_receive(FlowContext& context, Side from) {
  Half& source = half(from);
  if (!may_read(source)) return;
  if (source.way == Way::leaving_copy) {
    if (flying(source, OpKind::recv)) return cancel(context, from, OpKind::recv);
    if (!delivered(from)) return;  // what was received goes first
    source.way = Way::splice;
    source.starved = false;
    source.readable = true;
    source.small_moves = 0;
    context.totals.promotions.add();
    return advance_splice(context, from);
  }
  // Near the end of the buffers nobody may queue more than one, so that a few slow readers cannot starve everyone.
  const io::BufferGroup& group = context.io.buffers();
  const bool scarce = group.free_count() < group.count() / 2;
  if (flying(source, OpKind::recv)) {
    if (source.write_failed && !source.looked_again) return look_again(context, from);
    if (source.pending.buffers() < (scarce ? 1U : kQueueHigh)) return;
    if ((source.cancelling & (1U << static_cast<unsigned>(OpKind::recv))) == 0) context.totals.receive_pauses.add();
    cancel(context, from, OpKind::recv);
  } else if (!source.starved && source.pending.buffers() <= (scarce ? 0U : kQueueLow)) {
    context.io.recv(begin(from, OpKind::recv), source.fd);
  }
}

/// A send has met the reset of this side. A receive that was waiting when its last bytes and the reset came together
/// has brought the bytes, and may never be told the rest (io_poll_check_events(), Linux io_uring/poll.c): a new one
/// looks.
void TcpFlow::look_again(FlowContext& context, Side from) {
  half(from).looked_again = true;
  cancel(context, from, OpKind::recv);
}

// One step at a time: the pipe is filled only when it is empty, so that EAGAIN on the way in always means "nothing to
// read" and never "no room" (the ambiguity behind most splice bugs).
void TcpFlow::advance_splice(FlowContext& context, Side from) {
  Half& source = half(from);
  if (flying(source, OpKind::splice_in) || flying(source, OpKind::splice_out)) return;
  if (source.in_pipe > 0) return drain_pipe(context, from);
  // Whoever's turn it is takes it, still warm: so few pipes serve many directions.
  give_back_pipe(context, source);
  if (!may_read(source)) return;
  if (source.small_moves >= kSmallMovesBeforeCopy && options_->forwarding == Forwarding::automatic) {
    return leave_splice(context, from);
  }
  if (flying(source, OpKind::poll_in) || source.resting || source.queued) return;
  if (!source.readable) return wait_for_bytes(context, from);
  fill_pipe(context, from);
}

void TcpFlow::drain_pipe(FlowContext& context, Side from) {
  Half& source = half(from);
  Half& sink = half(other(from));
  set_stalled(context, source, !sink.writable);
  if (sink.writable) {
    context.io.splice(begin(from, OpKind::splice_out), source.pipe.read_end, sink.fd, source.in_pipe);
  } else if (!flying(sink, OpKind::poll_out)) {
    context.io.poll(begin(other(from), OpKind::poll_out), sink.fd, io::PollFor::writable);
  }
}

void TcpFlow::fill_pipe(FlowContext& context, Side from) {
  Half& source = half(from);
  if (!source.has_turn && !context.pipes.turn_is_free()) {
    source.queued = true;
    return context.pipes.wait_for_turn({{slot_, generation_}, from});
  }
  if (!context.pipes.take(source.pipe)) return leave_splice(context, from);
  context.io.splice(begin(from, OpKind::splice_in), source.fd, source.pipe.write_end, kSpliceMax);
}

Verdict TcpFlow::on_pipe_turn(FlowContext& context, Side side) {
  Half& h = half(side);
  h.queued = false;
  if (stage_ != Stage::relaying) return Verdict::ongoing;
  h.has_turn = true;
  const Verdict verdict = advance(context);
  h.has_turn = false;
  return verdict;
}

/// It was read empty. Polling tells at once that there is more; resting does not, but costs no wake-up of its own.
void TcpFlow::wait_for_bytes(FlowContext& context, Side from) {
  Half& source = half(from);
  Coalescer& coalescer = context.coalescer;
  const bool rests = source.coalesced ? coalescer.worth_going_on(source.run_bytes)
                                      : coalescer.worth_beginning(source.run_bytes, context.now - source.run_began);
  if (source.coalesced || coalescer.tells(source.run_bytes)) {
    const std::uint32_t moved = source.coalesced ? source.run_bytes : 0;
    source.run_bytes = 0;
    if (rests && !source.coalesced) context.io.widen_window(source.fd, coalescer.window_bytes());
    source.coalesced = rests;
    if (rests) {
      source.resting = true;
      context.totals.rests.add();
      return coalescer.rest({{slot_, generation_}, from}, moved, context.now);
    }
  }
  context.io.poll(begin(from, OpKind::poll_in), source.fd, io::PollFor::readable);
}

Verdict TcpFlow::on_rested(FlowContext& context, Side side) {
  Half& h = half(side);
  h.resting = false;
  h.readable = true;
  if (stage_ != Stage::relaying) return Verdict::ongoing;
  const io::ReceiveQueue queue = context.io.receive_queue(h.fd);
  context.coalescer.note_queue(queue);
  h.run_wanted = queue.limit == 0 ? std::numeric_limits<std::uint32_t>::max() : queue.used;
  return advance(context);
}

void TcpFlow::leave_splice(FlowContext& context, Side from) {
  Half& source = half(from);
  MILLRACE_ASSERT(source.in_pipe == 0, "leaving splice with bytes in the pipe");
  MILLRACE_ASSERT(!flying(source, OpKind::splice_in), "leaving splice while a splice is in flight");
  source.way = Way::copy;
  source.burst = 0;
  source.starved = context.io.buffers().free_count() == 0;  // neither a pipe nor a buffer: wait for either
  context.totals.demotions.add();
  advance_copy(context, from);
}

void TcpFlow::stop_reading(FlowContext& context, Side from) {
  cancel(context, from, OpKind::recv);
  cancel(context, from, OpKind::poll_in);
}

/// Data and end of stream often come together: then they leave together as well, and the peer is woken once.
void TcpFlow::tell_last_send(FlowContext& context, Side from) const {
  const Half& sink = half(other(from));
  if (!flying(sink, OpKind::send) || sink.sending != half(from).pending.bytes()) return;
  context.io.send_is_last(tag_of(other(from), OpKind::send));
}

void TcpFlow::pass_on_fin(FlowContext& context, Side from) {
  Half& sink = half(other(from));
  if (!half(from).eof_seen || !delivered(from) || sink.fin_sent || sink.write_failed) return;
  sink.fin_sent = true;
  const int error = context.io.shutdown_write(sink.fd);
  if (error != 0) note_write_failed(context, other(from), error);
}

void TcpFlow::drop_undelivered(FlowContext& context, Side from) {
  Half& source = half(from);
  // The kernel may still read the first buffers of the queue: they go when the send has ended.
  if (!flying(half(other(from)), OpKind::send)) source.pending.clear(context.io.buffers());
  if (!flying(source, OpKind::splice_in) && !flying(source, OpKind::splice_out)) give_back_pipe(context, source);
}

/// Whether its pipe waits for the reader.
void TcpFlow::set_stalled(FlowContext& context, Half& half, bool stalled) {
  if (half.stalled == stalled) return;
  half.stalled = stalled;
  if (stalled) {
    context.pipes.stall();
  } else {
    context.pipes.go_on();
  }
}

void TcpFlow::give_back_pipe(FlowContext& context, Half& half) {
  if (half.pipe.read_end == io::Fd::none) return;
  set_stalled(context, half, false);
  context.pipes.give_back(half.pipe, half.in_pipe == 0);
  half.in_pipe = 0;
}

bool TcpFlow::delivered(Side from) const {
  const Half& source = half(from);
  return source.pending.empty() && source.in_pipe == 0 && !flying(half(other(from)), OpKind::send) &&
         !flying(source, OpKind::splice_in) && !flying(source, OpKind::splice_out);
}

bool TcpFlow::direction_done(Side from) const {
  const Half& source = half(from);
  if (half(other(from)).write_failed) return true;
  return (source.eof_seen || source.read_failed) && delivered(from);
}

// ---- now and then ----

/// Whether nothing in flight would tell of a reset of this peer.
bool TcpFlow::unwatched(const Half& h) {
  const bool noticed =
      flying(h, OpKind::recv) || flying(h, OpKind::poll_in) || flying(h, OpKind::watch) || h.resting || h.queued;
  return !noticed && !h.eof_seen && !h.read_failed && !h.write_failed;
}

bool TcpFlow::needs_housekeeping() const {
  return unwatched(half(Side::client)) || unwatched(half(Side::backend));
}

/// Watches halves that are not being read, so that a reset is seen.
void TcpFlow::housekeeping(FlowContext& context) {
  stage_deadline_ = kNever;
  for (const Side side : {Side::client, Side::backend}) {
    if (unwatched(half(side))) watch(context, side);
  }
}

void TcpFlow::watch(FlowContext& context, Side side) {
  if (flying(half(side), OpKind::watch)) return;
  context.io.poll(begin(side, OpKind::watch), half(side).fd, io::PollFor::hangup);
}

}  // namespace millrace::flow
