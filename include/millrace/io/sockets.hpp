#pragma once
// Listening sockets, opened once at start by main and handed to workers. Plain system calls, not part of Io.

#include <cstdint>

#include "millrace/base/result.hpp"
#include "millrace/io/op.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::io {

struct ListenOptions {
  int backlog = 4096;
  bool reuse_port = true;  // one socket per worker on the same address
  bool keepalive = true;   // inherited by accepted sockets, like TCP_NODELAY and TCP_USER_TIMEOUT
  bool v6_only = true;     // always set explicitly, never left to the sysctl (behaviour rule 25)
};

/// A bound, listening, non-blocking stream socket. The caller owns it. A stale unix socket file that nobody listens on
/// is replaced; one that is in use is an error. The error names the address and the remedy (EADDRINUSE, EACCES, …).
[[nodiscard]] Result<Fd> open_listener(const net::Endpoint& address, const ListenOptions& options);

/// Removes the file of a unix address that an earlier run left behind, as open_listener() does. 0, or errno when the
/// path cannot be used: ENOTSOCK (no socket), EADDRINUSE (somebody listens there), or what unlink(2) says.
[[nodiscard]] int remove_stale_file(const net::Endpoint& address);

struct DatagramListenOptions {
  bool reuse_port = true;  // one socket per worker on the same address: a client's datagrams always go to the same one
  bool v6_only = true;
};

/// A bound, non-blocking datagram socket that clients send to; on a wildcard address it tells for each datagram which
/// address it was sent to. The caller owns it. The error names the address and the remedy.
[[nodiscard]] Result<Fd> open_datagram_listener(const net::Endpoint& address, const DatagramListenOptions& options);

/// What a socket is that another program opened and passed on (systemd's socket activation).
struct PassedSocket {
  enum class Kind : std::uint8_t { other, stream_listener, datagram } kind = Kind::other;
  net::Endpoint address;    // Family::none unless it is bound
  bool dual_stack = false;  // bound to `::`, it takes IPv4 as well
};

[[nodiscard]] PassedSocket describe_passed_socket(Fd fd);

/// Gives a passed socket the options that open_listener() would, as far as they can still be changed. The error names
/// the address; the caller owns the socket either way.
[[nodiscard]] Result<Fd> adopt_listener(Fd fd, const net::Endpoint& address, const ListenOptions& options);
[[nodiscard]] Result<Fd> adopt_datagram_listener(Fd fd, const net::Endpoint& address);

/// The address a socket is bound to, with the port that the kernel chose.
[[nodiscard]] net::Endpoint bound_address(Fd fd);

void close_now(Fd fd);

}  // namespace millrace::io
