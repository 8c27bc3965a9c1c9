#include "socket_options.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "compat.hpp"

namespace millrace::io {
namespace {

constexpr int kKeepaliveIdleSeconds = 60;
constexpr int kKeepaliveIntervalSeconds = 10;
constexpr int kKeepaliveProbes = 6;
constexpr int kUserTimeoutMs = 120'000;
/// Asked for; the kernel cuts it to net.core.rmem_max. What a burst may leave waiting while the worker is busy.
constexpr int kDatagramReceiveBytes = 4 * 1024 * 1024;
static_assert((kKeepaliveIdleSeconds + kKeepaliveIntervalSeconds * kKeepaliveProbes) * 1000 == kUserTimeoutMs,
              "with TCP_USER_TIMEOUT set the kernel ends a silent connection by it, not by the number of probes");

}  // namespace

int set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : errno;
}

int clear_keepalive(int fd) {
  if (const int error = set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 0)) return error;
  return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
}

int set_keepalive(int fd) {
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepaliveIdleSeconds)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepaliveIntervalSeconds)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepaliveProbes)) return error;
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs)) return error;
  return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

int set_datagram_options(int fd, net::Family family) {
  const bool v6 = family == net::Family::ipv6;
  const int error = v6 ? set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT)
                       : set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  if (error != 0) return error;
  (void)set_option(fd, SOL_UDP, UDP_GRO, 1);  // without it trains arrive one by one
  return set_option(fd, SOL_SOCKET, SO_RCVBUF, kDatagramReceiveBytes);
}

int bind_source(int fd, const net::Endpoint& source) {
  // A fixed port is shared between connections to different destinations only with SO_REUSEADDR.
  const int error = source.port() == 0 ? set_option(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                                       : set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (error != 0) return error;
  return ::bind(fd, source.sockaddr_ptr(), source.sockaddr_length()) == 0 ? 0 : errno;
}

}  // namespace millrace::io
