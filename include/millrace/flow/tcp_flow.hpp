#pragma once
// TcpFlow: one client connection and its backend connection, from accept to the last close.
//
// Owns both descriptors, the bytes on their way and up to two pipes. Lives in a slab slot of one worker and is used on
// that thread only. It knows nothing of pools, balancing or health: it is given an endpoint and answers with a Verdict.
//
// Completions and timers only record facts (bytes queued, eof_seen, no longer armed, …); advance() then compares what
// the flow wants with what is in flight and submits the difference. So half-close, back-pressure, a lack of buffers,
// promotion to splice and the end are all the same path.
//
//   connecting ──connected──▶ relaying ──both directions done──▶ lingering ──▶ closing ──nothing in flight──▶ (closed)
//     │  ▲                        │
//     ▼  │ connect()              └── reset, timeout, abort() ──▶ closing (or lingering, to deliver what is on its way)
//   waiting
//
// Close is a join: in `closing` everything in flight is cancelled, and the descriptors are closed when no bit is set.
//
// A direction is named by the half that its bytes come from. Bytes travel in one of two ways:
//   copy    received into provided buffers, queued, sent. An idle direction holds no buffer.
//   splice  poll, socket to pipe, pipe to socket. Used for bulk; the pipe is held only while bytes move. After a
//   silence a direction returns to copy. One that is fast for long is not polled but rests in the coalescer.

#include <array>
#include <cstdint>

#include "millrace/base/time.hpp"
#include "millrace/base/timer_wheel.hpp"
#include "millrace/flow/close_reason.hpp"
#include "millrace/flow/coalescer.hpp"
#include "millrace/flow/direction_id.hpp"
#include "millrace/flow/pipe_pool.hpp"
#include "millrace/flow/traffic.hpp"
#include "millrace/io/io.hpp"

namespace millrace::flow {

enum class Forwarding : std::uint8_t { automatic, copy, splice };

/// What a listener wants of its flows. Outlives them.
struct FlowOptions {
  Nanos idle_timeout{};        // 0: never
  Nanos half_close_timeout{};  // 0: never
  Nanos max_duration{};        // 0: no limit
  bool keepalive = true;
  Forwarding forwarding = Forwarding::automatic;
  Traffic* traffic = nullptr;  // to count in, for all of them together; may be null
  bool tcp_info = false;       // of every flow, not only of those that are worth the system calls
};

/// What a flow may use. One per worker.
struct FlowContext {
  io::Io& io;
  TimerWheel& timers;
  PipePool& pipes;
  Coalescer& coalescer;
  FlowTotals& totals;
  Instant now;                             // of this pass
  std::array<io::TcpInfo, 2> tcp_infos{};  // by side

  /// Of the flow that has closed last. Not known of every flow, see FlowOptions::tcp_info.
  [[nodiscard]] io::TcpInfo& tcp_info(Side side) { return tcp_infos[static_cast<std::size_t>(side)]; }
  [[nodiscard]] const io::TcpInfo& tcp_info(Side side) const { return tcp_infos[static_cast<std::size_t>(side)]; }
};

enum class Verdict : std::uint8_t {
  ongoing,
  connected,       // the backend answered; relaying has begun
  connect_failed,  // connect_error() tells why: call connect(), wait() or refuse()
  retry,           // a wait() is over: call connect(), wait() or refuse()
  closed,          // everything is given back; the slot may be reused
};

class TcpFlow : private TimerNode {
 public:
  enum class Stage : std::uint8_t { connecting, waiting, relaying, lingering, closing, closed };

  /// `slot` and `generation` go into the tags of all its operations. Takes over `client`.
  TcpFlow(std::uint32_t slot, std::uint32_t generation, io::Fd client, const FlowOptions& options, Instant now);
  ~TcpFlow();
  TcpFlow(const TcpFlow&) = delete;
  TcpFlow& operator=(const TcpFlow&) = delete;

  /// The flow that a timer from the wheel belongs to: a wheel given to flows holds nothing else.
  static TcpFlow& from_timer(TimerNode& node) { return static_cast<TcpFlow&>(node); }

  /// Starts connecting. Returns 0, or the errno of a local fault (nothing has changed then). What is forwarded then
  /// counts in `traffic` too, unless it is null.
  [[nodiscard]] int connect(FlowContext& context, const net::Endpoint& remote, const net::Endpoint& source,
                            Nanos timeout, Traffic* traffic = nullptr);
  /// Does nothing until `until`, then answers `retry`; notices meanwhile when the client resets.
  void wait(FlowContext& context, Instant until);

