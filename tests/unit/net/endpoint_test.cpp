#include "millrace/net/endpoint.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <string>

using millrace::Result;
using millrace::net::Endpoint;
using millrace::net::Family;

namespace {

using Bytes16 = std::array<std::uint8_t, 16>;

Bytes16 v6_bytes(const char* text) {
  Bytes16 bytes{};
  REQUIRE(::inet_pton(AF_INET6, text, bytes.data()) == 1);
  return bytes;
}

Endpoint v6(const char* text, std::uint16_t port = 80) {
  return Endpoint::ipv6(v6_bytes(text), port);
}

sockaddr_in6 kernel_v6(const char* text, std::uint16_t port, std::uint32_t scope = 0) {
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_port = htons(port);
  address.sin6_scope_id = scope;
  REQUIRE(::inet_pton(AF_INET6, text, &address.sin6_addr) == 1);
  return address;
}

/// Through what the kernel would hand back.
Endpoint through_kernel(const Endpoint& endpoint) {
  return Endpoint::from_sockaddr(endpoint.sockaddr_ptr(), endpoint.sockaddr_length());
}

}  // namespace

TEST_CASE("endpoint: none") {
  const Endpoint none;
  CHECK(none.family() == Family::none);
  CHECK(none.to_string() == "none");
  CHECK(none.port() == 0);
  CHECK(none.address_bytes().empty());
  CHECK(none.sockaddr_length() == 0);
  CHECK(none == Endpoint());
  CHECK_FALSE(none.is_wildcard());
  CHECK_FALSE(none.is_loopback());
  CHECK_FALSE(none == Endpoint::ipv4(0, 0));
}

TEST_CASE("endpoint: IPv4") {
  Endpoint endpoint = Endpoint::ipv4(0x0a000001, 80);
  CHECK(endpoint.family() == Family::ipv4);
  CHECK(endpoint.to_string() == "10.0.0.1:80");
  CHECK(endpoint.port() == 80);
  CHECK(endpoint.address_bytes() == std::string_view("\x0a\0\0\x01", 4));
  CHECK(endpoint.sockaddr_ptr()->sa_family == AF_INET);
  CHECK(endpoint.sockaddr_length() == sizeof(sockaddr_in));
  CHECK(through_kernel(endpoint) == endpoint);
  endpoint.set_port(65535);
  CHECK(endpoint.to_string() == "10.0.0.1:65535");
  CHECK_FALSE(endpoint == Endpoint::ipv4(0x0a000001, 80));
  CHECK_FALSE(endpoint == Endpoint::ipv4(0x0a000002, 65535));
}

TEST_CASE("endpoint: IPv6 as RFC 5952 writes it") {
  CHECK(v6("2001:db8::1").to_string() == "[2001:db8::1]:80");
  CHECK(v6("2001:DB8:0:0:0:0:0:1").to_string() == "[2001:db8::1]:80");
  CHECK(v6("2001:db8:0:0:1:0:0:1").to_string() == "[2001:db8::1:0:0:1]:80");     // the first of equal runs
  CHECK(v6("2001:0:0:1:0:0:0:1").to_string() == "[2001:0:0:1::1]:80");           // the longest run
  CHECK(v6("2001:db8:0:1:1:1:1:1").to_string() == "[2001:db8:0:1:1:1:1:1]:80");  // one zero is not shortened
  CHECK(v6("2001:0db8::0001").to_string() == "[2001:db8::1]:80");                // no leading zeros
  CHECK(v6("::").to_string() == "[::]:80");
  CHECK(v6("::1", 0).to_string() == "[::1]:0");
}

