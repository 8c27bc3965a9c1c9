#pragma once
// UringIo, the production implementation of Io. The interface and its contract are in io.hpp; why each flag and opcode
// is used is in docs/io_uring.md. uring_io.cpp holds set-up and the loop, uring_verbs.cpp the asynchronous verbs,
// uring_sockets.cpp the immediate ones.

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "millrace/io/uring_io.hpp"
#include "receive_ring.hpp"
#include "ring.hpp"
#include "scratch.hpp"
#include "splice_queue.hpp"

namespace millrace::io {

class UringIo final : public Io {
 public:
  UringIo(const UringOptions& options, const UringFeatures& features);
  ~UringIo() override;

  /// Opens the ring; afterwards nothing fails for want of memory in this object. 0 or errno, and in `step` what failed.
  [[nodiscard]] int open(const char*& step);

  void accept(OpTag tag, Fd listener, AcceptMode mode) override;
  void connect(OpTag tag, Fd fd, const net::Endpoint& remote) override;
  void recv(OpTag tag, Fd fd) override;
  void send(OpTag tag, Fd fd, std::span<const std::span<const std::byte>> slices) override;
  void send_is_last(OpTag tag) override;
  void splice(OpTag tag, Fd from, Fd to, std::size_t length) override;
  void poll(OpTag tag, Fd fd, PollFor what) override;
  void recv_datagrams(OpTag tag, Fd fd) override;
  void send_datagrams(OpTag tag, Fd fd, const DatagramsToSend& message) override;
  void cancel(OpTag target) override;
  void close(Fd fd, CloseMode mode) override;

  FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& source) override;
  void set_keepalive(Fd fd) override;
  FdResult accept_now(Fd listener) override;
  void set_refusing(Fd listener, bool refusing) override;
  FdResult open_datagram(const DatagramSocketOptions& options) override;
  ReceivedDatagrams received(BufferId buffer) override;
  std::optional<DatagramError> take_error(Fd fd) override;
  int open_pipe(Pipe& pipe) override;
  int shutdown_write(Fd fd) override;
  std::uint32_t bytes_unsent(Fd fd) override;
  ReceiveQueue receive_queue(Fd fd) override;
  void widen_window(Fd fd, std::uint32_t bytes) override;
  TcpInfo tcp_info(Fd fd) override;
  net::Endpoint peer(Fd fd) override;
  net::Endpoint local(Fd fd) override;
  BufferGroup& buffers() override { return streams_.buffers; }
  BufferGroup& datagram_buffers() override;

  std::span<const Completion> turn(Instant deadline) override;
  void set_gather_time(Nanos time) override { gather_time_ = time; }
  [[nodiscard]] Instant now() const override { return now_; }
  void wake() override;

 private:
  [[nodiscard]] io_uring_sqe* entry(OpTag tag, io_uring_op opcode, Fd fd);
  void submit();
  void arm_wake();
  void run_splices();
  void enter(Instant deadline);
  void wait(Nanos timeout);
  [[nodiscard]] Nanos poll_busily(Nanos timeout);
  void trim_memory();
  void reap();
  void reap_one(const io_uring_cqe& cqe);
  void reap_wake(const io_uring_cqe& cqe);
  void reap_recv(const io_uring_cqe& cqe);
  void reap_watch(const io_uring_cqe& cqe);
  void end_watch(OpTag watch, std::int32_t seen);
  void reap_datagrams(const io_uring_cqe& cqe);

  /// A buffer group, and its part that is lent to the kernel.
  struct Receiving {
    Receiving(BufferGroup::Options options, std::uint16_t group_id) : buffers(options), ring(buffers, group_id) {}
    BufferGroup buffers;
    ReceiveRing ring;
  };
  [[nodiscard]] static BufferId claim_buffer(const io_uring_cqe& cqe, Receiving& receiving, bool filled);
  void trim(Receiving& receiving);
  [[nodiscard]] static bool may_be_cold(const Receiving& receiving);

  const UringOptions options_;
  const UringFeatures features_;
  Scratch scratch_;
  SpliceQueue splices_;
  // Declared before the ring: their memory must outlive the ring that uses it.
  Receiving streams_;
  std::optional<Receiving> datagrams_;
  std::vector<std::byte> quote_;  // of the error that was taken last
  Ring ring_;
  std::vector<Completion> batch_;
  io_uring_sqe* newest_send_ = nullptr;  // may have been submitted, and its entry may be another operation's by now
  Instant now_;
  Instant trim_at_ = kNever;  // set while a burst has left memory that may not be needed any more
  Nanos gather_time_{0};
  std::uint32_t turns_outside_ = 0;  // since the ring was last entered
  int wake_fd_ = -1;
  std::atomic<bool> wake_pending_{false};  // set exactly while wake_fd_ has been written and turn() has not seen it
};

}  // namespace millrace::io
