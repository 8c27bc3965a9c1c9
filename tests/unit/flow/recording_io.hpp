#pragma once
// RecordingIo: an Io that does nothing by itself. It notes what was submitted; the test completes each operation when
// and how it likes. It knows one client connection and, one after the other, connections to backends.
//
// It checks the contract of Io and what must hold for every relay, and notes each breach, which Bench makes a failure:
//  - one operation of a kind in flight per tag and per descriptor; nothing in flight at a close; nothing closed twice;
//  - the bytes of a send stay untouched until it has ended;
//  - every byte reaches the other side once and in order, whether it was copied or went through a pipe;
//  - a pipe is filled only when it is empty; receive and splice of one connection never overlap, and neither is tried
//    again after the end of the stream;
//  - FIN is sent once, and only after everything that came from the other side was delivered; a send is said to be the
//    last one only when its source has ended, and nothing is left after it.

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "millrace/io/io.hpp"

namespace millrace::flow::test {

using io::Fd;
using io::OpKind;
using io::OpTag;

class RecordingIo final : public io::Io {
 public:
  /// One operation in flight.
  struct Op {
    OpTag tag;
    Fd fd = Fd::none;        // connect, recv, send, poll; splice: from
    Fd to = Fd::none;        // splice
    std::size_t length = 0;  // send: of all slices; splice: at most
    io::PollFor poll_for = io::PollFor::readable;
    bool cancelled = false;
    bool is_last = false;  // send
    net::Endpoint remote;
    std::vector<std::span<const std::byte>> slices;
    std::vector<std::byte> bytes;  // what the slices held when it was submitted
  };

  struct Socket {
    Fd other = Fd::none;         // where its bytes go
    std::uint64_t produced = 0;  // bytes that were read from it
    std::uint64_t taken = 0;     // bytes that it has accepted
    bool read_over = false;      // its end of stream, or an error, was read
    bool fin_sent = false;
    int shutdown_error = 0;    // what shutdown_write answers
    std::uint32_t unsent = 0;  // what bytes_unsent answers
    std::optional<io::CloseMode> closed;
    net::Endpoint remote;
    net::Endpoint source;
    bool keepalive = false;
    io::ReceiveQueue queue;              // what receive_queue answers
    std::vector<std::uint32_t> windows;  // what widen_window was asked for
    io::TcpInfo info;                    // what tcp_info answers
  };

  explicit RecordingIo(io::BufferGroup::Options buffers) : buffers_(buffers) { sockets[kClient] = {}; }

  static constexpr Fd kClient{100};

  std::map<Fd, Socket> sockets;
  std::vector<std::string> breaches;
  Fd backend = Fd::none;  // the newest
  int open_error = 0;     // what open_stream answers
  int pipe_error = 0;     // what open_pipe answers
  std::uint64_t pipes_open = 0;
  std::vector<io::BufferId> lent;  // as if they were in the kernel's ring

  // ---- for the test ----

  [[nodiscard]] const Op* find(OpKind kind, unsigned side) const {
    for (const Op& op : ops_) {
      if (op.tag.kind() == kind && op.tag.side() == side) return &op;
    }
    return nullptr;
  }
  [[nodiscard]] const std::vector<Op>& in_flight() const { return ops_; }
  /// How many of this kind were submitted so far, on both sides.
  [[nodiscard]] std::uint32_t submitted(OpKind kind) const { return submitted_.at(static_cast<std::size_t>(kind)); }

  /// `length` bytes come from the peer; more stay armed unless `more` is false.
  io::Completion receive(OpTag tag, std::uint32_t length, bool more);
  /// An operation ends with this result.
  io::Completion complete(OpTag tag, std::int32_t result);
  void lend(std::uint32_t count);
  void take_back_lent();

  // ---- Io ----

  void accept(OpTag tag, Fd listener, io::AcceptMode mode) override;
  void connect(OpTag tag, Fd fd, const net::Endpoint& remote) override;
  void recv(OpTag tag, Fd fd) override;
  void send(OpTag tag, Fd fd, std::span<const std::span<const std::byte>> slices) override;
  void send_is_last(OpTag tag) override;
  void splice(OpTag tag, Fd from, Fd to, std::size_t length) override;
  void poll(OpTag tag, Fd fd, io::PollFor what) override;
  void cancel(OpTag target) override;
  void close(Fd fd, io::CloseMode mode) override;
  io::FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& source) override;
  void set_keepalive(Fd fd) override;
  io::FdResult accept_now(Fd /*listener*/) override {
    breach("accept_now on a TCP flow");
    return {};
  }
  void set_refusing(Fd /*listener*/, bool /*refusing*/) override { breach("set_refusing on a TCP flow"); }
  io::ReceiveQueue receive_queue(Fd fd) override;
  void widen_window(Fd fd, std::uint32_t bytes) override { open_socket(fd).windows.push_back(bytes); }
  io::TcpInfo tcp_info(Fd fd) override;
  void recv_datagrams(OpTag /*tag*/, Fd /*fd*/) override { breach("recv_datagrams on a TCP flow"); }
  void send_datagrams(OpTag /*tag*/, Fd /*fd*/, const io::DatagramsToSend& /*message*/) override {
    breach("send_datagrams on a TCP flow");
  }
  io::FdResult open_datagram(const io::DatagramSocketOptions& /*options*/) override { return {}; }
  io::ReceivedDatagrams received(io::BufferId /*buffer*/) override { return {}; }
  std::optional<io::DatagramError> take_error(Fd /*fd*/) override { return {}; }
  int open_pipe(io::Pipe& pipe) override;
  int shutdown_write(Fd fd) override;
  std::uint32_t bytes_unsent(Fd fd) override;
  net::Endpoint peer(Fd /*fd*/) override { return {}; }
  net::Endpoint local(Fd /*fd*/) override { return {}; }
  io::BufferGroup& buffers() override { return buffers_; }
  io::BufferGroup& datagram_buffers() override { return buffers_; }
  std::span<const io::Completion> turn(Instant /*deadline*/) override { return {}; }
  [[nodiscard]] Instant now() const override { return {}; }
  void wake() override {}

 private:
  static constexpr int kFirstPipe = 1000;

  struct PipeState {
    Fd filled_from = Fd::none;
    std::uint64_t begin = 0;  // positions in that socket's stream
    std::uint64_t end = 0;
    bool read_end_open = true;
    bool write_end_open = true;
  };

  static bool is_pipe(Fd fd) { return io::raw(fd) >= kFirstPipe; }
  /// The `position`th byte that comes from a socket.
  static std::byte byte_of(Fd fd, std::uint64_t position) {
    return static_cast<std::byte>((position * 31 + position / 253 + static_cast<std::uint64_t>(io::raw(fd)) * 7) &
                                  0xffU);
  }

  void breach(const std::string& what) { breaches.push_back(what); }
  Op& begin(OpTag tag, OpKind kind, Fd fd);
  Op take(OpTag tag);
  Socket& open_socket(Fd fd);
  PipeState& pipe_of(Fd fd) { return pipes_.at(static_cast<std::size_t>(io::raw(fd) - kFirstPipe) / 2); }
  void end_send(const Op& op, std::uint32_t length);
  void end_splice_in(const Op& op, std::uint32_t length);
  void end_splice_out(const Op& op, std::uint32_t length);

  io::BufferGroup buffers_;
  std::vector<Op> ops_;
  std::vector<PipeState> pipes_;
  std::array<std::uint32_t, io::kOpKinds> submitted_{};
  int next_fd_ = 101;
};

}  // namespace millrace::flow::test
