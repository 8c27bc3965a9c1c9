#include "passed_sockets.hpp"

#include "millrace/base/log.hpp"
#include "service_protocol.hpp"

namespace millrace::app {

namespace {

bool suits(const io::PassedSocket& socket, config::Protocol protocol) {
  return socket.kind == (protocol == config::Protocol::udp ? io::PassedSocket::Kind::datagram
                                                           : io::PassedSocket::Kind::stream_listener);
}

const char* kind_name(io::PassedSocket::Kind kind) {
  switch (kind) {
    case io::PassedSocket::Kind::stream_listener:
      return "stream";
    case io::PassedSocket::Kind::datagram:
      return "datagram";
    case io::PassedSocket::Kind::other:
      return "neither a listening stream socket nor a UDP socket";
  }
  return "";
}

}  // namespace

PassedSockets::PassedSockets(const std::vector<io::Fd>& fds) {
  sockets_.reserve(fds.size());
  for (const io::Fd fd : fds) sockets_.push_back({.fd = fd, .facts = io::describe_passed_socket(fd)});
}

PassedSockets::~PassedSockets() {
  for (const Socket& socket : sockets_) io::close_now(socket.fd);
}

PassedSockets::Match PassedSockets::take(config::Protocol protocol, const net::Endpoint& address,
                                         bool dual_stack_only) {
  Match match;
  std::vector<Socket> rest;
  for (const Socket& socket : sockets_) {
    const bool wanted = suits(socket.facts, protocol) && socket.facts.address == address &&
                        (socket.facts.dual_stack || !dual_stack_only);
    if (!wanted) {
      rest.push_back(socket);
      continue;
    }
    match.fds.push_back(socket.fd);
    match.dual_stack = match.dual_stack || socket.facts.dual_stack;
  }
  sockets_ = std::move(rest);
  return match;
}

void PassedSockets::close_unused() {
  for (const Socket& socket : sockets_) {
    log::warn("passed_socket_unused", {{"fd", io::raw(socket.fd)},
                                       {"kind", kind_name(socket.facts.kind)},
                                       {"address", socket.facts.address.to_string()},
                                       {"remedy",
                                        "give a listener this address in `bind`, or take it out of the "
                                        "socket unit (ListenStream=, ListenDatagram=)"}});
    io::close_now(socket.fd);
  }
  sockets_.clear();
}

PassedSockets receive_passed_sockets() {
  const int count = service_protocol::take_passed_fds();
  std::vector<io::Fd> fds;
  fds.reserve(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) fds.push_back(io::Fd{service_protocol::kFirstPassedFd + i});
  return PassedSockets(fds);
}

}  // namespace millrace::app
