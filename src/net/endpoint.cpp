// Endpoint: addresses as values, and the hashes of them. The parser is in address_parser.cpp.

#include "millrace/net/endpoint.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace millrace::net {
namespace {

constexpr std::size_t kUnixPathOffset = offsetof(sockaddr_un, sun_path);
constexpr std::size_t kUnixPathMax = sizeof(sockaddr_un::sun_path) - 1;  // one byte for the final NUL

// First byte of what is hashed for a client. Part of the hash, hence never to be changed.
constexpr char kHashTagUnix = 1;
constexpr char kHashTagIpv4 = 4;
constexpr char kHashTagIpv6 = 6;

std::string_view view(const void* bytes, std::size_t length) {
  return {static_cast<const char*>(bytes), length};
}

/// Clears the bits of `address` behind the first `prefix`.
void cut_to_prefix(char* address, std::size_t length, unsigned prefix) {
  for (std::size_t i = 0; i < length; ++i) {
    const std::size_t bits_before = i * 8;
    const std::size_t kept = prefix <= bits_before ? 0 : std::min<std::size_t>(prefix - bits_before, 8);
    const auto mask = static_cast<unsigned char>(0xff00U >> kept);
    address[i] = static_cast<char>(static_cast<unsigned char>(address[i]) & mask);
  }
}

}  // namespace

static_assert(std::is_trivially_copyable_v<Endpoint>);

Endpoint Endpoint::ipv4(std::uint32_t address_host_order, std::uint16_t port) {
  Endpoint endpoint;
  endpoint.address_.v4 = sockaddr_in{};
  endpoint.address_.v4.sin_family = AF_INET;
  endpoint.address_.v4.sin_port = htons(port);
  endpoint.address_.v4.sin_addr.s_addr = htonl(address_host_order);
  endpoint.length_ = sizeof(sockaddr_in);
  endpoint.family_ = Family::ipv4;
  return endpoint;
}

Endpoint Endpoint::ipv6(const std::array<std::uint8_t, 16>& address, std::uint16_t port) {
  in6_addr kernel_address{};
  std::memcpy(&kernel_address, address.data(), address.size());
  if (IN6_IS_ADDR_V4MAPPED(&kernel_address)) {
    std::uint32_t network_order = 0;
    std::memcpy(&network_order, address.data() + 12, sizeof network_order);
    return ipv4(ntohl(network_order), port);
  }
  Endpoint endpoint;
  endpoint.address_.v6 = sockaddr_in6{};
  endpoint.address_.v6.sin6_family = AF_INET6;
  endpoint.address_.v6.sin6_port = htons(port);
  endpoint.address_.v6.sin6_addr = kernel_address;
  endpoint.length_ = sizeof(sockaddr_in6);
  endpoint.family_ = Family::ipv6;
  return endpoint;
}

Result<Endpoint> Endpoint::unix_socket(std::string_view path) {
  if (path.empty() || path == "@") return Error{"the path of the unix socket is empty"};
  if (path.size() > kUnixPathMax) {
    return Error{fmt::format("the path of the unix socket has {} bytes, {} are possible", path.size(), kUnixPathMax)};
  }
  if (path.find('\0') != std::string_view::npos) return Error{"the path of the unix socket contains a NUL byte"};
  const bool is_abstract = path.front() == '@';
  Endpoint endpoint;
  endpoint.address_.un = sockaddr_un{};
  endpoint.address_.un.sun_family = AF_UNIX;
  std::memcpy(endpoint.address_.un.sun_path, path.data(), path.size());
  if (is_abstract) endpoint.address_.un.sun_path[0] = '\0';
  // The length of an abstract name is all that ends it; a path counts with its NUL.
  endpoint.length_ = static_cast<socklen_t>(kUnixPathOffset + path.size() + (is_abstract ? 0 : 1));
  endpoint.family_ = Family::unix_path;
  return endpoint;
}

Endpoint Endpoint::from_sockaddr(const sockaddr* address, socklen_t length) {
  if (address == nullptr || length < sizeof(sa_family_t)) return {};
  sa_family_t family = AF_UNSPEC;
  std::memcpy(&family, address, sizeof family);
  if (family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in v4{};
    std::memcpy(&v4, address, sizeof v4);
    return ipv4(ntohl(v4.sin_addr.s_addr), ntohs(v4.sin_port));
  }
  if (family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, address, sizeof v6);
    std::array<std::uint8_t, 16> bytes{};
    std::memcpy(bytes.data(), &v6.sin6_addr, bytes.size());
    Endpoint endpoint = ipv6(bytes, ntohs(v6.sin6_port));
    if (endpoint.family_ == Family::ipv6) endpoint.address_.v6.sin6_scope_id = v6.sin6_scope_id;
    return endpoint;
  }
  if (family == AF_UNIX) return from_unix_sockaddr(address, length);
  return {};
}