  [[nodiscard]] Verdict on_completion(FlowContext& context, const io::Completion& completion);
  [[nodiscard]] Verdict on_timer(FlowContext& context);
  /// The coalescer has woken the direction that begins at `side`.
  [[nodiscard]] Verdict on_rested(FlowContext& context, Side side);
  /// It is the turn of the direction that begins at `side` to have a pipe.
  [[nodiscard]] Verdict on_pipe_turn(FlowContext& context, Side side);
  /// Ends the flow now: both connections are reset (or closed in order when nothing is undelivered and `reason` is a
  /// timeout). The answer is `closed` when nothing was in flight, else `ongoing` and `closed` later.
  [[nodiscard]] Verdict abort(FlowContext& context, CloseReason reason);
  /// Takes the flow's timer out of the wheel; for tear-down.
  void disarm(TimerWheel& timers) { timers.disarm(*this); }
  /// Tries again to receive after a lack of buffers.
  void on_buffers_available(FlowContext& context);

  [[nodiscard]] Stage stage() const { return stage_; }
  [[nodiscard]] CloseReason close_reason() const { return reason_; }
  [[nodiscard]] int connect_error() const { return connect_error_; }
  [[nodiscard]] bool waits_for_buffers() const { return halves_[0].starved || halves_[1].starved; }
  [[nodiscard]] std::uint32_t slot() const { return slot_; }
  [[nodiscard]] std::uint32_t generation() const { return generation_; }
  [[nodiscard]] io::Fd client_fd() const { return halves_[0].fd; }
  [[nodiscard]] io::Fd backend_fd() const { return halves_[1].fd; }
  [[nodiscard]] std::uint64_t bytes_from(Side side) const { return half(side).bytes_forwarded; }
  [[nodiscard]] Instant started() const { return started_; }
  /// When the first byte went from the backend to the client; Instant::min() before that.
  [[nodiscard]] Instant first_byte() const { return first_byte_; }
  /// Whether any of its bytes were spliced.
  [[nodiscard]] bool spliced() const { return spliced_; }

 private:
  enum class Way : std::uint8_t { copy, leaving_copy, splice };

  struct Half {
    io::Fd fd = io::Fd::none;
    std::uint16_t in_flight = 0;   // a bit per io::OpKind
    std::uint16_t cancelling = 0;  // of those, the ones that were asked to end

    // Facts about this peer.
    bool eof_seen : 1 = false;      // it has sent FIN
    bool read_failed : 1 = false;   // reset, or another error: nothing more can come
    bool fin_sent : 1 = false;      // we have sent FIN to it
    bool write_failed : 1 = false;  // it takes no more bytes
    bool write_reset : 1 = false;   // writing met ECONNRESET: an end of stream that follows is no FIN
    bool sent_short : 1 = false;    // a send ended early: it may have met an error, which is told only once
    bool end_unsure : 1 = false;    // end of stream met while sent_short: the next send tells whether it is a reset
    bool looked_again : 1 = false;  // its receive was asked to end because write_failed
    bool starved : 1 = false;       // a receive ended for lack of buffers and is not armed again
    bool readable : 1 = false;      // splice: bytes are likely to wait, no poll is needed
    bool writable : 1 = true;       // splice: false after EAGAIN, until a poll says otherwise
    bool resting : 1 = false;       // splice: in the coalescer
    bool coalesced : 1 = false;     // splice: its last wait was a rest
    bool queued : 1 = false;        // splice: it waits for its turn to have a pipe
    bool has_turn : 1 = false;      // splice: that has come
    bool stalled : 1 = false;       // splice: its pipe waits for the reader

    // The direction that begins here.
    Way way = Way::copy;
    std::uint8_t small_moves = 0;  // splice: in a row
    std::uint32_t burst = 0;       // copy: bytes in one go
    std::uint32_t in_pipe = 0;     // bytes between the two splices
    std::uint32_t run_bytes = 0;   // splice: since run_began; the other side has said nothing since
    std::uint32_t run_wanted = 0;  // coalesced: what was there when the rest was over; payload is less
    Instant run_began;             // of its first bytes
    std::uint32_t sending = 0;     // bytes of the send towards this half that is in flight
    io::BufferQueue pending;       // received, not yet sent
    io::Pipe pipe;                 // set while bytes are in it or on their way into it
    std::uint64_t bytes_forwarded = 0;
  };

  [[nodiscard]] Half& half(Side side) { return halves_[static_cast<std::size_t>(side)]; }
  [[nodiscard]] const Half& half(Side side) const { return halves_[static_cast<std::size_t>(side)]; }

