#pragma once
// IpEndpoint: an IPv4 or IPv6 address with a port in 24 bytes, for tables that hold very many of them. A value.
//
// Like Endpoint it never holds an IPv4-mapped IPv6 address: those are turned into IPv4 on the way in.

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "millrace/net/endpoint.hpp"

namespace millrace::net {

class IpEndpoint {
 public:
  IpEndpoint() = default;  // Family::none

  static IpEndpoint ipv4(std::uint32_t address_host_order, std::uint16_t port);
  static IpEndpoint ipv6(const std::array<std::uint8_t, 16>& address, std::uint16_t port, std::uint32_t scope = 0);
  /// Family::none for unix sockets.
  static IpEndpoint from(const Endpoint& endpoint);
  /// From what the kernel wrote; Family::none for another family or a length that does not fit.
  static IpEndpoint from_sockaddr(std::span<const std::byte> address);

  [[nodiscard]] Endpoint to_endpoint() const;
  /// Writes a sockaddr_in or sockaddr_in6 and returns its length; 0 for Family::none.
  socklen_t to_sockaddr(sockaddr_in6& storage) const;

  [[nodiscard]] Family family() const { return family_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  void set_port(std::uint16_t port) { port_ = port; }
  /// Of a link-local address: the number of its interface; else 0.
  [[nodiscard]] std::uint32_t scope() const { return scope_; }
  /// In network order; of an IPv4 address the first four.
  [[nodiscard]] const std::array<std::uint8_t, 16>& address() const { return address_; }
  /// "10.0.0.1:80", "[2001:db8::1]:80", "none".
  [[nodiscard]] std::string to_string() const { return to_endpoint().to_string(); }

  /// Mixes all of it with `seed` (XXH3): for hash tables that a stranger must not be able to aim at.
  [[nodiscard]] std::uint64_t hash(std::uint64_t seed) const;

  friend bool operator==(const IpEndpoint& a, const IpEndpoint& b) = default;

 private:
  std::array<std::uint8_t, 16> address_{};
  std::uint32_t scope_ = 0;
  std::uint16_t port_ = 0;
  Family family_ = Family::none;
  std::uint8_t zero_ = 0;  // no padding: the bytes are what is hashed
};
static_assert(sizeof(IpEndpoint) == 24);

}  // namespace millrace::net
