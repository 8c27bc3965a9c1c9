// Facts: what completions and timers tell a flow. Nothing is decided here.

#include <algorithm>
#include <cerrno>

#include "limits.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/flow/tcp_flow.hpp"

namespace millrace::flow {

using io::OpKind;

namespace {

/// Results that mean "try again", not "this connection is broken".
bool is_transient(int error) {
  return error == EAGAIN || error == EINTR || error == ECANCELED;
}

std::uint32_t add_capped(std::uint32_t sum, std::uint32_t length) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(std::uint64_t{sum} + length, 1U << 30U));
}

}  // namespace

Verdict TcpFlow::on_completion(FlowContext& context, const io::Completion& completion) {
  const auto side = static_cast<Side>(completion.tag.side());
  const OpKind kind = completion.tag.kind();
  Half& h = half(side);
  MILLRACE_ASSERT(flying(h, kind), "completion of an operation that is not in flight");
  if (!completion.more) {
    const auto mask = static_cast<std::uint16_t>(~(1U << static_cast<unsigned>(kind)));
    h.in_flight &= mask;
    h.cancelling &= mask;
  }
  switch (kind) {
    case OpKind::connect:
      return on_connect(context, completion.result);
    case OpKind::recv:
      on_recv(context, side, completion);
      break;
    case OpKind::send:
      on_send(context, side, completion.result);
      break;
    case OpKind::splice_in:
      on_splice_in(context, side, completion.result);
      break;
    case OpKind::splice_out:
      on_splice_out(context, side, completion.result);
      break;
    case OpKind::poll_in:
      on_poll_in(context, side, completion.result);
      break;
    case OpKind::poll_out:
      on_poll_out(context, side, completion.result);
      break;
    case OpKind::watch:
      on_watch(context, side, completion.result);
      if (reason_ == CloseReason::client_reset && (stage_ == Stage::connecting || stage_ == Stage::waiting)) {
        return abort(context, CloseReason::client_reset);
      }
      break;
    case OpKind::none:
    case OpKind::accept:
    case OpKind::recv_datagrams:
    case OpKind::send_datagrams:
      MILLRACE_ASSERT(false, "not an operation of a flow");
  }
  return advance(context);
}

Verdict TcpFlow::on_connect(FlowContext& context, int result) {
  if (stage_ == Stage::closing) return close_when_idle(context);
  MILLRACE_ASSERT(stage_ == Stage::connecting, "connect completed in the wrong stage");
  stage_deadline_ = kNever;
  watch_at_ = kNever;
  if (result < 0) {
    connect_error_ = connect_timed_out_ ? ETIMEDOUT : -result;
    Half& backend = half(Side::backend);
    // A connect that was given up may stand all the same by now; it must not look like a stream that has ended.
    context.io.close(backend.fd, io::CloseMode::reset);
    backend = Half{};
    stage_ = Stage::waiting;
    return Verdict::connect_failed;
  }
  connect_error_ = 0;
  relayed_ = true;
  stage_ = Stage::relaying;
  last_activity_ = context.now;
  keepalive_due_ = options_->keepalive;
  if (options_->forwarding == Forwarding::splice) {
    for (Half& h : halves_) h.way = Way::splice;
  }
  const Verdict verdict = advance(context);
  return verdict == Verdict::ongoing ? Verdict::connected : verdict;
}

void TcpFlow::on_recv(FlowContext& context, Side side, const io::Completion& completion) {
  Half& h = half(side);
  const int result = completion.result;
  if (result > 0) {
    MILLRACE_ASSERT(completion.buffer != io::kNoBuffer, "received bytes without a buffer");
    if (stage_ != Stage::relaying || half(other(side)).write_failed) {
      context.io.buffers().give_back(completion.buffer);
      return;
    }
    h.pending.push(context.io.buffers(), completion.buffer, static_cast<std::uint32_t>(result));
    note_received(context, side, static_cast<std::uint32_t>(result));
    return;
  }
  if (stage_ != Stage::relaying && stage_ != Stage::lingering) return;
  if (result == 0) {
    note_end_of_stream(context, side);
  } else if (result == -ENOBUFS) {
    h.starved = true;
    context.totals.buffer_shortages.add();
    // With no buffer left at all, a pipe serves instead.
    const bool may_splice = options_->forwarding != Forwarding::copy;
    if (may_splice && context.io.buffers().free_count() == 0) h.way = Way::leaving_copy;
  } else if (!is_transient(-result)) {
    note_read_failed(context, side);
  }
}

