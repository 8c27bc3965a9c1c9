#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <vector>

#include "modes.hpp"
#include "sockets.hpp"

namespace udp_load {
namespace {

constexpr std::uint32_t kFirstHost = 0x7f000001;
constexpr std::size_t kBatch = 64;
constexpr std::size_t kBytes = 2048;

/// A DNS header's flags begin at its third byte, with the bit that tells an answer from a query.
constexpr std::size_t kFlags = 2;
constexpr std::byte kIsAnswer{0x80};

/// What one call receives and the next one sends back.
class Batch {
 public:
  Batch() {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors_[i] = {.iov_base = buffers_[i].data(), .iov_len = kBytes};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
      messages_[i].msg_hdr.msg_name = &from_[i];
    }
  }

  /// Returns whether the socket may hold more.
  bool answer(int fd) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      vectors_[i].iov_len = kBytes;
      messages_[i].msg_hdr.msg_namelen = sizeof from_[i];
    }
    const int received = ::recvmmsg(fd, messages_.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (received < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
    if (received <= 0) return false;
    const auto count = static_cast<std::size_t>(received);
    for (std::size_t i = 0; i < count; ++i) {
      vectors_[i].iov_len = messages_[i].msg_len;
      if (messages_[i].msg_len > kFlags) buffers_[i][kFlags] |= kIsAnswer;
    }
    // What cannot be sent is lost, like everything that a server cannot keep up with.
    (void)::sendmmsg(fd, messages_.data(), static_cast<unsigned>(count), 0);
    return count == kBatch;
  }

 private:
  std::array<std::array<std::byte, kBytes>, kBatch> buffers_{};
  std::array<iovec, kBatch> vectors_{};
  std::array<sockaddr_in, kBatch> from_{};
  std::array<mmsghdr, kBatch> messages_{};
};

}  // namespace

void answer(const AnswerOptions& options) {
  std::vector<pollfd> sockets;
  for (std::uint32_t i = 0; i < options.addresses; ++i) {
    sockets.push_back({.fd = open_bound(address(kFirstHost + i, options.port)), .events = POLLIN, .revents = 0});
  }
  Batch batch;
  for (;;) {
    if (::poll(sockets.data(), sockets.size(), -1) < 0 && errno != EINTR) fail("poll");
    for (const pollfd& socket : sockets) {
      if ((socket.revents & POLLIN) == 0) continue;
      while (batch.answer(socket.fd)) {
      }
    }
  }
}

}  // namespace udp_load
