#include <arpa/inet.h>
#include <doctest/doctest.h>

#include <array>
#include <string>

#include "millrace/net/endpoint.hpp"

using millrace::net::Endpoint;
using millrace::net::hash_bytes;
using millrace::net::hash_client;
using millrace::net::parse_address;

namespace {

Endpoint client(const char* text) {
  return parse_address(text).value().endpoint;
}

std::uint64_t hash(const char* text, unsigned v4 = 32, unsigned v6 = 64, bool with_port = false) {
  return hash_client(client(text), v4, v6, with_port);
}

}  // namespace

// Clients are spread over backends by these numbers, on machines of different versions side by side: they must never
// change. When one of these checks fails, the code is wrong, not the test.
TEST_CASE("hash: golden values") {
  CHECK(hash_bytes("") == 0x2d06800538d394c2ULL);  // as published for XXH3_64bits, seed 0
  CHECK(hash_bytes("a") == 0xe6c632b61e964e1fULL);
  CHECK(hash_bytes("millrace") == 0x0f798300cb96eca5ULL);
  CHECK(hash_bytes(std::string(100, 'x')) == 0xc90984ffdf50ce42ULL);
  CHECK(hash_bytes(std::string(1000, 'x')) == 0xc0a4877b962cba82ULL);

  CHECK(hash("10.0.0.1:1234") == 0xd8eab3b10cf92019ULL);
  CHECK(hash("10.0.0.1:1234", 24) == 0xde0c2a9e5659970eULL);
  CHECK(hash("10.0.0.1:1234", 32, 64, true) == 0xff0c6c1e12c1d82cULL);
  CHECK(hash("[2001:db8::1]:1234") == 0x707c2011550ba030ULL);
  CHECK(hash("[2001:db8::1]:1234", 32, 128) == 0x3999c5d5f6b3cc9eULL);
  CHECK(hash("[2001:db8::1]:1234", 32, 128, true) == 0x8d5e13e03a490e5aULL);
  CHECK(hash("unix:/run/client") == 0xe12ef9d2eb86ceebULL);
}

// The same, said with the bytes that are hashed.
TEST_CASE("hash: what is hashed is family, address cut to the prefix, port in network order") {
  CHECK(hash("10.1.2.3:258") == hash_bytes(std::string_view("\x04\x0a\x01\x02\x03", 5)));
  CHECK(hash("10.1.2.3:258", 16) == hash_bytes(std::string_view("\x04\x0a\x01\0\0", 5)));
  CHECK(hash("10.1.2.3:258", 32, 64, true) == hash_bytes(std::string_view("\x04\x0a\x01\x02\x03\x01\x02", 7)));
  CHECK(hash("[102:304:506:708:90a:b0c:d0e:f10]:258", 32, 64, true) ==
        hash_bytes(std::string_view("\x06\x01\x02\x03\x04\x05\x06\x07\x08\0\0\0\0\0\0\0\0\x01\x02", 19)));
  CHECK(hash("unix:/a", 32, 64, true) == hash_bytes("\x01"));
}

TEST_CASE("hash: clients of one prefix go together, others do not") {
  CHECK(hash("10.0.0.1:1", 24) == hash("10.0.0.255:2", 24));
  CHECK(hash("10.0.0.1:1", 24) != hash("10.0.1.1:1", 24));
  CHECK(hash("[2001:db8::1]:1") == hash("[2001:db8::ffff:1:2:3]:2"));
  CHECK(hash("[2001:db8::1]:1") != hash("[2001:db8:0:1::1]:1"));
}

TEST_CASE("hash: every prefix length cuts at its very bit") {
  for (unsigned prefix = 0; prefix <= 32; ++prefix) {
    CAPTURE(prefix);
    const std::uint32_t address = 0xa5c3f00fU;
    const auto hash_of = [&](std::uint32_t a) { return hash_client(Endpoint::ipv4(a, 1), prefix, 64, false); };
    if (prefix < 32) CHECK(hash_of(address) == hash_of(address ^ (0x80000000U >> prefix)));
    if (prefix > 0) CHECK(hash_of(address) != hash_of(address ^ (0x80000000U >> (prefix - 1))));
  }
  for (unsigned prefix = 0; prefix <= 128; ++prefix) {
    CAPTURE(prefix);
    std::array<std::uint8_t, 16> address{};
    address.fill(0xa5);
    const auto hash_flipped = [&](unsigned bit) {
      std::array<std::uint8_t, 16> flipped = address;
      flipped[bit / 8] = static_cast<std::uint8_t>(flipped[bit / 8] ^ (0x80U >> (bit % 8)));
      return hash_client(Endpoint::ipv6(flipped, 1), 32, prefix, false);
    };
    const std::uint64_t whole = hash_client(Endpoint::ipv6(address, 1), 32, prefix, false);
    if (prefix < 128) CHECK(whole == hash_flipped(prefix));
    if (prefix > 0) CHECK(whole != hash_flipped(prefix - 1));
  }
}

TEST_CASE("hash: a prefix longer than the address is the whole address") {
  CHECK(hash("10.0.0.1:1", 33) == hash("10.0.0.1:1", 32));
  CHECK(hash("10.0.0.1:1", 0xffffffffU) == hash("10.0.0.1:1", 32));
  CHECK(hash("[2001:db8::1]:1", 32, 1000) == hash("[2001:db8::1]:1", 32, 128));
}

TEST_CASE("hash: the port counts only when asked for") {
  CHECK(hash("10.0.0.1:1") == hash("10.0.0.1:2"));
  CHECK(hash("10.0.0.1:1", 32, 64, true) != hash("10.0.0.1:2", 32, 64, true));
  CHECK(hash("10.0.0.1:1", 32, 64, true) != hash("10.0.0.1:256", 32, 64, true));
}

TEST_CASE("hash: families are apart, mapped addresses are IPv4") {
  CHECK(hash("0.0.0.0:1", 0, 0) != hash("[::]:1", 0, 0));
  CHECK(hash("[::ffff:10.0.0.1]:1") == hash("10.0.0.1:9"));
  CHECK(hash("unix:/a") == hash("unix:@b"));
  CHECK(hash("unix:/a") != hash("0.0.0.0:1", 0));
}
