#pragma once
// Bench: one TcpFlow on a RecordingIo, with a clock that the test moves. When it goes away it ends the flow, from
// whatever state the test has left it in, and checks that everything is given back.

#include <chrono>
#include <cstdint>
#include <string>

#include "millrace/base/timer_wheel.hpp"
#include "millrace/flow/pipe_pool.hpp"
#include "millrace/flow/tcp_flow.hpp"
#include "recording_io.hpp"

namespace millrace::flow::test {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

struct Setup {
  FlowOptions options{.idle_timeout = std::chrono::hours(1),
                      .half_close_timeout = seconds(60),
                      .max_duration = Nanos(0),
                      .keepalive = true,
                      .forwarding = Forwarding::automatic};
  io::BufferGroup::Options buffers{.count = 64, .bytes_per_buffer = 16384};
  PipeLimits pipes{.open = 8, .kept = 8, .moving = 8};
};

class Bench {
 public:
  static constexpr std::uint32_t kBuffer = 16384;
  static constexpr std::uint32_t kSlot = 42;
  static constexpr std::uint32_t kGeneration = 7;
  static constexpr Nanos kConnectTimeout = seconds(5);

  explicit Bench(const Setup& setup = {});
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  // ---- what happens to the flow ----

  /// Starts to connect.
  void connect();
  /// Starts to connect, and the backend accepts.
  void connected();
  /// The operation that is in flight ends with `result`.
  Verdict complete(Side side, OpKind kind, std::int32_t result);
  /// An operation that was asked to end does so, with nothing done.
  Verdict cancelled(Side side, OpKind kind);
  /// Bytes of the peer arrive in one buffer.
  Verdict receive(Side side, std::uint32_t length = 100);
  /// The same, and the receive ends with it.
  Verdict receive_last(Side side, std::uint32_t length = 100);
  Verdict fin(Side side) { return complete(side, OpKind::recv, 0); }
  /// The send to this side ends: all of it, or `length` bytes.
  Verdict sent(Side side);
  Verdict sent(Side side, std::uint32_t length) {
    return complete(side, OpKind::send, static_cast<std::int32_t>(length));
  }
  /// `buffers` full ones from a side, each sent on at once.
  void bulk(Side side, std::uint32_t buffers);
  /// Bulk until the direction splices: its first splice_in is in flight.
  void promote(Side side);
  /// `length` bytes through the pipe, from a splice_in in flight to the end of the splice_out.
  void splice_through(Side side, std::uint32_t length);
  /// Time goes by; timers fire as they come due. The last verdict that was not `ongoing`.
  Verdict pass_time(Nanos duration);
  /// The loop was late: all that time goes by at once.
  Verdict jump(Nanos duration);
  Verdict abort(CloseReason reason) { return note(flow.abort(context, reason)); }
  /// Everything that was asked to end does so.
  Verdict finish_cancelled();

  // ---- what it did ----

  /// The operations in flight on one side, "recv send!": in the order of OpKind, with ! once they were asked to end.
  [[nodiscard]] std::string armed(Side side) const;
  [[nodiscard]] const RecordingIo::Op& op(Side side, OpKind kind) const;
  [[nodiscard]] RecordingIo::Socket& socket(Side side);
  [[nodiscard]] bool closed() const { return flow.stage() == TcpFlow::Stage::closed; }

  RecordingIo io;
  TimerWheel timers;
  PipePool pipes;
  Coalescer coalescer;
  FlowTotals totals;
  FlowContext context;
  FlowOptions options;
  TcpFlow flow;
  net::Endpoint remote = net::Endpoint::ipv4(0x0a000001, 80);
  net::Endpoint source;

 private:
  Verdict note(Verdict verdict);

  Fd backend_ = Fd::none;
};

}  // namespace millrace::flow::test
