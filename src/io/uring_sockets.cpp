// The immediate verbs of UringIo: plain system calls that never wait.

#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/filter.h>
#include <linux/sock_diag.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>

#include "compat.hpp"
#include "millrace/io/sockets.hpp"
#include "socket_options.hpp"
#include "uring_io_impl.hpp"

namespace millrace::io {
namespace {

int set_stream_options(int fd, const net::Endpoint& source) {
  if (const int error = set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)) return error;
  return source.family() == net::Family::none ? 0 : bind_source(fd, source);
}

int set_up_datagram(int fd, const DatagramSocketOptions& options) {
  const bool v6 = options.source.family() == net::Family::ipv6;
  const bool connected = options.remote.family() != net::Family::none;
  if (!connected) {
    if (const int error = set_datagram_options(fd, options.source.family())) return error;
    // Of an unconnected socket the kernel keeps ICMP errors only when asked to.
    const int error = v6 ? set_option(fd, IPPROTO_IPV6, IPV6_RECVERR, 1) : set_option(fd, IPPROTO_IP, IP_RECVERR, 1);
    if (error != 0) return error;
  }
  if (v6) {
    if (const int error = set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)) return error;
  }
  if (::bind(fd, options.source.sockaddr_ptr(), options.source.sockaddr_length()) != 0) return errno;
  if (!connected) return 0;
  return ::connect(fd, options.remote.sockaddr_ptr(), options.remote.sockaddr_length()) == 0 ? 0 : errno;
}

/// As large as the user may have it, up to `wanted`. EMFILE when what is left to the user is worse than copying: above
/// fs.pipe-user-pages-soft a new pipe has room for two pages only, and cannot grow.
int set_pipe_size(int fd, std::uint32_t wanted) {
  constexpr int kBytesMin = 64 * 1024;
  int bytes = static_cast<int>(std::min<std::uint32_t>(wanted, std::numeric_limits<int>::max()));
  for (; bytes > kBytesMin; bytes /= 2) {
    if (::fcntl(fd, F_SETPIPE_SZ, bytes) >= 0) return 0;
  }
  return ::fcntl(fd, F_GETPIPE_SZ) >= std::min(bytes, kBytesMin) ? 0 : EMFILE;
}

/// The error in the control messages of a message from the error queue; 0 when there is none.
int error_of(msghdr& message) {
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    const bool v4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
    const bool v6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
    if ((!v4 && !v6) || header->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
    sock_extended_err error{};
    std::memcpy(&error, CMSG_DATA(header), sizeof error);
    return static_cast<int>(error.ee_errno);
  }
  return 0;
}

}  // namespace

FdResult UringIo::open_stream(const net::Endpoint& remote, const net::Endpoint& source) {
  if (remote.family() == net::Family::none) return {Fd::none, EDESTADDRREQ};
  const int fd = ::socket(remote.sockaddr_ptr()->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {Fd::none, errno};
  // Unix sockets have neither options of TCP nor a source address.
  const int error = remote.is_unix() ? 0 : set_stream_options(fd, source);
  if (error == 0) return {static_cast<Fd>(fd), 0};
  ::close(fd);
  return {Fd::none, error};
}

FdResult UringIo::open_datagram(const DatagramSocketOptions& options) {
  const net::Family family = options.source.family();
  if (family != net::Family::ipv4 && family != net::Family::ipv6) return {Fd::none, EAFNOSUPPORT};
  const int fd = ::socket(options.source.sockaddr_ptr()->sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return {Fd::none, errno};
  const int error = set_up_datagram(fd, options);
  if (error == 0) return {static_cast<Fd>(fd), 0};
  ::close(fd);
  return {Fd::none, error};
}

std::optional<DatagramError> UringIo::take_error(Fd fd) {
  sockaddr_in6 destination{};
  alignas(cmsghdr) std::array<std::byte, 512> control;
  iovec piece{.iov_base = quote_.data(), .iov_len = quote_.size()};
  msghdr message{};
  message.msg_name = &destination;
  message.msg_namelen = sizeof destination;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t length = ::recvmsg(raw(fd), &message, MSG_ERRQUEUE | MSG_DONTWAIT);
  if (length < 0) return std::nullopt;
  const std::size_t name_bytes = std::min<std::size_t>(message.msg_namelen, sizeof destination);
  return DatagramError{
      .error = error_of(message),
      .to = net::IpEndpoint::from_sockaddr({reinterpret_cast<const std::byte*>(&destination), name_bytes}),
      .quote = {quote_.data(), static_cast<std::size_t>(length)}};
}

int UringIo::open_pipe(Pipe& pipe) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC) != 0) return errno;
  if (const int error = set_pipe_size(ends[1], options_.pipe_bytes); error != 0) {
    ::close(ends[0]);
    ::close(ends[1]);
    return error;
  }
  pipe = {static_cast<Fd>(ends[0]), static_cast<Fd>(ends[1])};
  return 0;
}