TEST_CASE("endpoint: IPv6") {
  Endpoint endpoint = v6("2001:db8::1", 443);
  CHECK(endpoint.family() == Family::ipv6);
  CHECK(endpoint.port() == 443);
  const Bytes16 bytes = v6_bytes("2001:db8::1");
  REQUIRE(endpoint.address_bytes().size() == 16);
  CHECK(std::memcmp(endpoint.address_bytes().data(), bytes.data(), 16) == 0);
  CHECK(endpoint.sockaddr_ptr()->sa_family == AF_INET6);
  CHECK(endpoint.sockaddr_length() == sizeof(sockaddr_in6));
  CHECK(through_kernel(endpoint) == endpoint);
  endpoint.set_port(1);
  CHECK_FALSE(endpoint == v6("2001:db8::1", 443));
  CHECK(endpoint == v6("2001:db8::1", 1));
  CHECK_FALSE(endpoint == v6("2001:db8::2", 1));
}

TEST_CASE("endpoint: IPv4-mapped addresses become IPv4 on every way in") {
  const Endpoint expected = Endpoint::ipv4(0xc0000201, 80);
  CHECK(v6("::ffff:192.0.2.1") == expected);
  CHECK(v6("::ffff:192.0.2.1").family() == Family::ipv4);
  CHECK(v6("::ffff:192.0.2.1").to_string() == "192.0.2.1:80");
  const sockaddr_in6 mapped = kernel_v6("::ffff:192.0.2.1", 80, 3);
  CHECK(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&mapped), sizeof mapped) == expected);
  // Related, but not mapped.
  CHECK(v6("::192.0.2.1").family() == Family::ipv6);
  CHECK(v6("64:ff9b::192.0.2.1").family() == Family::ipv6);
  CHECK(v6("::fffe:192.0.2.1").family() == Family::ipv6);
}

TEST_CASE("endpoint: a link-local address keeps its interface") {
  const sockaddr_in6 two = kernel_v6("fe80::1", 80, 2);
  const sockaddr_in6 three = kernel_v6("fe80::1", 80, 3);
  const Endpoint via_two = Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&two), sizeof two);
  const Endpoint via_three = Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&three), sizeof three);
  CHECK(via_two.to_string() == "[fe80::1%2]:80");
  CHECK_FALSE(via_two == via_three);
  CHECK(through_kernel(via_two) == via_two);
}

TEST_CASE("endpoint: the flow label that the kernel may report does not tell addresses apart") {
  sockaddr_in6 labelled = kernel_v6("2001:db8::1", 80);
  labelled.sin6_flowinfo = 77;
  CHECK(Endpoint::from_sockaddr(reinterpret_cast<const sockaddr*>(&labelled), sizeof labelled) == v6("2001:db8::1"));
}

TEST_CASE("endpoint: wildcard and loopback") {
  CHECK(Endpoint::ipv4(0, 80).is_wildcard());
  CHECK(v6("::").is_wildcard());
  CHECK(v6("::ffff:0.0.0.0").is_wildcard());
  CHECK_FALSE(Endpoint::ipv4(1, 80).is_wildcard());
  CHECK_FALSE(v6("::1").is_wildcard());
  CHECK(Endpoint::ipv4(0x7f000001, 80).is_loopback());
  CHECK(Endpoint::ipv4(0x7fffffff, 80).is_loopback());
  CHECK(v6("::1").is_loopback());
  CHECK(v6("::ffff:127.0.0.2").is_loopback());
  CHECK_FALSE(Endpoint::ipv4(0x80000001, 80).is_loopback());
  CHECK_FALSE(v6("::2").is_loopback());
}

TEST_CASE("endpoint: the path of a unix socket") {
  const Result<Endpoint> result = Endpoint::unix_socket("/run/app.sock");
  REQUIRE(result.ok());
  Endpoint endpoint = result.value();
  CHECK(endpoint.is_unix());
  CHECK(endpoint.to_string() == "unix:/run/app.sock");
  CHECK(endpoint.sockaddr_ptr()->sa_family == AF_UNIX);
  CHECK(endpoint.sockaddr_length() == offsetof(sockaddr_un, sun_path) + 14);  // with the final NUL
  CHECK(endpoint.address_bytes().empty());
  CHECK_FALSE(endpoint.is_loopback());
  endpoint.set_port(80);
  CHECK(endpoint.port() == 0);
  CHECK(endpoint == result.value());
  CHECK(through_kernel(endpoint) == endpoint);
  CHECK_FALSE(endpoint == Endpoint::unix_socket("/run/app.sock2").value());
  // Whether or not the final NUL is counted.
  CHECK(Endpoint::from_sockaddr(endpoint.sockaddr_ptr(), endpoint.sockaddr_length() - 1) == endpoint);
}

