#pragma once
// DatagramIo: an Io that notes what is done with datagram sockets, and does nothing by itself. Stream verbs are
// breaches.

#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "millrace/io/io.hpp"

namespace millrace::flow::test {

class DatagramIo final : public io::Io {
 public:
  struct Sent {
    io::OpTag tag;
    io::Fd fd = io::Fd::none;
    net::IpEndpoint to;
    net::IpEndpoint from;
    std::string bytes;
    std::uint32_t segment_bytes = 0;
    std::size_t slices = 0;
  };

  std::vector<Sent> sent;
  std::vector<io::OpTag> receiving;  // recv_datagrams in the order of their submission
  std::vector<io::OpTag> cancelled;
  std::vector<io::Fd> closed;
  std::vector<std::string> breaches;
  int open_error = 0;
  int opened = 0;

  /// A buffer that holds these bytes, as after a receive.
  io::BufferId fill(std::string_view bytes) {
    const io::BufferId id = buffers_.take();
    std::memcpy(buffers_.data(id), bytes.data(), bytes.size());
    return id;
  }
  [[nodiscard]] std::span<const std::byte> bytes_in(io::BufferId id, std::size_t length) {
    return {buffers_.data(id), length};
  }

  void recv_datagrams(io::OpTag tag, io::Fd /*fd*/) override { receiving.push_back(tag); }
  void send_datagrams(io::OpTag tag, io::Fd fd, const io::DatagramsToSend& message) override {
    Sent& one = sent.emplace_back();
    one.tag = tag;
    one.fd = fd;
    one.to = message.to;
    one.from = message.from;
    one.segment_bytes = message.segment_bytes;
    one.slices = message.slices.size();
    for (const auto slice : message.slices) {
      one.bytes.append(reinterpret_cast<const char*>(slice.data()), slice.size());
    }
  }
  void cancel(io::OpTag target) override { cancelled.push_back(target); }
  void close(io::Fd fd, io::CloseMode /*mode*/) override { closed.push_back(fd); }
  io::FdResult open_datagram(const io::DatagramSocketOptions& /*options*/) override {
    if (open_error != 0) return {.fd = io::Fd::none, .error = open_error};
    return {.fd = static_cast<io::Fd>(100 + opened++)};
  }
  io::ReceivedDatagrams received(io::BufferId /*buffer*/) override { return {}; }
  std::optional<io::DatagramError> take_error(io::Fd /*fd*/) override { return std::nullopt; }
  io::BufferGroup& buffers() override { return buffers_; }
  io::BufferGroup& datagram_buffers() override { return buffers_; }

  void accept(io::OpTag, io::Fd, io::AcceptMode) override { breach("accept"); }
  void connect(io::OpTag, io::Fd, const net::Endpoint&) override { breach("connect"); }
  void recv(io::OpTag, io::Fd) override { breach("recv"); }
  void send(io::OpTag, io::Fd, std::span<const std::span<const std::byte>>) override { breach("send"); }
  void splice(io::OpTag, io::Fd, io::Fd, std::size_t) override { breach("splice"); }
  void poll(io::OpTag, io::Fd, io::PollFor) override { breach("poll"); }
  io::FdResult open_stream(const net::Endpoint&, const net::Endpoint&) override {
    breach("open_stream");
    return {};
  }
  int open_pipe(io::Pipe&) override { return EMFILE; }
  int shutdown_write(io::Fd) override { return 0; }
  void set_keepalive(io::Fd) override {}
  io::FdResult accept_now(io::Fd) override { return {}; }
  void set_refusing(io::Fd, bool) override {}
  io::ReceiveQueue receive_queue(io::Fd) override { return {}; }
  io::TcpInfo tcp_info(io::Fd) override { return {}; }
  std::uint32_t bytes_unsent(io::Fd) override { return 0; }
  net::Endpoint peer(io::Fd) override { return {}; }
  net::Endpoint local(io::Fd) override { return {}; }
  std::span<const io::Completion> turn(Instant) override { return {}; }
  [[nodiscard]] Instant now() const override { return {}; }
  void wake() override {}

 private:
  void breach(const char* what) { breaches.emplace_back(what); }

  io::BufferGroup buffers_{{.count = 64, .bytes_per_buffer = 69632}};
};

}  // namespace millrace::flow::test
