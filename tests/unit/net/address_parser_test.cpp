#include <doctest/doctest.h>

#include <array>
#include <string>
#include <string_view>

#include "millrace/base/rng.hpp"
#include "millrace/net/endpoint.hpp"

using millrace::Result;
using millrace::Rng;
using millrace::net::AddressText;
using millrace::net::Endpoint;
using millrace::net::Family;
using millrace::net::parse_address;
using Kind = AddressText::Kind;

namespace {

AddressText parsed(std::string_view text) {
  CAPTURE(text);
  const Result<AddressText> result = parse_address(text);
  REQUIRE_MESSAGE(result.ok(), result.error());
  return result.value();
}

std::string error_of(std::string_view text) {
  const Result<AddressText> result = parse_address(text);
  return result.ok() ? "(no error)" : result.error();
}

}  // namespace

TEST_CASE("parse_address: addresses") {
  const struct {
    std::string_view text;
    std::string_view shown;
  } cases[] = {
      {"10.0.0.1:80", "10.0.0.1:80"},
      {"0.0.0.0:0", "0.0.0.0:0"},
      {"255.255.255.255:65535", "255.255.255.255:65535"},
      {"127.0.0.1:00080", "127.0.0.1:80"},
      {"[2001:db8::1]:80", "[2001:db8::1]:80"},
      {"[2001:DB8:0:0::1]:80", "[2001:db8::1]:80"},
      {"[::]:443", "[::]:443"},
      {"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
      {"[::ffff:a00:1]:80", "10.0.0.1:80"},
      {"[64:ff9b::10.0.0.1]:80", "[64:ff9b::a00:1]:80"},
      {"unix:/run/app.sock", "unix:/run/app.sock"},
      {"unix:relative/app.sock", "unix:relative/app.sock"},
      {"unix:/with space:and colon", "unix:/with space:and colon"},
      {"unix:@abstract", "unix:@abstract"},
  };
  for (const auto& each : cases) {
    const AddressText address = parsed(each.text);
    CHECK(address.kind == Kind::endpoint);
    CHECK(address.endpoint.to_string() == each.shown);
  }
  CHECK(parsed("[::ffff:10.0.0.1]:80").endpoint.family() == Family::ipv4);
}

TEST_CASE("parse_address: every address") {
  const AddressText address = parsed("*:8080");
  CHECK(address.kind == Kind::any);
  CHECK(address.host.port == 8080);
  CHECK(address.endpoint == Endpoint());
}

TEST_CASE("parse_address: host names") {
  const std::string label63(63, 'a');
  const std::string name253 = label63 + '.' + label63 + '.' + label63 + '.' + std::string(61, 'b');
  const std::array<std::string, 12> names{"app.internal",   "localhost",     "a",     "A-b.C",
                                          "_http._tcp.app", "app_1",         "1a",    "3com.com",
                                          "web.1",          "app.internal.", label63, name253};
  for (const std::string& name : names) {
    CAPTURE(name);
    const AddressText address = parsed(name + ":80");
    CHECK(address.kind == Kind::host);
    CHECK(address.host.host == name);
    CHECK(address.host.port == 80);
  }
  CHECK(parsed(name253 + ".:80").host.host == name253 + '.');  // the final dot does not count
  CHECK(parsed("deadbeef:80").kind == Kind::host);
  CHECK(parsed("0xyz:80").kind == Kind::host);
}

TEST_CASE("parse_address: every mistake has its message") {
  const std::string label64(64, 'a');
  const std::string name254 =
      std::string(63, 'a') + '.' + std::string(63, 'a') + '.' + std::string(63, 'a') + '.' + std::string(62, 'b');
  const struct {
    std::string text;
    std::string message;
  } cases[] = {
      {"", "the address is empty"},
      // Ports.
      {"10.0.0.1", "the port is missing: 10.0.0.1:80"},
      {"app.internal", "the port is missing: app.internal:80"},
      {"*", "the port is missing: *:80"},
      {"[::1]", "the port is missing: [::1]:80"},
      {"10.0.0.1:", "the port is missing after ':'"},
      {"[::1]:", "the port is missing after ':'"},
      {"10.0.0.1:http", "port \"http\" is not a number"},
      {"10.0.0.1:-1", "port \"-1\" is not a number"},
      {"10.0.0.1:+80", "port \"+80\" is not a number"},
      {"10.0.0.1:80x", "port \"80x\" is not a number"},
      {"10.0.0.1:0x50", "port \"0x50\" is not a number"},
      {"10.0.0.1:80/tcp", "port \"80/tcp\" is not a number"},
      {"10.0.0.1:65536", "port 65536 is above 65535"},
      {"app:70000", "port 70000 is above 65535"},
      {"[::1]:70000", "port 70000 is above 65535"},
      {"app:4294967376", "port 4294967376 is above 65535"},  // 80 in 32 bits
      {"app:18446744073709551696", "port 18446744073709551696 is above 65535"},
      // Hosts that are missing.
      {":80", "the host is missing: *:80 is every address"},
      {"8080", "the host is missing: *:8080 is every address"},
      // IPv6.
      {"::1:80", "an IPv6 address needs brackets: [::1]:80"},
      {"::", "an IPv6 address needs brackets: [::1]:80"},
      {"2001:db8::1", "an IPv6 address needs brackets: [::1]:80"},
      {"fe80::1%eth0", "an IPv6 address needs brackets: [::1]:80"},
      {"1:2:3:4:5:6:7:8:80", "an IPv6 address needs brackets: [::1]:80"},
      {"::ffff:10.0.0.1", "an IPv6 address needs brackets: [::1]:80"},
      {"[::1", "'[' without ']'"},
      {"[::1:80", "'[' without ']'"},
      {"::1]:80", "the brackets do not match"},
      {"[[::1]]:80", "the brackets do not match"},
      {"[::1]]:80", "the brackets do not match"},
      {"app[1]:80", "the brackets do not match"},
      {"[::1]80", "after ']' comes \"80\" instead of ':' and the port"},
      {"[]:80", "\"\" is not an IPv6 address, and only those go into brackets"},
      {"[::g]:80", "\"::g\" is not an IPv6 address, and only those go into brackets"},
      {"[1::2::3]:80", "\"1::2::3\" is not an IPv6 address, and only those go into brackets"},
      {"[12345::]:80", "\"12345::\" is not an IPv6 address, and only those go into brackets"},
      {"[10.0.0.1]:80", "\"10.0.0.1\" is not an IPv6 address, and only those go into brackets"},
      {"[localhost]:80", "\"localhost\" is not an IPv6 address, and only those go into brackets"},
      {"[*]:80", "\"*\" is not an IPv6 address, and only those go into brackets"},
      {"[fe80::1%eth0]:80", "zone ids (\"%eth0\") are not supported"},
      {"[fe80::1%2]:80", "zone ids (\"%2\") are not supported"},
      // IPv4.
      {"300.1.1.1:80", "\"300.1.1.1\" is not an IPv4 address: 300 is above 255"},
      {"1.1.1.256:80", "\"1.1.1.256\" is not an IPv4 address: 256 is above 255"},
      {"1.1.1.4294967297:80", "\"1.1.1.4294967297\" is not an IPv4 address: 4294967297 is above 255"},
      {"1.2.3:80", "\"1.2.3\" is not an IPv4 address: it needs four numbers"},
      {"1.2.3.4.5:80", "\"1.2.3.4.5\" is not an IPv4 address: it needs four numbers"},
      {"8080:80", "\"8080\" is not an IPv4 address: it needs four numbers"},
      {"2130706433:80", "\"2130706433\" is not an IPv4 address: it needs four numbers"},
      {"1..2.3:80", "\"1..2.3\" is not an IPv4 address: a number is missing between the dots"},
      {"1.2.3.:80", "\"1.2.3.\" is not an IPv4 address: a number is missing between the dots"},
      {"010.0.0.1:80", "\"010.0.0.1\" is not an IPv4 address: \"010\" has a leading zero"},
      {"1.2.3.00:80", "\"1.2.3.00\" is not an IPv4 address: \"00\" has a leading zero"},
      {"0x7f.1:80", "\"0x7f.1\" is not an IPv4 address: it needs four numbers"},
      {"0x7f.0.0.1:80", "\"0x7f.0.0.1\" is not an IPv4 address: \"0x7f\" is not a decimal number"},
      {"0X7F000001:80", "\"0X7F000001\" is not an IPv4 address: it needs four numbers"},
      // Host names.
      {"-app:80", "\"-app\" is not a host name: \"-app\" begins or ends with '-'"},
      {"a.b-.c:80", "\"a.b-.c\" is not a host name: \"b-\" begins or ends with '-'"},
      {"a..b:80", "\"a..b\" is not a host name: there is nothing between two dots, or before the first"},
      {".a:80", "\".a\" is not a host name: there is nothing between two dots, or before the first"},
      {"a..:80", "\"a..\" is not a host name: there is nothing between two dots, or before the first"},
      {".:80", "\".\" is not a host name: there is nothing between two dots, or before the first"},
      {"..:80", "\"..\" is not a host name: there is nothing between two dots, or before the first"},
      {"*.a:80", "\"*.a\" is not a host name: '*' is not allowed"},
      {"a/b:80", "\"a/b\" is not a host name: '/' is not allowed"},
      {"user@host:80", "\"user@host\" is not a host name: '@' is not allowed"},
      {"10.0.0.0/8:80", "\"10.0.0.0/8\" is not a host name: '/' is not allowed"},
      {label64 + ":80", "\"" + label64 + "\" is not a host name: \"" + label64 + "\" has more than 63 characters"},
      {name254 + ":80", "the host name has 254 characters, 253 are possible"},
      {"a:b:80", "there is more than one ':'"},
      {"10.0.0.1:80:90", "there is more than one ':'"},
      {"app:80:90", "there is more than one ':'"},
      {"http://app:80", "\"http://app:80\" is a URL: write only host:port"},
      {"tcp://10.0.0.1:80", "\"tcp://10.0.0.1:80\" is a URL: write only host:port"},
      {" 10.0.0.1:80", "the address contains a space, a control character or one that is not ASCII"},
      {"10.0.0.1:80 ", "the address contains a space, a control character or one that is not ASCII"},
      {"10.0.0.1:80\n", "the address contains a space, a control character or one that is not ASCII"},
      {std::string("app\0:80", 7), "the address contains a space, a control character or one that is not ASCII"},
      {"b\xc3\xbc"
       "cher:80",
       "the address contains a space, a control character or one that is not ASCII"},
      // Unix sockets.
      {"unix:", "the path of the unix socket is empty"},
      {"unix:@", "the path of the unix socket is empty"},
      {"unix:" + std::string(108, 'p'), "the path of the unix socket has 108 bytes, 107 are possible"},
      {std::string("unix:/a\0b", 9), "the path of the unix socket contains a NUL byte"},
      {"unix", "the port is missing: unix:80"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.text);
    CHECK(error_of(each.text) == each.message);
  }
}

TEST_CASE("parse_address: what to_string shows can be read back") {
  Rng rng(7);
  for (int i = 0; i < 2000; ++i) {
    const auto port = static_cast<std::uint16_t>(rng.next());
    std::array<std::uint8_t, 16> bytes{};
    // Many zero bytes, so that all ways of shortening occur.
    for (std::uint8_t& each : bytes) each = rng.one_in(3) ? static_cast<std::uint8_t>(rng.next()) : std::uint8_t{0};
    for (const Endpoint& endpoint :
         {Endpoint::ipv6(bytes, port), Endpoint::ipv4(static_cast<std::uint32_t>(rng.next()), port)}) {
      const AddressText again = parsed(endpoint.to_string());
      REQUIRE(again.kind == Kind::endpoint);
      REQUIRE(again.endpoint == endpoint);
    }
  }
}

TEST_CASE("parse_address: takes any bytes, and accepts only what it can show again") {
  // Pieces that matter to the grammar, put together at random.
  const std::array<std::string_view, 22> pieces{"[", "]", ":", "::", ".",  "*",  "%",   "unix:", "@", "1",    "80",
                                                "0", "-", "_", "a",  "ff", "0x", "://", "256",   " ", "\xff", "/"};
  Rng rng(11);
  int accepted = 0;
  for (int i = 0; i < 50000; ++i) {
    std::string text;
    for (std::uint64_t n = rng.below(8); n > 0; --n) text += pieces[rng.below(pieces.size())];
    const Result<AddressText> result = parse_address(text);
    if (!result) {
      REQUIRE_FALSE(result.error().empty());
      continue;
    }
    ++accepted;
    CAPTURE(text);
    const AddressText& address = result.value();
    if (address.kind != Kind::endpoint) {
      REQUIRE(text.find(':') != std::string::npos);
      REQUIRE((address.kind == Kind::any || !address.host.host.empty()));
      REQUIRE(address.endpoint == Endpoint());
      continue;
    }
    REQUIRE(parsed(address.endpoint.to_string()).endpoint == address.endpoint);
  }
  CHECK(accepted > 500);
}
