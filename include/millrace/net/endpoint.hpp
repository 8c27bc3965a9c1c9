#pragma once
// Addresses as values: an IPv4 or IPv6 address with a port, or the path of a unix socket. IPv4-mapped IPv6 addresses
// are turned into IPv4 on the way in, so that nothing further on ever sees one (behaviour rule 24).

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/base/result.hpp"

namespace millrace::net {

enum class Family : std::uint8_t { none, ipv4, ipv6, unix_path };

/// An address of any family. Trivially copyable; holds the kernel's own structures, so that it can be handed to it as
/// is.
class Endpoint {
 public:
  Endpoint() = default;  // Family::none

  static Endpoint ipv4(std::uint32_t address_host_order, std::uint16_t port);
  static Endpoint ipv6(const std::array<std::uint8_t, 16>& address, std::uint16_t port);  // un-maps ::ffff:a.b.c.d
  /// An empty path or one of more than 107 bytes is an error; a leading '@' names the abstract namespace.
  static Result<Endpoint> unix_socket(std::string_view path);
  /// From what accept, getpeername and friends return. Family::none for a family or a length that it does not know.
  /// A client that has not bound its unix socket has an empty path.
  static Endpoint from_sockaddr(const sockaddr* address, socklen_t length);

  [[nodiscard]] Family family() const { return family_; }
  [[nodiscard]] bool is_unix() const { return family_ == Family::unix_path; }
  [[nodiscard]] std::uint16_t port() const;  // 0 for unix sockets
  void set_port(std::uint16_t port);         // nothing for unix sockets
  /// 4 or 16 bytes in network order; empty for unix sockets.
  [[nodiscard]] std::string_view address_bytes() const;
  [[nodiscard]] bool is_wildcard() const;  // 0.0.0.0 or ::
  [[nodiscard]] bool is_loopback() const;  // 127.0.0.0/8 or ::1

  [[nodiscard]] const sockaddr* sockaddr_ptr() const;
  [[nodiscard]] socklen_t sockaddr_length() const { return length_; }

  /// "10.0.0.1:80", "[2001:db8::1]:80" (RFC 5952), "unix:/run/app.sock", "unix:@abstract", "none". A link-local
  /// address from the kernel comes with the number of its interface: "[fe80::1%2]:80".
  [[nodiscard]] std::string to_string() const;

  /// Same family, address, port and (for link-local addresses) interface.
  friend bool operator==(const Endpoint& a, const Endpoint& b);

 private:
  static Endpoint from_unix_sockaddr(const sockaddr* address, socklen_t length);
  [[nodiscard]] std::uint32_t scope() const;         // interface of a link-local address, else 0
  [[nodiscard]] std::string_view unix_name() const;  // without a path's final NUL; an abstract name with its first NUL

  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un un;
  } address_{};
  socklen_t length_ = 0;
  Family family_ = Family::none;
};

/// A host name (not yet resolved) with its port, or an address.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};

/// What a person wrote as an address: "10.0.0.1:80", "[2001:db8::1]:80", "*:80", "unix:/path", "app.internal:80".
struct AddressText {
  enum class Kind : std::uint8_t { endpoint, any, host } kind = Kind::endpoint;
  Endpoint endpoint;  // Kind::endpoint
  HostPort host;      // Kind::host; Kind::any uses only its port
};

/// Parses an address. The error names what is wrong ("port 70000 is above 65535", "an IPv6 address needs brackets:
/// [::1]:80", …). Port 0 is accepted: a listener gets a free port from the kernel. Host names follow RFC 1123, and may
/// have underscores and a final dot; what the C library would read as a number (1.2.3, 0x7f.1) is not a host name.
[[nodiscard]] Result<AddressText> parse_address(std::string_view text);

/// A stable 64-bit hash (xxHash XXH3, seed 0) of any bytes: the same on every machine and in every version.
[[nodiscard]] std::uint64_t hash_bytes(std::string_view bytes);

/// Hash of a client for `source_hash`: its address cut to the prefix (bits), and with `with_port` its port.
/// The hashed bytes begin with the family, so that IPv4 and IPv6 are apart. Longer prefixes than the address count as
/// its whole length. Clients on unix sockets all hash alike.
[[nodiscard]] std::uint64_t hash_client(const Endpoint& client, unsigned prefix_v4, unsigned prefix_v6, bool with_port);

}  // namespace millrace::net
