// The end of a flow: timers, lingering until what was sent has arrived, and close as a join.

#include <algorithm>
#include <cerrno>

#include "limits.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/flow/tcp_flow.hpp"

namespace millrace::flow {

using io::CloseMode;
using io::OpKind;

// ---- timers ----

bool TcpFlow::half_closed() const {
  return std::any_of(halves_.begin(), halves_.end(), [](const Half& h) { return h.eof_seen || h.write_failed; });
}

Nanos TcpFlow::silence_allowed() const {
  return half_closed() ? options_->half_close_timeout : options_->idle_timeout;
}

Instant TcpFlow::next_deadline() const {
  Instant soonest = stage_deadline_;
  if (stage_ == Stage::relaying) {
    const Nanos silence = silence_allowed();
    if (silence > Nanos(0)) soonest = std::min(soonest, last_activity_ + silence);
    if (keepalive_due_) soonest = std::min(soonest, started_ + kKeepaliveAfter);
  } else if (stage_ == Stage::connecting || stage_ == Stage::waiting) {
    soonest = std::min(soonest, watch_at_);
  }
  if (options_->max_duration > Nanos(0)) soonest = std::min(soonest, started_ + options_->max_duration);
  return soonest;
}

/// Lazy: an armed timer that fires too early costs one look; one that would fire too late is moved.
void TcpFlow::arm_timer(FlowContext& context) {
  const Instant soonest = next_deadline();
  if (soonest == kNever || (armed() && deadline() <= soonest + TimerWheel::kTick)) return;
  context.timers.arm(*this, soonest);
}

Verdict TcpFlow::on_timer(FlowContext& context) {
  const Instant now = context.now;
  Verdict verdict = Verdict::ongoing;
  const bool stage_due = now >= stage_deadline_;
  if (options_->max_duration > Nanos(0) && now >= started_ + options_->max_duration && stage_ != Stage::closing) {
    return abort(context, CloseReason::max_duration);
  }
  switch (stage_) {
    case Stage::connecting:
      if (stage_due) {
        connect_timed_out_ = true;
        stage_deadline_ = kNever;
        cancel(context, Side::backend, OpKind::connect);
      }
      break;
    case Stage::waiting:
      if (stage_due) {
        stage_deadline_ = kNever;
        verdict = Verdict::retry;
      }
      break;
    case Stage::relaying:
      if (silence_allowed() > Nanos(0) && now >= last_activity_ + silence_allowed()) {
        return abort(context, half_closed() ? CloseReason::half_close_timeout : CloseReason::idle_timeout);
      }
      set_keepalive_when_due(context);
      if (stage_due) {
        housekeeping(context);
        return advance(context);
      }
      break;
    case Stage::lingering:
      return linger_again(context);
    case Stage::closing:
    case Stage::closed:
      return Verdict::ongoing;
  }
  if (now >= watch_at_) {
    watch_at_ = kNever;
    watch(context, Side::client);
  }
  arm_timer(context);
  return verdict;
}

/// Most connections end before. The client's socket has inherited the options from the listening one.
void TcpFlow::set_keepalive_when_due(FlowContext& context) {
  if (!keepalive_due_ || context.now < started_ + kKeepaliveAfter) return;
  keepalive_due_ = false;
  context.io.set_keepalive(half(Side::backend).fd);
}

// ---- lingering ----

/// Whether closing now could lose bytes that were already handed to the kernel: by a reset, or because the peer may
/// still send, which a closed socket answers with a reset.
bool TcpFlow::needs_linger(FlowContext& context, Side side) const {
  const Half& h = half(side);
  if (h.fd == io::Fd::none || h.read_failed || h.write_failed) return false;
  const bool by_reset = close_mode_[static_cast<std::size_t>(side)] == CloseMode::reset;
  return (by_reset || !h.eof_seen) && context.io.bytes_unsent(h.fd) > 0;
}

/// Both directions are done. A reset is passed on as a reset, everything else as an orderly close.
Verdict TcpFlow::begin_linger(FlowContext& context) {
  for (const Side side : {Side::client, Side::backend}) {
    Half& h = half(side);
    if (half(other(side)).read_failed && !h.read_failed) {
      close_mode_[static_cast<std::size_t>(side)] = CloseMode::reset;
    } else if (!h.eof_seen && !h.fin_sent && !h.write_failed) {
      h.fin_sent = true;
      if (context.io.shutdown_write(h.fd) != 0) h.write_failed = true;
    }
  }
  const bool client = needs_linger(context, Side::client);
  const bool backend = needs_linger(context, Side::backend);
  if (!client && !backend) return begin_closing(context);
  stage_ = Stage::lingering;
  stop_reading(context, Side::client);
  stop_reading(context, Side::backend);
  if (client) watch(context, Side::client);
  if (backend) watch(context, Side::backend);
  unsent_before_ = 0;
  last_activity_ = context.now;
  stage_deadline_ = context.now + kLingerTick;
  arm_timer(context);
  return Verdict::ongoing;
}

Verdict TcpFlow::linger_again(FlowContext& context) {
  std::uint32_t unsent = 0;
  for (const Side side : {Side::client, Side::backend}) {
    if (needs_linger(context, side)) unsent += context.io.bytes_unsent(half(side).fd);
  }
  if (unsent != unsent_before_) last_activity_ = context.now;  // it moves
  unsent_before_ = unsent;
  const Nanos patience = options_->half_close_timeout > Nanos(0) ? options_->half_close_timeout : kLingerMax;
  if (unsent == 0 || context.now >= last_activity_ + std::min(patience, kLingerMax)) return begin_closing(context);
  stage_deadline_ = context.now + kLingerTick;
  arm_timer(context);
  return Verdict::ongoing;
}

// ---- closing ----

Verdict TcpFlow::abort(FlowContext& context, CloseReason reason) {
  if (stage_ == Stage::closing) return Verdict::ongoing;
  if (stage_ != Stage::lingering) reason_ = reason;
  const bool timeout = reason == CloseReason::idle_timeout || reason == CloseReason::half_close_timeout ||
                       reason == CloseReason::max_duration;
  for (const Side side : {Side::client, Side::backend}) {
    const Half& h = half(side);
    if (h.fd == io::Fd::none) continue;
    if (stage_ == Stage::lingering && close_mode_[static_cast<std::size_t>(side)] == CloseMode::reset) continue;
    // A stream that is cut short must not look like one that has ended.
    const bool cut_short = stage_ == Stage::connecting || stage_ == Stage::waiting || !delivered(other(side)) ||
                           (!h.read_failed && !h.write_failed && context.io.bytes_unsent(h.fd) > 0);
    close_mode_[static_cast<std::size_t>(side)] = !timeout || cut_short ? CloseMode::reset : CloseMode::normal;
  }
  return begin_closing(context);
}

Verdict TcpFlow::begin_closing(FlowContext& context) {
  stage_ = Stage::closing;
  context.timers.disarm(*this);
  cancel_all(context);
  return close_when_idle(context);
}

Verdict TcpFlow::close_when_idle(FlowContext& context) {
  if (halves_[0].in_flight != 0 || halves_[1].in_flight != 0) return Verdict::ongoing;
  note_tcp_info(context);
  for (const Side side : {Side::client, Side::backend}) {
    Half& h = half(side);
    h.pending.clear(context.io.buffers());
    give_back_pipe(context, h);
    if (h.fd != io::Fd::none) context.io.close(h.fd, close_mode_[static_cast<std::size_t>(side)]);
    h.fd = io::Fd::none;
  }
  stage_ = Stage::closed;
  return Verdict::closed;
}

/// Two system calls: of a short connection they would be a twentieth of its cost, for a round trip that was hardly
/// measured.
void TcpFlow::note_tcp_info(FlowContext& context) {
  context.tcp_infos = {};
  const bool worth = context.now - started_ >= kTcpInfoAge ||
                     half(Side::client).bytes_forwarded + half(Side::backend).bytes_forwarded >= kTcpInfoBytes;
  if (!worth && !options_->tcp_info) return;
  for (const Side side : {Side::client, Side::backend}) {
    if (half(side).fd == io::Fd::none || (side == Side::backend && !relayed_)) continue;
    context.tcp_info(side) = context.io.tcp_info(half(side).fd);
  }
}

void TcpFlow::on_buffers_available(FlowContext& context) {
  halves_[0].starved = false;
  halves_[1].starved = false;
  if (stage_ != Stage::relaying) return;
  const Verdict verdict = advance(context);
  MILLRACE_ASSERT(verdict == Verdict::ongoing, "arming a receive ended the flow");
}

}  // namespace millrace::flow
