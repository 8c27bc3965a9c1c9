#pragma once
// BuggyIo: hands everything on to another Io, except for one planted bug. It stands between a Worker and its SimIo, so
// that production code carries no testing flag, and yet looks as if it had the bug.

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "millrace/base/rng.hpp"
#include "millrace/io/io.hpp"

namespace millrace::sim {

enum class Bug : std::uint8_t {
  drops_fin,              // shutdown_write() does nothing
  drops_tail,             // the last byte of a receive is lost
  repeats_bytes,          // a send claims less than it has sent
  swaps_buffers,          // two received buffers change places
  corrupts_byte,          // one bit of a received buffer
  writes_while_sending,   // bytes change while they are being sent
  holds_back,             // a send waits for a FIN that does not come
  invents_eof,            // a receive is taken for the end of the stream
  leaks_descriptor,       // a close does nothing
  leaks_buffer,           // a buffer is never given back
  turns_reset_into_fin,   // an abortive close becomes an orderly one
  turns_fin_into_reset,   // and the other way round
  loses_receive,          // a receive is never armed
  loses_cancel,           // a cancel is swallowed
  loses_completion,       // the end of a splice is never told
  doubles_completion,     // a final completion comes twice
  receives_twice,         // a second receive on one descriptor
  closes_in_flight,       // a descriptor is closed too early
  accepts_without_pause,  // accepting goes on at once after EMFILE

  swaps_senders,                   // a datagram seems to come from the sender of the one before
  joins_datagrams,                 // a train is taken for one long datagram
  cuts_datagrams,                  // the last byte of a received datagram is lost
  hides_truncation,                // what was cut off is taken for whole
  drops_empty_datagrams,           // "nothing was received"
  reorders_datagrams,              // two received messages change places
  leaks_datagram_buffer,           // one is never given back
  loses_datagram_receive,          // a receive is never armed
  sends_datagrams_twice,           // a send is submitted again
  writes_while_sending_datagrams,  // bytes change while they are being sent
  replies_from_elsewhere,          // the local address of a reply is forgotten
  replies_to_the_last,             // a reply goes to the client of the one before
  ignores_icmp,                    // an error in the error queue is thrown away
};

struct BugName {
  Bug bug;
  std::string_view name;
};
[[nodiscard]] const std::vector<BugName>& planted_bugs();

class BuggyIo final : public io::Io {
 public:
  BuggyIo(io::Io& real, Bug bug, std::uint64_t seed) : real_(real), bug_(bug), random_(mix64(seed) ^ 0xb0060ULL) {}

  void accept(io::OpTag tag, io::Fd listener, io::AcceptMode mode) override { real_.accept(tag, listener, mode); }
  void connect(io::OpTag tag, io::Fd fd, const net::Endpoint& remote) override { real_.connect(tag, fd, remote); }
  void recv(io::OpTag tag, io::Fd fd) override;
  void send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) override;
  void send_is_last(io::OpTag tag) override { real_.send_is_last(tag); }
  void splice(io::OpTag tag, io::Fd from, io::Fd to, std::size_t length) override {
    real_.splice(tag, from, to, length);
  }
  void poll(io::OpTag tag, io::Fd fd, io::PollFor what) override { real_.poll(tag, fd, what); }
  void recv_datagrams(io::OpTag tag, io::Fd fd) override;
  void send_datagrams(io::OpTag tag, io::Fd fd, const io::DatagramsToSend& message) override;
  void cancel(io::OpTag target) override;
  void close(io::Fd fd, io::CloseMode mode) override;

  io::FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& source) override {
    return real_.open_stream(remote, source);
  }
  void set_keepalive(io::Fd fd) override { real_.set_keepalive(fd); }
  io::FdResult accept_now(io::Fd listener) override { return real_.accept_now(listener); }
  void set_refusing(io::Fd listener, bool refusing) override { real_.set_refusing(listener, refusing); }
  io::ReceiveQueue receive_queue(io::Fd fd) override { return real_.receive_queue(fd); }
  io::TcpInfo tcp_info(io::Fd fd) override { return real_.tcp_info(fd); }
  io::FdResult open_datagram(const io::DatagramSocketOptions& options) override { return real_.open_datagram(options); }
  io::ReceivedDatagrams received(io::BufferId buffer) override;
  std::optional<io::DatagramError> take_error(io::Fd fd) override;
  int open_pipe(io::Pipe& pipe) override { return real_.open_pipe(pipe); }
  int shutdown_write(io::Fd fd) override;
  std::uint32_t bytes_unsent(io::Fd fd) override { return real_.bytes_unsent(fd); }
  net::Endpoint peer(io::Fd fd) override { return real_.peer(fd); }
  net::Endpoint local(io::Fd fd) override { return real_.local(fd); }
  io::BufferGroup& buffers() override { return real_.buffers(); }
  io::BufferGroup& datagram_buffers() override { return real_.datagram_buffers(); }

  std::span<const io::Completion> turn(Instant deadline) override;
  void set_gather_time(Nanos time) override { real_.set_gather_time(time); }
  [[nodiscard]] Instant now() const override { return real_.now(); }
  void wake() override { real_.wake(); }

 private:
  /// Is it the bug of this run, and is it time for it? Once in a while only, as bugs do.
  [[nodiscard]] bool strikes(Bug bug) { return bug_ == bug && random_.one_in(4); }
  /// False: the completion is lost.
  [[nodiscard]] bool spoil(io::Completion& completion);
  void spoil_received(io::Completion& completion);
  void swap_two_buffers();
  void swap_two_messages();

  io::Io& real_;
  Bug bug_;
  Rng random_;
  std::vector<io::Completion> batch_;
  net::IpEndpoint last_sender_;
  net::IpEndpoint last_client_;
};

}  // namespace millrace::sim