FdResult UringIo::accept_now(Fd listener) {
  const int fd = ::accept4(raw(listener), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return fd >= 0 ? FdResult{Fd{fd}, 0} : FdResult{Fd::none, errno};
}

/// By a filter on its packets (Documentation/networking/filter.rst): a SYN without an ACK is dropped. Accepted sockets
/// inherit it, and never get one.
void UringIo::set_refusing(Fd listener, bool refusing) {
  if (!refusing) {
    const int unused = 0;
    ::setsockopt(raw(listener), SOL_SOCKET, SO_DETACH_FILTER, &unused, sizeof unused);
    return;
  }
  constexpr std::uint32_t kFlagsOffset = 13;  // in the TCP header
  constexpr std::uint32_t kSyn = 0x02;
  constexpr std::uint32_t kSynOrAck = 0x12;
  std::array<sock_filter, 5> program = {{
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsOffset),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSynOrAck),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSyn, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, 0xffffffffU),
  }};
  const sock_fprog filter{.len = program.size(), .filter = program.data()};
  // Without it new connections come in until the socket is closed: no harm.
  ::setsockopt(raw(listener), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter);
}

void UringIo::set_keepalive(Fd fd) {
  (void)io::set_keepalive(raw(fd));
}

int UringIo::shutdown_write(Fd fd) {
  return ::shutdown(raw(fd), SHUT_WR) == 0 ? 0 : errno;
}

std::uint32_t UringIo::bytes_unsent(Fd fd) {
  int bytes = 0;
  if (::ioctl(raw(fd), SIOCOUTQ, &bytes) != 0 || bytes < 0) return 0;
  return static_cast<std::uint32_t>(bytes);
}

// A low-water mark makes room for as much (tcp_set_rcvlowat(), Linux net/ipv4/tcp.c), and leaves it when it is lowered
// again. SO_RCVBUF would do it too, but end the kernel's own adapting of that size, and needs a privilege above
// net.core.rmem_max.
void UringIo::widen_window(Fd fd, std::uint32_t bytes) {
  (void)set_option(raw(fd), SOL_SOCKET, SO_RCVLOWAT, static_cast<int>(bytes));
  (void)set_option(raw(fd), SOL_SOCKET, SO_RCVLOWAT, 1);
}

ReceiveQueue UringIo::receive_queue(Fd fd) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> memory{};
  socklen_t length = sizeof memory;
  if (::getsockopt(raw(fd), SOL_SOCKET, SO_MEMINFO, memory.data(), &length) != 0) return {};
  return {.used = memory[SK_MEMINFO_RMEM_ALLOC], .limit = memory[SK_MEMINFO_RCVBUF]};
}

TcpInfo UringIo::tcp_info(Fd fd) {
  ::tcp_info info{};
  socklen_t length = sizeof info;
  if (::getsockopt(raw(fd), IPPROTO_TCP, TCP_INFO, &info, &length) != 0) return {};
  if (length < offsetof(::tcp_info, tcpi_total_retrans) + sizeof info.tcpi_total_retrans) return {};
  return {.known = true, .rtt_us = info.tcpi_rtt, .retransmits = info.tcpi_total_retrans};
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
