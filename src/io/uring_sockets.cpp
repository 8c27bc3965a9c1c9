// The immediate verbs of UringIo: plain system calls that never wait.

#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "millrace/io/sockets.hpp"
#include "socket_options.hpp"
#include "uring_io_impl.hpp"

namespace millrace::io {
namespace {

int set_stream_options(int fd, const net::Endpoint& source, const StreamOptions& options) {
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return error;
  if (options.keepalive) {
    if (const int error = set_keepalive(fd)) return error;
  }
  return source.family() == net::Family::none ? 0 : bind_source(fd, source);
}

}  // namespace

FdResult UringIo::open_stream(const net::Endpoint& remote, const net::Endpoint& source, const StreamOptions& options) {
  if (remote.family() == net::Family::none) return {Fd::none, EDESTADDRREQ};
  const int fd = ::socket(remote.sockaddr_ptr()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {Fd::none, errno};
  // Unix sockets have neither options of TCP nor a source address.
  const int error = remote.is_unix() ? 0 : set_stream_options(fd, source, options);
  if (error == 0) return {static_cast<Fd>(fd), 0};
  ::close(fd);
  return {Fd::none, error};
}

int UringIo::open_pipe(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return errno;
  // Over the user's limit (fs.pipe-max-size, fs.pipe-user-pages-soft) the pipe keeps the size it has.
  constexpr std::uint32_t kBytesMax = std::numeric_limits<int>::max();
  (void)::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(std::min(options_.pipe_bytes, kBytesMax)));
  pipe = {static_cast<Fd>(ends[0]), static_cast<Fd>(ends[1])};
  return 0;
}

int UringIo::shutdown_write(Fd fd) {
  return ::shutdown(raw(fd), SHUT_WR) == 0 ? 0 : errno;
}

void UringIo::set_receive_low_water(Fd fd, std::uint32_t bytes) {
  constexpr std::uint32_t kBytesMax = std::numeric_limits<int>::max();
  (void)set_option(raw(fd), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(std::min(bytes, kBytesMax)));
}

std::uint32_t UringIo::bytes_unsent(Fd fd) {
  int bytes = 0;
  if (::ioctl(raw(fd), SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<std::uint32_t>(bytes);
}

net::Endpoint UringIo::peer(Fd fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getpeername(raw(fd), reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return net::Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}

net::Endpoint UringIo::local(Fd fd) {
  return bound_address(fd);
}

}  // namespace millrace::io