TEST_CASE("endpoint: an abstract unix socket") {
  const Endpoint endpoint = Endpoint::unix_socket("@app").value();
  CHECK(endpoint.to_string() == "unix:@app");
  CHECK(endpoint.sockaddr_length() == offsetof(sockaddr_un, sun_path) + 4);  // no final NUL: it would be a part of it
  CHECK(reinterpret_cast<const sockaddr_un*>(endpoint.sockaddr_ptr())->sun_path[0] == '\0');
  CHECK(through_kernel(endpoint) == endpoint);
  CHECK_FALSE(endpoint == Endpoint::unix_socket("app").value());
  CHECK_FALSE(endpoint == Endpoint::unix_socket("@ap").value());
}

TEST_CASE("endpoint: how long a unix path may be") {
  CHECK(Endpoint::unix_socket("").error() == "the path of the unix socket is empty");
  CHECK(Endpoint::unix_socket("@").error() == "the path of the unix socket is empty");
  CHECK(Endpoint::unix_socket(std::string(108, 'a')).error() ==
        "the path of the unix socket has 108 bytes, 107 are possible");
  CHECK_FALSE(Endpoint::unix_socket(std::string_view("/a\0b", 4)).ok());
  for (const std::string& longest : {std::string(107, 'a'), "@" + std::string(106, 'a')}) {
    const Endpoint endpoint = Endpoint::unix_socket(longest).value();
    CHECK(endpoint.sockaddr_length() <= sizeof(sockaddr_un));
    CHECK(endpoint.to_string() == "unix:" + longest);
    CHECK(through_kernel(endpoint) == endpoint);
  }
}

TEST_CASE("endpoint: what the kernel may say of unix sockets") {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  const Endpoint unnamed = Endpoint::from_sockaddr(generic, sizeof(sa_family_t));
  CHECK(unnamed.is_unix());
  CHECK(unnamed.to_string() == "unix:");
  CHECK(unnamed == through_kernel(unnamed));
  // A path that fills the structure: the kernel counts a NUL behind it.
  std::memset(address.sun_path, 'a', sizeof address.sun_path);
  const Endpoint full = Endpoint::from_sockaddr(generic, sizeof address + 1);
  CHECK(full.to_string() == "unix:" + std::string(108, 'a'));
  CHECK(full.sockaddr_length() == sizeof address);
}

TEST_CASE("endpoint: nonsense from the kernel is none") {
  const sockaddr_in6 address = kernel_v6("::1", 80);
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  CHECK(Endpoint::from_sockaddr(nullptr, 0) == Endpoint());
  CHECK(Endpoint::from_sockaddr(generic, 0) == Endpoint());
  CHECK(Endpoint::from_sockaddr(generic, 1) == Endpoint());
  CHECK(Endpoint::from_sockaddr(generic, sizeof address - 1) == Endpoint());
  sockaddr other{};
  other.sa_family = AF_NETLINK;
  CHECK(Endpoint::from_sockaddr(&other, sizeof other) == Endpoint());
}

TEST_CASE("endpoint: families are never equal") {
  CHECK_FALSE(Endpoint::ipv4(0, 80) == v6("::"));
  CHECK_FALSE(Endpoint::unix_socket("/a").value() == Endpoint());
  CHECK_FALSE(Endpoint::unix_socket("/a").value() == Endpoint::ipv4(0, 0));
}
