#include "millrace/io/sockets.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <utility>

#include "listen_failure.hpp"
#include "socket_options.hpp"

namespace millrace::io {
namespace {

/// Closes on the way out of a failed set-up.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] Fd release() { return static_cast<Fd>(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

struct Failure {
  std::string_view step;
  int error = 0;  // 0: none
};

/// What accepted sockets inherit.
Failure set_inherited_options(int fd, const ListenOptions& options) {
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return {"TCP_NODELAY", error};
  const int error = options.keepalive ? set_keepalive(fd) : clear_keepalive(fd);
  return error == 0 ? Failure{} : Failure{"keepalive", error};
}

Failure set_tcp_options(int fd, const net::Endpoint& address, const ListenOptions& options) {
  if (const int error = set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1)) return {"SO_REUSEADDR", error};
  if (options.reuse_port) {
    if (const int error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return {"SO_REUSEPORT", error};
  }
  if (address.family() == net::Family::ipv6) {
    if (const int error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0)) {
      return {"IPV6_V6ONLY", error};
    }
  }
  return set_inherited_options(fd, options);
}

/// Whether a program accepts connections behind this socket file. One whose backlog is full counts as well.
bool somebody_listens(const net::Endpoint& address) {
  const ScopedFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (probe.get() < 0) return true;  // cannot tell: keep the file
  if (::connect(probe.get(), address.sockaddr_ptr(), address.sockaddr_length()) == 0) return true;
  return errno != ECONNREFUSED && errno != ENOENT;
}

}  // namespace

int remove_stale_file(const net::Endpoint& address) {
  const char* path = reinterpret_cast<const sockaddr_un*>(address.sockaddr_ptr())->sun_path;
  if (path[0] == '\0') return 0;  // abstract names leave nothing behind
  struct stat status {};
  if (::lstat(path, &status) != 0) return 0;  // bind() will say what is wrong, if anything
  if (!S_ISSOCK(status.st_mode)) return ENOTSOCK;
  if (somebody_listens(address)) return EADDRINUSE;
  return ::unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

namespace {

Failure prepare(int fd, const net::Endpoint& address, const ListenOptions& options) {
  if (!address.is_unix()) return set_tcp_options(fd, address, options);
  const int error = remove_stale_file(address);
  return {error == 0 ? "" : "bind", error};
}

}  // namespace

Result<Fd> open_listener(const net::Endpoint& address, const ListenOptions& options) {
  const auto failed = [&address](std::string_view step, int error) {
    return Error{explain_listen_failure(address, step, error)};
  };
  if (address.family() == net::Family::none) return failed("socket", EDESTADDRREQ);
  ScopedFd fd(::socket(address.sockaddr_ptr()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return failed("socket", errno);
  if (const Failure failure = prepare(fd.get(), address, options); failure.error != 0) {
    return failed(failure.step, failure.error);
  }
  if (::bind(fd.get(), address.sockaddr_ptr(), address.sockaddr_length()) != 0) return failed("bind", errno);
  if (::listen(fd.get(), options.backlog) != 0) return failed("listen", errno);
  return fd.release();
}

namespace {

Failure set_traffic_options(int fd, const net::Endpoint& address) {
  const bool v6 = address.family() == net::Family::ipv6;
  if (address.is_wildcard()) {  // else there is only one address to answer from
    const int error =
        v6 ? set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) : set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
    if (error != 0) return {"IP_PKTINFO", error};
  }
  return {"setting up the socket", set_datagram_options(fd, address.family())};
}

Failure set_datagram_listener_options(int fd, const net::Endpoint& address, const DatagramListenOptions& options) {
  const bool v6 = address.family() == net::Family::ipv6;
  if (options.reuse_port) {
    if (const int error = set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return {"SO_REUSEPORT", error};
  }
  if (v6) {
    if (const int error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0)) {
      return {"IPV6_V6ONLY", error};
    }
  }
  return set_traffic_options(fd, address);
}

}  // namespace

Result<Fd> open_datagram_listener(const net::Endpoint& address, const DatagramListenOptions& options) {
  const auto failed = [&address](std::string_view step, int error) {
    return Error{explain_listen_failure(address, step, error)};
  };
  if (address.family() != net::Family::ipv4 && address.family() != net::Family::ipv6) {
    return failed("socket", EAFNOSUPPORT);
  }
  ScopedFd fd(::socket(address.sockaddr_ptr()->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return failed("socket", errno);
  if (const Failure failure = set_datagram_listener_options(fd.get(), address, options); failure.error != 0) {
    return failed(failure.step, failure.error);
  }
  if (::bind(fd.get(), address.sockaddr_ptr(), address.sockaddr_length()) != 0) return failed("bind", errno);
  return fd.release();
}

namespace {

/// 0 when it cannot be asked.
int get_option(Fd fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  return ::getsockopt(raw(fd), level, name, &value, &length) == 0 ? value : 0;
}

/// Whoever opened it may have wanted it to block.
Failure stop_blocking(Fd fd) {
  const int flags = ::fcntl(raw(fd), F_GETFL);
  if (flags < 0 || ::fcntl(raw(fd), F_SETFL, flags | O_NONBLOCK) != 0) return {"O_NONBLOCK", errno};
  if (::fcntl(raw(fd), F_SETFD, FD_CLOEXEC) != 0) return {"FD_CLOEXEC", errno};
  return {};
}

Error adoption_failed(const net::Endpoint& address, const Failure& failure) {
  return Error{explain_listen_failure(address, failure.step, failure.error)};
}

}  // namespace

PassedSocket describe_passed_socket(Fd fd) {
  PassedSocket passed{.address = bound_address(fd)};
  const net::Family family = passed.address.family();
  const int type = get_option(fd, SOL_SOCKET, SO_TYPE);
  const int protocol = get_option(fd, SOL_SOCKET, SO_PROTOCOL);
  if (family == net::Family::none) return passed;
  if (type == SOCK_STREAM && (protocol == IPPROTO_TCP || passed.address.is_unix())) {
    if (get_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0) passed.kind = PassedSocket::Kind::stream_listener;
  } else if (type == SOCK_DGRAM && protocol == IPPROTO_UDP) {
    passed.kind = PassedSocket::Kind::datagram;
  }
  passed.dual_stack =
      family == net::Family::ipv6 && passed.address.is_wildcard() && get_option(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 0;
  return passed;
}

Result<Fd> adopt_listener(Fd fd, const net::Endpoint& address, const ListenOptions& options) {
  if (const Failure failure = stop_blocking(fd); failure.error != 0) return adoption_failed(address, failure);
  if (!address.is_unix()) {
    const Failure failure = set_inherited_options(raw(fd), options);
    if (failure.error != 0) return adoption_failed(address, failure);
  }
  // Once more on a socket that listens already only changes its backlog.
  if (::listen(raw(fd), options.backlog) != 0) return adoption_failed(address, {"listen", errno});
  return fd;
}

Result<Fd> adopt_datagram_listener(Fd fd, const net::Endpoint& address) {
  if (const Failure failure = stop_blocking(fd); failure.error != 0) return adoption_failed(address, failure);
  const Failure failure = set_traffic_options(raw(fd), address);
  if (failure.error != 0) return adoption_failed(address, failure);
  if (address.family() == net::Family::ipv6) {  // IPv4 as well, should it be bound to both
    (void)set_option(raw(fd), IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT);
  }
  return fd;
}

net::Endpoint bound_address(Fd fd) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(raw(fd), reinterpret_cast<sockaddr*>(&storage), &length) != 0) return {};
  return net::Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}

void close_now(Fd fd) {
  ::close(raw(fd));
}

}  // namespace millrace::io
