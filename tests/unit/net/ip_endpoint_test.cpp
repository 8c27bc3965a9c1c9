#include "millrace/net/ip_endpoint.hpp"

#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <set>
#include <span>
#include <vector>

using millrace::net::Endpoint;
using millrace::net::Family;
using millrace::net::IpEndpoint;

namespace {

using Bytes16 = std::array<std::uint8_t, 16>;

Bytes16 v6_bytes(const char* text) {
  Bytes16 bytes{};
  REQUIRE(::inet_pton(AF_INET6, text, bytes.data()) == 1);
  return bytes;
}

IpEndpoint v6(const char* text, std::uint16_t port = 80, std::uint32_t scope = 0) {
  return IpEndpoint::ipv6(v6_bytes(text), port, scope);
}

template <class T>
std::span<const std::byte> bytes_of(const T& object) {
  return std::as_bytes(std::span(&object, 1));
}

/// What the kernel would write for it.
std::span<const std::byte> as_kernel_writes(const IpEndpoint& endpoint, sockaddr_in6& storage) {
  return bytes_of(storage).first(endpoint.to_sockaddr(storage));
}

IpEndpoint through_kernel(const IpEndpoint& endpoint) {
  sockaddr_in6 storage{};
  return IpEndpoint::from_sockaddr(as_kernel_writes(endpoint, storage));
}

/// None, the smallest and largest of each family, and two that differ from each other in a single field.
std::vector<IpEndpoint> different_ones() {
  return {IpEndpoint(),
          IpEndpoint::ipv4(0, 0),
          IpEndpoint::ipv4(0x0a000001, 80),
          IpEndpoint::ipv4(0x0a000001, 81),
          IpEndpoint::ipv4(0x0a000002, 80),
          IpEndpoint::ipv4(0xffffffff, 0xffff),
          v6("::", 0),
          v6("2001:db8::1", 80),
          v6("2001:db8::1", 81),
          v6("2001:db8::2", 80),
          v6("fe80::1", 80, 2),
          v6("fe80::1", 80, 3),
          v6("fe80::1", 80),
          v6("a00:1::", 80),  // the bytes of 10.0.0.1, then zeros
          v6("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0xffff, 0xffffffff)};
}

}  // namespace

TEST_CASE("ip endpoint: none") {
  const IpEndpoint none;
  CHECK(none.family() == Family::none);
  CHECK(none.port() == 0);
  CHECK(none.scope() == 0);
  CHECK(none.address() == Bytes16{});
  CHECK(none.to_string() == "none");
  CHECK(none.to_endpoint() == Endpoint());
  CHECK(none == IpEndpoint());
  sockaddr_in6 storage{};
  CHECK(none.to_sockaddr(storage) == 0);
}

TEST_CASE("ip endpoint: IPv4 both ways") {
  IpEndpoint endpoint = IpEndpoint::ipv4(0x0a000001, 80);
  CHECK(endpoint.family() == Family::ipv4);
  CHECK(endpoint.port() == 80);
  CHECK(endpoint.scope() == 0);
  CHECK(endpoint.address() == Bytes16{10, 0, 0, 1});
  CHECK(endpoint.to_string() == "10.0.0.1:80");
  CHECK(endpoint.to_endpoint() == Endpoint::ipv4(0x0a000001, 80));
  CHECK(IpEndpoint::from(Endpoint::ipv4(0x0a000001, 80)) == endpoint);
  sockaddr_in6 storage{};
  CHECK(endpoint.to_sockaddr(storage) == sizeof(sockaddr_in));
  sockaddr_in kernel{};
  std::memcpy(&kernel, &storage, sizeof kernel);
  CHECK(kernel.sin_family == AF_INET);
  CHECK(kernel.sin_port == htons(80));
  CHECK(kernel.sin_addr.s_addr == htonl(0x0a000001));
  endpoint.set_port(65535);
  CHECK(endpoint.to_string() == "10.0.0.1:65535");
}

TEST_CASE("ip endpoint: IPv6 both ways") {
  IpEndpoint endpoint = v6("2001:db8::1", 443);
  CHECK(endpoint.family() == Family::ipv6);
  CHECK(endpoint.port() == 443);
  CHECK(endpoint.scope() == 0);
  CHECK(endpoint.address() == v6_bytes("2001:db8::1"));
  CHECK(endpoint.to_string() == "[2001:db8::1]:443");
  CHECK(endpoint.to_endpoint() == Endpoint::ipv6(v6_bytes("2001:db8::1"), 443));
  CHECK(IpEndpoint::from(Endpoint::ipv6(v6_bytes("2001:db8::1"), 443)) == endpoint);
  sockaddr_in6 kernel{};
  CHECK(endpoint.to_sockaddr(kernel) == sizeof(sockaddr_in6));
  CHECK(kernel.sin6_family == AF_INET6);
  CHECK(kernel.sin6_port == htons(443));
  CHECK(kernel.sin6_scope_id == 0);
  CHECK(std::memcmp(&kernel.sin6_addr, endpoint.address().data(), 16) == 0);
  endpoint.set_port(1);
  CHECK(endpoint == v6("2001:db8::1", 1));
}

TEST_CASE("ip endpoint: every one survives the kernel, and Endpoint") {
  for (const IpEndpoint& endpoint : different_ones()) {
    CAPTURE(endpoint.to_string());
    CHECK(through_kernel(endpoint) == endpoint);
    CHECK(IpEndpoint::from(endpoint.to_endpoint()) == endpoint);
  }
}

TEST_CASE("ip endpoint: writing an address leaves nothing of the one before") {
  sockaddr_in6 storage{};
  std::memset(&storage, 0xff, sizeof storage);
  CHECK(IpEndpoint::from_sockaddr(as_kernel_writes(v6("2001:db8::1"), storage)) == v6("2001:db8::1"));
  CHECK(storage.sin6_flowinfo == 0);
  std::memset(&storage, 0xff, sizeof storage);
  (void)IpEndpoint::ipv4(0x0a000001, 80).to_sockaddr(storage);
  sockaddr_in kernel{};
  std::memcpy(&kernel, &storage, sizeof kernel);
  CHECK(std::memcmp(kernel.sin_zero, std::array<char, sizeof kernel.sin_zero>{}.data(), sizeof kernel.sin_zero) == 0);
}

TEST_CASE("ip endpoint: IPv4-mapped addresses become IPv4 on every way in") {
  const IpEndpoint expected = IpEndpoint::ipv4(0xc0000201, 80);
  CHECK(v6("::ffff:192.0.2.1") == expected);
  CHECK(v6("::ffff:192.0.2.1", 80, 3) == expected);
  CHECK(IpEndpoint::from(Endpoint::ipv6(v6_bytes("::ffff:192.0.2.1"), 80)) == expected);
  sockaddr_in6 mapped{};
  mapped.sin6_family = AF_INET6;
  mapped.sin6_port = htons(80);
  mapped.sin6_scope_id = 3;
  const Bytes16 bytes = v6_bytes("::ffff:192.0.2.1");
  std::memcpy(&mapped.sin6_addr, bytes.data(), bytes.size());
  CHECK(IpEndpoint::from_sockaddr(bytes_of(mapped)) == expected);
  // Related, but not mapped.
  CHECK(v6("::192.0.2.1").family() == Family::ipv6);
  CHECK(v6("::fffe:192.0.2.1").family() == Family::ipv6);
}

TEST_CASE("ip endpoint: a link-local address keeps its interface") {
  const IpEndpoint endpoint = v6("fe80::1", 80, 2);
  CHECK(endpoint.scope() == 2);
  CHECK(endpoint.to_string() == "[fe80::1%2]:80");
  CHECK(through_kernel(endpoint).scope() == 2);
  CHECK(IpEndpoint::from(endpoint.to_endpoint()).scope() == 2);
}

TEST_CASE("ip endpoint: the flow label that the kernel may report does not tell addresses apart") {
  sockaddr_in6 storage{};
  (void)v6("2001:db8::1").to_sockaddr(storage);
  storage.sin6_flowinfo = 77;
  CHECK(IpEndpoint::from_sockaddr(bytes_of(storage)) == v6("2001:db8::1"));
}

TEST_CASE("ip endpoint: what is too short, or of another family, is none") {
  sockaddr_in6 storage{};
  for (const IpEndpoint& endpoint : {IpEndpoint::ipv4(0x0a000001, 80), v6("2001:db8::1")}) {
    const std::span<const std::byte> whole = as_kernel_writes(endpoint, storage);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      CAPTURE(length);
      // A copy of exactly that size, so that a sanitizer sees a read behind it.
      const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(IpEndpoint::from_sockaddr(cut) == IpEndpoint());
    }
    CHECK(IpEndpoint::from_sockaddr(whole) == endpoint);
    // Behind an IPv4 address there may be room for an IPv6 one.
    CHECK(IpEndpoint::from_sockaddr(bytes_of(storage)) == endpoint);
  }
  storage.sin6_family = AF_UNIX;
  CHECK(IpEndpoint::from_sockaddr(bytes_of(storage)) == IpEndpoint());
  storage.sin6_family = AF_UNSPEC;
  CHECK(IpEndpoint::from_sockaddr(bytes_of(storage)) == IpEndpoint());
  CHECK(IpEndpoint::from_sockaddr({}) == IpEndpoint());
}

TEST_CASE("ip endpoint: a unix socket and no address are none") {
  CHECK(IpEndpoint::from(Endpoint::unix_socket("/run/app.sock").value()) == IpEndpoint());
  CHECK(IpEndpoint::from(Endpoint::unix_socket("@app").value()) == IpEndpoint());
  CHECK(IpEndpoint::from(Endpoint()) == IpEndpoint());
}

TEST_CASE("ip endpoint: equal when every field is, and then of equal hash") {
  const std::vector<IpEndpoint> ones = different_ones();
  for (std::size_t i = 0; i < ones.size(); ++i) {
    for (std::size_t j = 0; j < ones.size(); ++j) {
      CAPTURE(ones[i].to_string());
      CAPTURE(ones[j].to_string());
      CHECK((ones[i] == ones[j]) == (i == j));
      for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        CHECK((ones[i].hash(seed) == ones[j].hash(seed)) == (i == j));
      }
    }
  }
  IpEndpoint moved = IpEndpoint::ipv4(0x0a000001, 80);
  moved.set_port(81);
  CHECK(moved == IpEndpoint::ipv4(0x0a000001, 81));
  CHECK(moved.hash(7) == IpEndpoint::ipv4(0x0a000001, 81).hash(7));
}

TEST_CASE("ip endpoint: each seed gives other hashes") {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 0; seed < 1000; ++seed) hashes.insert(v6("2001:db8::1").hash(seed));
  CHECK(hashes.size() == 1000);
  CHECK(v6("2001:db8::1").hash(7) == v6("2001:db8::1").hash(7));
}

TEST_CASE("ip endpoint: clients that differ a little are spread well") {
  // 64 addresses of one network, 64 ports each, over 64 places: none far from its share of 64.
  std::array<int, 64> places{};
  for (std::uint32_t address = 0; address < 64; ++address) {
    for (std::uint16_t port = 0; port < 64; ++port) {
      ++places[IpEndpoint::ipv4(0x0a000000 + address, static_cast<std::uint16_t>(40000 + port)).hash(1) % 64];
    }
  }
  for (const int count : places) {
    CHECK(count > 24);
    CHECK(count < 128);
  }
}