/// The kernel counts a final NUL that may lie behind the structure (a path of 108 bytes), or none at all (a socket
/// without a name); what is stored always fits.
Endpoint Endpoint::from_unix_sockaddr(const sockaddr* address, socklen_t length) {
  Endpoint endpoint;
  endpoint.address_.un = sockaddr_un{};
  endpoint.length_ = std::min<socklen_t>(length, sizeof(sockaddr_un));
  std::memcpy(&endpoint.address_.un, address, endpoint.length_);
  endpoint.family_ = Family::unix_path;
  return endpoint;
}

std::uint16_t Endpoint::port() const {
  if (family_ == Family::ipv4) return ntohs(address_.v4.sin_port);
  if (family_ == Family::ipv6) return ntohs(address_.v6.sin6_port);
  return 0;
}

void Endpoint::set_port(std::uint16_t port) {
  if (family_ == Family::ipv4) address_.v4.sin_port = htons(port);
  if (family_ == Family::ipv6) address_.v6.sin6_port = htons(port);
}

std::string_view Endpoint::address_bytes() const {
  if (family_ == Family::ipv4) return view(&address_.v4.sin_addr, sizeof(in_addr));
  if (family_ == Family::ipv6) return view(&address_.v6.sin6_addr, sizeof(in6_addr));
  return {};
}

bool Endpoint::is_wildcard() const {
  if (family_ == Family::ipv4) return address_.v4.sin_addr.s_addr == INADDR_ANY;
  return family_ == Family::ipv6 && IN6_IS_ADDR_UNSPECIFIED(&address_.v6.sin6_addr);
}

bool Endpoint::is_loopback() const {
  if (family_ == Family::ipv4) return ntohl(address_.v4.sin_addr.s_addr) >> 24U == 127;
  return family_ == Family::ipv6 && IN6_IS_ADDR_LOOPBACK(&address_.v6.sin6_addr);
}

const sockaddr* Endpoint::sockaddr_ptr() const {
  return reinterpret_cast<const sockaddr*>(&address_);
}

std::uint32_t Endpoint::scope() const {
  return family_ == Family::ipv6 ? address_.v6.sin6_scope_id : 0;
}

std::string_view Endpoint::unix_name() const {
  const char* path = address_.un.sun_path;
  const std::size_t length = length_ - kUnixPathOffset;
  if (length == 0 || path[0] == '\0') return {path, length};
  return {path, ::strnlen(path, length)};
}

std::string Endpoint::to_string() const {
  char text[INET6_ADDRSTRLEN] = "";
  switch (family_) {
    case Family::ipv4:
      ::inet_ntop(AF_INET, &address_.v4.sin_addr, text, sizeof text);
      return fmt::format("{}:{}", text, port());
    case Family::ipv6:
      ::inet_ntop(AF_INET6, &address_.v6.sin6_addr, text, sizeof text);
      if (scope() != 0) return fmt::format("[{}%{}]:{}", text, scope(), port());
      return fmt::format("[{}]:{}", text, port());
    case Family::unix_path: {
      std::string name(unix_name());
      if (!name.empty() && name.front() == '\0') name.front() = '@';
      return "unix:" + name;
    }
    case Family::none:
      break;
  }
  return "none";
}

bool operator==(const Endpoint& a, const Endpoint& b) {
  if (a.family_ != b.family_) return false;
  switch (a.family_) {
    case Family::ipv4:
    case Family::ipv6:
      return a.address_bytes() == b.address_bytes() && a.port() == b.port() && a.scope() == b.scope();
    case Family::unix_path:
      return a.unix_name() == b.unix_name();
    case Family::none:
      break;
  }
  return true;
}

std::uint64_t hash_bytes(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t hash_client(const Endpoint& client, unsigned prefix_v4, unsigned prefix_v6, bool with_port) {
  const std::string_view address = client.address_bytes();
  if (address.empty()) return hash_bytes(view(&kHashTagUnix, 1));
  const bool is_v4 = client.family() == Family::ipv4;
  // Family, address, port in network order.
  std::array<char, 1 + sizeof(in6_addr) + 2> key{};
  key[0] = is_v4 ? kHashTagIpv4 : kHashTagIpv6;
  std::memcpy(key.data() + 1, address.data(), address.size());
  cut_to_prefix(key.data() + 1, address.size(), is_v4 ? prefix_v4 : prefix_v6);
  std::size_t length = 1 + address.size();
  if (with_port) {
    key[length++] = static_cast<char>(client.port() >> 8U);
    key[length++] = static_cast<char>(client.port() & 0xffU);
  }
  return hash_bytes(view(key.data(), length));
}

}  // namespace millrace::net