void TcpFlow::note_received(FlowContext& context, Side side, std::uint32_t length) {
  Half& h = half(side);
  last_activity_ = context.now;
  // The turn has changed: what the other side says next is a new answer.
  begin_turn(other(side));
  h.burst = length < kBulkReceive ? 0 : h.burst + length;
  const bool may_splice = options_->forwarding != Forwarding::copy;
  if (may_splice && h.way == Way::copy && h.burst >= kPromoteBytes) h.way = Way::leaving_copy;
}

/// What this side says next is a new answer.
void TcpFlow::begin_turn(Side side) {
  Half& h = half(side);
  if (h.way == Way::copy) h.burst = 0;
  h.run_bytes = 0;
  h.coalesced = false;
}

void TcpFlow::on_send(FlowContext& context, Side side, int result) {
  if (result > 0) {
    const auto length = static_cast<std::uint32_t>(result);
    half(side).sent_short = length < half(side).sending;
    half(other(side)).pending.consume(context.io.buffers(), length);
    note_forwarded(context, other(side), length, false);
  } else if (!is_transient(-result) || result == 0) {
    note_write_failed(context, side, result == 0 ? EPIPE : -result);
  }
  settle_end_of_stream(context, side);
}

void TcpFlow::on_splice_in(FlowContext& context, Side side, int result) {
  Half& h = half(side);
  if (result > 0) {
    const auto length = static_cast<std::uint32_t>(result);
    h.in_pipe += length;
    if (h.run_bytes == 0) {
      begin_turn(other(side));
      h.run_began = context.now;
    }
    h.run_bytes = add_capped(h.run_bytes, length);
    // Of a fast stream there is always more: what has come since the rest is left for the next one.
    const bool run_over = h.coalesced ? h.run_bytes >= h.run_wanted : context.coalescer.tells(h.run_bytes);
    h.readable = length >= kSpliceAgain && !run_over;
    h.small_moves = length < kSmallMove ? static_cast<std::uint8_t>(std::min(h.small_moves + 1, 255)) : std::uint8_t{0};
    last_activity_ = context.now;
  } else if (result == 0) {
    note_end_of_stream(context, side);
  } else if (is_transient(-result)) {
    h.readable = false;
  } else {
    note_read_failed(context, side);
  }
}

void TcpFlow::on_splice_out(FlowContext& context, Side side, int result) {
  Half& source = half(side);
  Half& sink = half(other(side));
  if (result > 0) {
    const auto length = static_cast<std::uint32_t>(result);
    MILLRACE_ASSERT(length <= source.in_pipe, "more came out of the pipe than went in");
    source.in_pipe -= length;
    sink.sent_short = source.in_pipe > 0;
    note_forwarded(context, side, length, true);
  } else if (result == 0 || is_transient(-result)) {
    sink.writable = false;
    sink.sent_short = false;  // it was short because the socket was full
  } else {
    note_write_failed(context, other(side), -result);
  }
  settle_end_of_stream(context, other(side));
}

void TcpFlow::on_poll_in(const FlowContext& context, Side side, int result) {
  Half& h = half(side);
  if (result < 0) return;  // cancelled; armed again if it is still wanted
  h.readable = true;
  // After a silence start again as a copying direction.
  if (context.now - last_activity_ >= kQuiet) h.small_moves = kSmallMovesBeforeCopy;
}

void TcpFlow::on_poll_out(FlowContext& context, Side side, int result) {
  if (result >= 0) {
    half(side).writable = true;
  } else if (!is_transient(-result)) {
    note_write_failed(context, side, -result);
  }
}

