#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <thread>
#include <vector>

#include "modes.hpp"
#include "sockets.hpp"

namespace tcp_load {
namespace {

constexpr std::size_t kBytes = 16 * 1024;
constexpr std::size_t kBulkBytes = 256 * 1024;
constexpr int kEvents = 64;

/// On a thread of its own: a bulk flow must not keep the echoes waiting in the server, as they are the proxy's to
/// delay.
void discard(int fd) {
  std::vector<char> data(kBulkBytes);
  for (;;) {
    const ssize_t received = ::recv(fd, data.data(), data.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) break;
  }
  ::close(fd);
}

class Server {
 public:
  explicit Server(std::uint16_t port) : listener_(open_listener(port)), poll_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (poll_ < 0) fail("epoll_create1");
    watch(listener_);
  }

  void run() {
    std::array<epoll_event, kEvents> events{};
    for (;;) {
      const int ready = ::epoll_wait(poll_, events.data(), kEvents, -1);
      if (ready < 0 && errno != EINTR) fail("epoll_wait");
      for (int i = 0; i < ready; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == listener_) {
          accept_all();
        } else {
          serve(fd);
        }
      }
    }
  }

 private:
  void watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    if (::epoll_ctl(poll_, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  void accept_all() {
    for (;;) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      set_no_delay(fd);
      watch(fd);
    }
  }

  /// The sockets block: an echo is smaller than any socket's buffer, and its asker waits for it.
  void serve(int fd) {
    const ssize_t received = ::recv(fd, data_.data(), data_.size(), MSG_DONTWAIT);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const bool is_bulk = received > 0 && data_[0] == kBulk;
    if (is_bulk) {
      if (::epoll_ctl(poll_, EPOLL_CTL_DEL, fd, nullptr) != 0) fail("epoll_ctl");
      std::thread(discard, fd).detach();
      return;
    }
    if (received <= 0 || !send_all(fd, std::span(data_).first(static_cast<std::size_t>(received)))) ::close(fd);
  }

  int listener_;
  int poll_;
  std::array<char, kBytes> data_{};
};

}  // namespace

void echo(const EchoOptions& options) {
  raise_descriptor_limit();
  Server(options.port).run();
}

}  // namespace tcp_load
