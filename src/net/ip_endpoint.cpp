#include "millrace/net/ip_endpoint.hpp"

#include <arpa/inet.h>
#include <xxhash.h>

#include <cstring>
#include <type_traits>

namespace millrace::net {

static_assert(std::is_trivially_copyable_v<IpEndpoint>);
static_assert(std::has_unique_object_representations_v<IpEndpoint>, "its bytes are hashed");

IpEndpoint IpEndpoint::ipv4(std::uint32_t address_host_order, std::uint16_t port) {
  IpEndpoint endpoint;
  const std::uint32_t network_order = htonl(address_host_order);
  std::memcpy(endpoint.address_.data(), &network_order, sizeof network_order);
  endpoint.port_ = port;
  endpoint.family_ = Family::ipv4;
  return endpoint;
}

IpEndpoint IpEndpoint::ipv6(const std::array<std::uint8_t, 16>& address, std::uint16_t port, std::uint32_t scope) {
  in6_addr kernel_address{};
  std::memcpy(&kernel_address, address.data(), address.size());
  if (IN6_IS_ADDR_V4MAPPED(&kernel_address)) {
    std::uint32_t network_order = 0;
    std::memcpy(&network_order, address.data() + 12, sizeof network_order);
    return ipv4(ntohl(network_order), port);
  }
  IpEndpoint endpoint;
  endpoint.address_ = address;
  endpoint.scope_ = scope;
  endpoint.port_ = port;
  endpoint.family_ = Family::ipv6;
  return endpoint;
}

IpEndpoint IpEndpoint::from(const Endpoint& endpoint) {
  if (endpoint.is_unix()) return {};
  const auto* bytes = reinterpret_cast<const std::byte*>(endpoint.sockaddr_ptr());
  return from_sockaddr({bytes, endpoint.sockaddr_length()});
}

IpEndpoint IpEndpoint::from_sockaddr(std::span<const std::byte> address) {
  sa_family_t family = AF_UNSPEC;
  if (address.size() < sizeof family) return {};
  std::memcpy(&family, address.data(), sizeof family);
  if (family == AF_INET && address.size() >= sizeof(sockaddr_in)) {
    sockaddr_in v4{};
    std::memcpy(&v4, address.data(), sizeof v4);
    return ipv4(ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port));
  }
  if (family == AF_INET6 && address.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address.data(), sizeof v6);
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    return ipv6(bytes, ntohs(v6.sin6_port), v6.sin6_scope_id);
  }
  return {};
}

Endpoint IpEndpoint::to_endpoint() const {
  sockaddr_in6 storage{};
  const socklen_t length = to_sockaddr(storage);
  return Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&storage), length);
}

socklen_t IpEndpoint::to_sockaddr(sockaddr_in6& storage) const {
  switch (family_) {
    case Family::ipv4: {
      sockaddr_in v4{};
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port_);
      std::memcpy(&v4.sin_addr, address_.data(), sizeof v4.sin_addr);
      std::memcpy(&storage, &v4, sizeof v4);
      return sizeof v4;
    }
    case Family::ipv6:
      storage = sockaddr_in6{};
      storage.sin6_family = AF_INET6;
      storage.sin6_port = htons(port_);
      storage.sin6_scope_id = scope_;
      std::memcpy(&storage.sin6_addr, address_.data(), sizeof storage.sin6_addr);
      return sizeof storage;
    case Family::unix_path:
    case Family::none:
      break;
  }
  return 0;
}

std::uint64_t IpEndpoint::hash(std::uint64_t seed) const {
  return XXH3_64bits_withSeed(this, sizeof *this, seed);
}

}  // namespace millrace::net