  // Operations in flight: begin() sets the bit, the final completion clears it.
  [[nodiscard]] io::OpTag tag_of(Side side, io::OpKind kind) const;
  [[nodiscard]] io::OpTag begin(Side side, io::OpKind kind);
  void cancel(FlowContext& context, Side side, io::OpKind kind);
  void cancel_all(FlowContext& context);
  [[nodiscard]] static bool flying(const Half& half, io::OpKind kind);

  // Facts.
  [[nodiscard]] Verdict on_connect(FlowContext& context, int result);
  void on_recv(FlowContext& context, Side side, const io::Completion& completion);
  void on_send(FlowContext& context, Side side, int result);
  void on_splice_in(FlowContext& context, Side side, int result);
  void on_splice_out(FlowContext& context, Side side, int result);
  void on_poll_in(const FlowContext& context, Side side, int result);
  void on_poll_out(FlowContext& context, Side side, int result);
  void on_watch(FlowContext& context, Side side, int result);
  void note_end_of_stream(FlowContext& context, Side side);
  void settle_end_of_stream(FlowContext& context, Side side);
  void note_read_failed(FlowContext& context, Side side);
  void note_write_failed(FlowContext& context, Side side, int error);
  void note_reason(CloseReason reason);
  [[nodiscard]] static bool may_read(const Half& half) {
    return !half.eof_seen && !half.read_failed && !half.end_unsure;
  }
  void note_received(FlowContext& context, Side side, std::uint32_t length);
  void begin_turn(Side side);
  void note_forwarded(FlowContext& context, Side from, std::uint32_t length, bool spliced);

  // Reconciling.
  [[nodiscard]] Verdict advance(FlowContext& context);
  void advance_direction(FlowContext& context, Side from);
  void advance_copy(FlowContext& context, Side from);
  void advance_receive(FlowContext& context, Side from);
  void look_again(FlowContext& context, Side from);
  void advance_splice(FlowContext& context, Side from);
  void fill_pipe(FlowContext& context, Side from);
  void drain_pipe(FlowContext& context, Side from);
  void wait_for_bytes(FlowContext& context, Side from);
  void stop_reading(FlowContext& context, Side from);
  void tell_last_send(FlowContext& context, Side from) const;
  void pass_on_fin(FlowContext& context, Side from);
  void drop_undelivered(FlowContext& context, Side from);
  void leave_splice(FlowContext& context, Side from);
  static void set_stalled(FlowContext& context, Half& half, bool stalled);
  void give_back_pipe(FlowContext& context, Half& half);
  [[nodiscard]] bool delivered(Side from) const;
  [[nodiscard]] bool direction_done(Side from) const;
  void housekeeping(FlowContext& context);
  [[nodiscard]] bool needs_housekeeping() const;
  [[nodiscard]] static bool unwatched(const Half& half);
  void watch(FlowContext& context, Side side);

  // The end.
  [[nodiscard]] bool needs_linger(FlowContext& context, Side side) const;
  [[nodiscard]] Verdict begin_linger(FlowContext& context);
  [[nodiscard]] Verdict linger_again(FlowContext& context);
  [[nodiscard]] Verdict begin_closing(FlowContext& context);
  [[nodiscard]] Verdict close_when_idle(FlowContext& context);
  void note_tcp_info(FlowContext& context);
  [[nodiscard]] bool half_closed() const;
  [[nodiscard]] Nanos silence_allowed() const;
  void set_keepalive_when_due(FlowContext& context);
  [[nodiscard]] Instant next_deadline() const;
  void arm_timer(FlowContext& context);

  const FlowOptions* options_;
  Traffic* backend_traffic_ = nullptr;
  std::array<Half, 2> halves_;
  Instant started_;
  Instant last_activity_;
  Instant first_byte_ = Instant::min();
  Instant stage_deadline_ =
      kNever;                  // connecting: give up; waiting: go on; relaying: housekeeping; lingering: look again
  Instant watch_at_ = kNever;  // connecting, waiting: when to begin to watch the client for a reset
  std::uint32_t slot_;
  std::uint32_t generation_;
  std::uint32_t unsent_before_ = 0;  // lingering: to see progress
  bool connect_timed_out_ = false;
  bool keepalive_due_ = false;
  bool spliced_ = false;
  bool relayed_ = false;  // it has had a backend
  int connect_error_ = 0;
  Stage stage_ = Stage::waiting;
  CloseReason reason_ = CloseReason::none;
  std::array<io::CloseMode, 2> close_mode_ = {io::CloseMode::normal, io::CloseMode::normal};
};

}  // namespace millrace::flow
