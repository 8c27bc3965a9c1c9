#pragma once
// What the tests of datagrams share: a plain peer, single operations of a Driver, a network of one's own.

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "driver.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::io {

/// small_options() with buffers for datagrams.
[[nodiscard]] UringOptions datagram_options(std::uint32_t buffers = 64);

/// A received message, copied.
struct Message {
  std::string payload;
  net::IpEndpoint from;
  net::IpEndpoint to;  // not of those that a Peer receives
  std::uint32_t segment_bytes = 0;
  bool truncated = false;
};

/// A client or a backend: a UDP socket that is used by ordinary system calls. Its reads give up after a while.
class Peer {
 public:
  explicit Peer(const net::Endpoint& address = loopback());

  [[nodiscard]] net::IpEndpoint address() const;
  [[nodiscard]] int fd() const { return socket_.get(); }
  /// From now on nobody is here: what arrives is answered by ICMP "port unreachable". The port stays taken.
  void refuse() const;
  /// From now on trains arrive as trains.
  void take_trains() const;
  void send(std::string_view text, const net::IpEndpoint& to) const;
  /// A train; returns the bytes sent, or -errno.
  [[nodiscard]] ssize_t send_train(std::string_view text, const net::IpEndpoint& to, std::uint16_t segment_bytes) const;
  [[nodiscard]] Message receive() const;
  [[nodiscard]] bool nothing_waits() const;

 private:
  Socket socket_;
};

/// 127.0.0.1:0 and [::1]:0, each in a subcase of its own (so the test has no others). Family::none on a machine without
/// IPv6.
[[nodiscard]] net::Endpoint either_loopback();
[[nodiscard]] net::Endpoint loopback_v6(std::uint16_t port = 0);
/// The wildcard address of the same family.
[[nodiscard]] net::Endpoint wildcard_like(const net::Endpoint& address, std::uint16_t port = 0);

[[nodiscard]] Socket datagram_listener(const net::Endpoint& address, const DatagramListenOptions& options = {});
[[nodiscard]] net::IpEndpoint address_of(const Socket& socket);
/// An unconnected socket as it is used towards backends.
[[nodiscard]] Socket upstream_socket(Driver& driver, const net::Endpoint& source);

[[nodiscard]] OpTag receive_on(Driver& driver, const Socket& socket);
/// What a completion with a message has brought; gives the buffer back.
[[nodiscard]] Message take_message(Driver& driver, const Completion& completion);
/// Submits a send of one slice; `text` must stay until it has completed.
[[nodiscard]] OpTag submit(Driver& driver, const Socket& socket, std::string_view text, const net::IpEndpoint& to,
                           std::uint32_t segment_bytes = 0, const net::IpEndpoint& from = {});
/// The same, waited for: its result.
std::int32_t send_to(Driver& driver, const Socket& socket, std::string_view text, const net::IpEndpoint& to,
                     std::uint32_t segment_bytes = 0, const net::IpEndpoint& from = {});

/// A network namespace of this thread's own until the end of the scope, with nothing but a loopback device. Sockets
/// stay in the one where they were made. ok() is false where that is not allowed: the test has nothing to say then.
class NetworkOfItsOwn {
 public:
  explicit NetworkOfItsOwn(int loopback_mtu);
  ~NetworkOfItsOwn();
  NetworkOfItsOwn(const NetworkOfItsOwn&) = delete;
  NetworkOfItsOwn& operator=(const NetworkOfItsOwn&) = delete;

  [[nodiscard]] bool ok() const { return ok_; }
  /// Gives the loopback device another IPv6 address.
  [[nodiscard]] bool add_address(const net::IpEndpoint& address, std::uint32_t prefix_bits) const;
  /// Runs a program in it; false also when there is no such program.
  [[nodiscard]] bool run(std::initializer_list<std::string> command) const;

 private:
  Socket before_;
  bool ok_ = false;
};

}  // namespace millrace::io
