#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <deque>
#include <vector>

#include "modes.hpp"
#include "sockets.hpp"

namespace udp_load {
namespace {

constexpr std::uint32_t kLoopback = 0x7f000001;
constexpr std::uint32_t kFirstSource = 0x7f010001;  // 127.1.0.1

/// A socket is bound to every address, and gives each datagram its own: with so few of them no limit of descriptors is
/// met.
constexpr std::size_t kSockets = 64;

constexpr std::size_t kOutstandingMax = 128;
constexpr int kAnswerMilliseconds = 300;
constexpr unsigned kAttemptsMax = 4;

/// Behind what is a DNS header to the answering side.
constexpr std::size_t kNumberAt = 16;
constexpr std::size_t kBytes = 32;

class Clients {
 public:
  explicit Clients(const SessionsOptions& options)
      : proxy_(address(kLoopback, options.to)), attempts_(options.count), answered_(options.count) {
    for (std::size_t i = 0; i < kSockets; ++i) {
      sockets_.push_back({.fd = open_bound(address(INADDR_ANY, 0)), .events = POLLIN, .revents = 0});
    }
    for (std::size_t i = 0; i < options.count; ++i) waiting_.push_back(i);
  }

  void run() {
    std::vector<std::size_t> outstanding;
    while (!waiting_.empty()) {
      outstanding.clear();
      while (outstanding.size() < kOutstandingMax && !waiting_.empty()) {
        const std::size_t session = waiting_.front();
        waiting_.pop_front();
        ++attempts_[session];
        send(session);
        outstanding.push_back(session);
      }
      collect(outstanding);
      for (const std::size_t session : outstanding) {
        if (!answered_[session] && attempts_[session] < kAttemptsMax) waiting_.push_back(session);
      }
    }
  }

  std::size_t answered() const { return answered_count_; }

 private:
  /// The next source address begins when every socket has used this one.
  static std::uint32_t source_of(std::size_t session) {
    return kFirstSource + static_cast<std::uint32_t>(session / kSockets);
  }

  void send(std::size_t session) {
    std::array<std::byte, kBytes> data{};
    const std::uint64_t number = session;
    std::memcpy(data.data() + kNumberAt, &number, sizeof number);
    iovec vector{.iov_base = data.data(), .iov_len = data.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(in_pktinfo))> control{};
    msghdr message{};
    message.msg_name = &proxy_;
    message.msg_namelen = sizeof proxy_;
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_IP;
    header->cmsg_type = IP_PKTINFO;
    header->cmsg_len = CMSG_LEN(sizeof(in_pktinfo));
    in_pktinfo source{};
    source.ipi_spec_dst.s_addr = htonl(source_of(session));
    std::memcpy(CMSG_DATA(header), &source, sizeof source);
    if (::sendmsg(sockets_[session % kSockets].fd, &message, 0) < 0 && errno != ENOBUFS) fail("sendmsg");
  }

  /// Takes answers until all have come, or none has for a while.
  void collect(const std::vector<std::size_t>& outstanding) {
    const std::size_t before = answered_count_;
    std::size_t missing = 0;
    for (const std::size_t session : outstanding) {
      if (!answered_[session]) ++missing;
    }
    while (answered_count_ - before < missing) {
      const int ready = ::poll(sockets_.data(), sockets_.size(), kAnswerMilliseconds);
      if (ready < 0 && errno != EINTR) fail("poll");
      if (ready == 0) return;
      for (const pollfd& socket : sockets_) {
        if ((socket.revents & POLLIN) != 0) receive(socket.fd);
      }
    }
  }

  void receive(int fd) {
    std::array<std::byte, kBytes> data{};
    while (::recv(fd, data.data(), data.size(), MSG_DONTWAIT) == static_cast<ssize_t>(kBytes)) {
      std::uint64_t session = 0;
      std::memcpy(&session, data.data() + kNumberAt, sizeof session);
      if (session >= answered_.size() || answered_[session]) continue;
      answered_[session] = true;
      ++answered_count_;
    }
  }

  sockaddr_in proxy_;
  std::vector<pollfd> sockets_;
  std::deque<std::size_t> waiting_;
  std::vector<unsigned> attempts_;
  std::vector<bool> answered_;
  std::size_t answered_count_ = 0;
};

}  // namespace

void sessions(const SessionsOptions& options) {
  Clients clients(options);
  const auto started = Clock::now();
  clients.run();
  fmt::print("{{\"asked\": {}, \"answered\": {}, \"seconds\": {:.6f}}}\n", options.count, clients.answered(),
             std::chrono::duration<double>(Clock::now() - started).count());
}

}  // namespace udp_load
