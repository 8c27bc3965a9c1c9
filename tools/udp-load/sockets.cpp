#include "sockets.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

namespace udp_load {

void fail(const char* step) {
  const int error = errno;
  fmt::print(stderr, "udp-load: {}: {}\n", step, std::generic_category().message(error));
  std::_Exit(1);
}

sockaddr_in address(std::uint32_t host, std::uint16_t port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_addr.s_addr = htonl(host);
  result.sin_port = htons(port);
  return result;
}

void set_option(int fd, int level, int name, int value, const char* step) {
  if (::setsockopt(fd, level, name, &value, sizeof value) != 0) fail(step);
}

void set_receive_timeout(int fd, std::chrono::milliseconds timeout) {
  const timeval limit{.tv_sec = timeout.count() / 1000, .tv_usec = timeout.count() % 1000 * 1000};
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) != 0) fail("SO_RCVTIMEO");
}

int open_socket() {
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  set_option(fd, SOL_SOCKET, SO_RCVBUF, kSocketBufferBytes, "SO_RCVBUF");
  set_option(fd, SOL_SOCKET, SO_SNDBUF, kSocketBufferBytes, "SO_SNDBUF");
  return fd;
}

namespace {

const sockaddr* generic(const sockaddr_in& address) {
  return static_cast<const sockaddr*>(static_cast<const void*>(&address));
}

}  // namespace

int open_bound(const sockaddr_in& local) {
  const int fd = open_socket();
  if (::bind(fd, generic(local), sizeof local) != 0) fail("bind");
  return fd;
}

int open_connected(const sockaddr_in& remote) {
  const int fd = open_socket();
  if (::connect(fd, generic(remote), sizeof remote) != 0) fail("connect");
  return fd;
}

}  // namespace udp_load
