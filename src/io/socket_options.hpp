#pragma once
// The options of TCP sockets, the same for those that listen (accepted sockets inherit them) and those that connect.

#include "millrace/net/endpoint.hpp"

namespace millrace::io {

/// Sets one integer option; 0 or errno.
[[nodiscard]] int set_option(int fd, int level, int name, int value);

/// Keepalive after 60 s of silence, then every 10 s, 6 times; and TCP_USER_TIMEOUT of 120 s, so that unacknowledged
/// data ends a connection to a dead peer no later than silence does. 0 or errno.
[[nodiscard]] int set_keepalive(int fd);
/// Takes it back.
[[nodiscard]] int clear_keepalive(int fd);

/// What all datagram sockets of the data path have in common: room to receive, trains (UDP_GRO), no DF bit on what is
/// forwarded (behaviour rule 31). 0 or errno.
[[nodiscard]] int set_datagram_options(int fd, net::Family family);

/// Gives an unbound socket a local address without reserving a port before connect() when `source` has none, so that
/// the port need only be unique per destination. 0 or errno.
[[nodiscard]] int bind_source(int fd, const net::Endpoint& source);

}  // namespace millrace::io
