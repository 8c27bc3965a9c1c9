#pragma once
// SimIo: io::Io on virtual time and an in-memory kernel, with faults by seed. One per simulated worker; several share
// one Kernel. Asserts the contract of io.hpp: whoever breaks it ends the run with a violation.
//
// How an operation goes: a verb puts it into the submission queue; turn() moves the queue into the "ring" (all of it,
// or with the full-ring fault a part), runs whatever can go on, in any order across descriptors, and queues
// completions; it hands back a bounded batch of them. So a completion may be on its way while the operation is
// cancelled, and a cancel never overtakes what it cancels.

#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_map>
#include <vector>

#include "context.hpp"
#include "kernel.hpp"
#include "millrace/io/io.hpp"

namespace millrace::sim {

enum class Verb : std::uint8_t { accept, connect, recv, send, splice, poll, recv_datagrams, send_datagrams };

/// An operation from its submission until its final completion has been handed back.
struct Op {
  io::OpTag tag;
  Verb verb = Verb::poll;
  io::Fd fd = io::Fd::none;  // splice: from
  io::Fd to = io::Fd::none;  // splice only
  bool multishot = false;    // accept only; receives always are
  io::PollFor poll = io::PollFor::readable;
  std::size_t length = 0;  // splice
  net::Endpoint remote;    // connect

  net::IpEndpoint datagrams_to;  // send_datagrams
  net::IpEndpoint datagrams_from;
  std::uint32_t segment_bytes = 0;

  std::vector<std::span<const std::byte>> slices;  // sends: the caller's memory …
  std::vector<std::byte> copy;                     // … and what was in it at submission
  std::size_t sent = 0;
  bool is_last = false;  // what it leaves in the socket may wait for the FIN

  bool begun = false;  // it is in the ring
  bool tried = false;  // from now on it waits for a poll before each attempt
  bool cancel_asked = false;
  bool finished = false;  // its final completion is queued
};

/// Told of every datagram that a worker gets and sends.
class DatagramObserver {
 public:
  virtual ~DatagramObserver() = default;
  /// A receive has handed it over.
  virtual void handed_over(int worker, const DatagramSocket& socket, const io::ReceivedDatagrams& message) = 0;
  /// The worker asks for a send.
  virtual void sending(int worker, const DatagramSocket& socket, const io::DatagramsToSend& message) = 0;
  /// The kernel has looked at it: bytes, or -errno. `bytes` are all slices.
  virtual void sent(int worker, const DatagramSocket& socket, const io::DatagramsToSend& message,
                    std::span<const std::byte> bytes, std::int32_t result) = 0;
  /// The worker has taken an error from the queue.
  virtual void error_taken(int worker, const DatagramSocket& socket, const io::DatagramError& error) = 0;
  /// The worker wanted another socket, and there was none.
  virtual void socket_refused(int worker) = 0;
};

class SimIo final : public io::Io, private Watcher, private FdUser {
 public:
  struct Options {
    io::BufferGroup::Options buffers;
    std::uint32_t datagram_buffers = 1;
    std::uint32_t pipe_bytes = 4096;
    QueueSizes backend_queues;
    int worker = 0;
    /// True: turn() lets time pass until something completes. False: it returns, and the caller looks at wakes_at().
    bool waits = true;
  };

  /// What the oracles want to know as it happens.
  struct Hooks {
    std::function<void(io::OpTag, Socket&)> first_op;  // the first operation on a socket: which flow it belongs to
    std::function<void(Socket&)> moved;                // bytes were read from it
    std::function<void(Socket&, const net::Endpoint&)> connecting;
    std::function<void(Socket&)> closing;
  };

  SimIo(Kernel& kernel, const Options& options);
  ~SimIo() override = default;

  void accept(io::OpTag tag, io::Fd listener, io::AcceptMode mode) override;
  void connect(io::OpTag tag, io::Fd fd, const net::Endpoint& remote) override;
  void recv(io::OpTag tag, io::Fd fd) override;
  void send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) override;
  void send_is_last(io::OpTag tag) override;
  void splice(io::OpTag tag, io::Fd from, io::Fd to, std::size_t length) override;
  void poll(io::OpTag tag, io::Fd fd, io::PollFor what) override;
  void recv_datagrams(io::OpTag tag, io::Fd fd) override;
  void send_datagrams(io::OpTag tag, io::Fd fd, const io::DatagramsToSend& message) override;
  void cancel(io::OpTag target) override;
  void close(io::Fd fd, io::CloseMode mode) override;

