#include "sockets.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace tcp_load {
namespace {

constexpr int kBacklog = 4096;
constexpr timeval kReceiveTimeout{.tv_sec = 5, .tv_usec = 0};

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  result.sin_port = htons(port);
  return result;
}

const sockaddr* generic(const sockaddr_in& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

int open_socket() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  return fd;
}

}  // namespace

void fail(const char* step) {
  const int error = errno;
  fmt::print(stderr, "tcp-load: {}: {}\n", step, std::generic_category().message(error));
  std::_Exit(1);
}

int open_listener(std::uint16_t port) {
  const int fd = open_socket();
  const int on = 1;
  if (::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0) fail("SO_REUSEADDR");
  const sockaddr_in local = loopback(port);
  if (::bind(fd, generic(local), sizeof local) != 0) fail("bind");
  if (::listen(fd, kBacklog) != 0) fail("listen");
  set_nonblocking(fd);
  return fd;
}

int open_connected(std::uint16_t port) {
  const int fd = open_socket();
  set_no_delay(fd);
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kReceiveTimeout, sizeof kReceiveTimeout) != 0) fail("SO_RCVTIMEO");
  const sockaddr_in remote = loopback(port);
  if (::connect(fd, generic(remote), sizeof remote) == 0) return fd;
  ::close(fd);
  return -1;
}

void set_no_delay(int fd) {
  const int on = 1;
  if (::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) fail("TCP_NODELAY");
}

void set_nonblocking(int fd) {
  if (::fcntl(fd, F_SETFL, O_NONBLOCK) != 0) fail("O_NONBLOCK");
}

bool send_all(int fd, std::span<const char> data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data = data.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

bool receive_all(int fd, std::span<char> data) {
  while (!data.empty()) {
    const ssize_t received = ::recv(fd, data.data(), data.size(), 0);
    if (received < 0 && errno == EINTR) continue;
    if (received <= 0) return false;
    data = data.subspan(static_cast<std::size_t>(received));
  }
  return true;
}

void close_at_once(int fd) {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  if (::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0) fail("SO_LINGER");
  ::close(fd);
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
}

}  // namespace tcp_load