void TcpFlow::on_watch(FlowContext& context, Side side, int result) {
  if (result < 0) return;
  if (stage_ == Stage::connecting || stage_ == Stage::waiting) {
    // Without an error it is a unix client that has closed in order; what it sent is still to be delivered.
    if ((result & io::kPollError) != 0) note_reason(CloseReason::client_reset);
  } else if (stage_ == Stage::lingering) {
    // A hang-up without an error is only a FIN. Unread bytes may stand before it, so closing would still be a reset.
    if ((result & io::kPollError) != 0) note_read_failed(context, side);
  } else if (stage_ == Stage::relaying && (result & io::kPollError) != 0) {
    // What it sent before stays readable and is still delivered; but it takes nothing more.
    note_write_failed(context, side, ECONNRESET);
  }
}

void TcpFlow::note_end_of_stream(FlowContext& context, Side side) {
  Half& h = half(side);
  // A reset is told once, to whichever operation meets it first. When that was a send, reading then ends like after a
  // FIN; passing a FIN on would make a cut-off stream look whole.
  if (h.write_reset) return note_read_failed(context, side);
  if (h.sent_short && !h.write_failed) {
    h.end_unsure = true;
    return;
  }
  h.eof_seen = true;
  last_activity_ = context.now;
  tell_last_send(context, side);
  note_reason(side == Side::client ? CloseReason::client_fin : CloseReason::backend_fin);
}

/// After a send: what a short one left open is known now.
void TcpFlow::settle_end_of_stream(FlowContext& context, Side side) {
  Half& h = half(side);
  if (!h.end_unsure || (h.sent_short && !h.write_failed)) return;
  h.end_unsure = false;
  note_end_of_stream(context, side);
}

void TcpFlow::note_read_failed(FlowContext& context, Side side) {
  Half& h = half(side);
  h.read_failed = true;
  h.write_failed = true;
  last_activity_ = context.now;
  note_reason(side == Side::client ? CloseReason::client_reset : CloseReason::backend_reset);
}

void TcpFlow::note_write_failed(FlowContext& context, Side side, int error) {
  Half& h = half(side);
  h.write_failed = true;
  last_activity_ = context.now;
  // EPIPE: it had closed in order before it refused our bytes (tcp_reset() in CLOSE_WAIT), or the reset was told to a
  // receive. But a send that ended short has swallowed an error (io_send() with MSG_WAITALL returns what it had done),
  // most likely the reset. ENOTCONN comes from shutdown(2), which leaves the error for the receive to tell.
  h.write_reset = (error != EPIPE || h.sent_short) && error != ENOTCONN;
  if (h.write_reset) {
    note_reason(side == Side::client ? CloseReason::client_reset : CloseReason::backend_reset);
  } else {
    note_reason(side == Side::client ? CloseReason::client_fin : CloseReason::backend_fin);
  }
}

void TcpFlow::note_forwarded(FlowContext& context, Side from, std::uint32_t length, bool spliced) {
  if (from == Side::backend && half(from).bytes_forwarded == 0) first_byte_ = context.now;
  half(from).bytes_forwarded += length;
  spliced_ = spliced_ || spliced;
  last_activity_ = context.now;
  (from == Side::client ? context.totals.bytes_from_client : context.totals.bytes_from_backend).add(length);
  (spliced ? context.totals.bytes_spliced : context.totals.bytes_copied).add(length);
  for (Traffic* traffic : {options_->traffic, backend_traffic_}) {
    if (traffic != nullptr) (from == Side::client ? traffic->from_clients : traffic->from_backends).add(length);
  }
}

/// The first cause counts, but a reset says more than the FIN that came before it.
void TcpFlow::note_reason(CloseReason reason) {
  const bool is_reset = reason == CloseReason::client_reset || reason == CloseReason::backend_reset;
  const bool was_fin = reason_ == CloseReason::client_fin || reason_ == CloseReason::backend_fin;
  if (reason_ == CloseReason::none || (is_reset && was_fin)) reason_ = reason;
}

}  // namespace millrace::flow