  io::FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& source) override;
  void set_keepalive(io::Fd fd) override;
  io::FdResult accept_now(io::Fd listener) override;
  void set_refusing(io::Fd listener, bool refusing) override;
  io::ReceiveQueue receive_queue(io::Fd fd) override;
  io::TcpInfo tcp_info(io::Fd fd) override;
  io::FdResult open_datagram(const io::DatagramSocketOptions& options) override;
  io::ReceivedDatagrams received(io::BufferId buffer) override;
  std::optional<io::DatagramError> take_error(io::Fd fd) override;
  int open_pipe(io::Pipe& pipe) override;
  int shutdown_write(io::Fd fd) override;
  std::uint32_t bytes_unsent(io::Fd fd) override;
  net::Endpoint peer(io::Fd fd) override;
  net::Endpoint local(io::Fd fd) override;
  io::BufferGroup& buffers() override { return buffers_; }
  io::BufferGroup& datagram_buffers() override { return datagram_buffers_; }

  std::span<const io::Completion> turn(Instant deadline) override;
  [[nodiscard]] Instant now() const override { return now_; }
  void wake() override { woken_ = true; }

  // For the scenario and the oracles.
  Hooks hooks;
  DatagramObserver* datagram_observer = nullptr;
  /// When turn() is to be called again (waits == false).
  [[nodiscard]] Instant wakes_at() const;
  [[nodiscard]] std::size_t in_flight() const { return ops_.size(); }
  [[nodiscard]] std::string describe_in_flight() const;
  [[nodiscard]] std::uint64_t turns() const { return turns_; }
  [[nodiscard]] std::uint64_t empty_turns() const { return empty_turns_; }
  [[nodiscard]] std::uint64_t accept_errors() const { return accept_errors_; }
  /// Receives of datagrams that ended without one.
  [[nodiscard]] std::uint64_t failed_receives() const { return failed_receives_; }

 private:
  // Submission (sim_io.cpp).
  Op& submit(io::OpTag tag, Verb verb, io::Fd fd);
  void forbid_second(const Descriptor& descriptor, const Op& op, bool as_source);
  void attach(io::OpTag tag, Descriptor& descriptor);
  void fill_ring();
  void begin(Op& op);
  void ask_cancel(Op& op);
  [[nodiscard]] bool idle() const;

  // Progress (sim_ops.cpp).
  void progress();
  void attempt(Op& op);
  void attempt_accept(Op& op);
  [[nodiscard]] bool accept_fault(Op& op);
  void attempt_connect(Op& op);
  void attempt_recv(Op& op);
  bool receive_once(Op& op, bool may_go_on);
  void attempt_send(Op& op);
  void attempt_splice(Op& op);
  [[nodiscard]] std::int32_t splice_in(Op& op, Socket& socket, PipeState& pipe);
  [[nodiscard]] std::int32_t splice_out(Op& op, PipeState& pipe, Socket& socket);
  void attempt_poll(Op& op);
  void end_cancelled(Op& op);

  // Datagrams (sim_datagrams.cpp).
  void check_message(const DatagramSocket& socket, const io::DatagramsToSend& message) const;
  void attempt_recv_datagrams(Op& op);
  bool receive_message(Op& op, bool may_go_on);
  [[nodiscard]] std::size_t fill(io::BufferId buffer, const Train& train);
  void send_at_once(Op& op);
  [[nodiscard]] io::FdResult try_open_datagram(const io::DatagramSocketOptions& options);
  void note_received(const Op& op, const io::Completion& completion);

  void post(Op& op, std::int32_t result, bool more = false, io::BufferId buffer = io::kNoBuffer);
  void check_slices(const Op& op) const;
  void hand_back();

  void socket_changed(Socket& socket) override { fd_changed(io::Fd(socket.fd)); }
  void fd_changed(io::Fd fd) override;
  void look_later(io::Fd fd);

  Kernel& kernel_;
  Context& context_;
  Options options_;
  io::BufferGroup buffers_;
  io::BufferGroup datagram_buffers_;
  struct Message {  // what is in a datagram buffer
    net::IpEndpoint from;
    net::IpEndpoint to;
    std::size_t bytes = 0;
    std::uint32_t segment_bytes = 0;
    bool truncated = false;
  };
  std::vector<Message> messages_;  // by buffer
  Payload quote_;                  // what take_error() told last

  struct Submission {
    io::OpTag tag;
    bool cancel;
  };
  std::deque<Submission> submitted_;
  std::unordered_map<std::uint64_t, Op> ops_;  // by tag
  std::vector<io::Fd> dirty_;
  std::deque<io::Completion> completions_;
  std::vector<io::Completion> batch_;

  Instant now_;
  Instant asleep_until_;
  bool asleep_ = false;  // the last turn() had nothing to do and would have waited
  bool woken_ = false;
  std::uint64_t turns_ = 0;
  std::uint64_t empty_turns_ = 0;
  std::uint64_t accept_errors_ = 0;
  std::uint64_t failed_receives_ = 0;
};

}  // namespace millrace::sim
