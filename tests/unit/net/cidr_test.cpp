#include "millrace/net/cidr.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::net {

namespace {

Cidr parsed(std::string_view text) {
  CAPTURE(text);
  const Result<Cidr> cidr = Cidr::parse(text);
  REQUIRE_MESSAGE(cidr.ok(), cidr.error());
  return cidr.value();
}

std::string error_of(std::string_view text) {
  const Result<Cidr> cidr = Cidr::parse(text);
  return cidr.ok() ? "(no error)" : cidr.error();
}

IpEndpoint address(std::string_view text) {
  return IpEndpoint::from(parse_address(text).value().endpoint);
}

CidrSet set_of(const std::vector<std::string_view>& texts) {
  std::vector<Cidr> networks(texts.size());
  std::transform(texts.begin(), texts.end(), networks.begin(), parsed);
  return CidrSet(networks);
}

// The naive model: bit by bit.

bool bit(const Cidr::Bytes& bytes, unsigned index) {
  return (bytes[index / 8] >> (7 - index % 8) & 1U) != 0;
}

bool in_network(const Cidr& network, const IpEndpoint& client) {
  if (network.family() != client.family()) return false;
  for (unsigned i = 0; i < network.prefix(); ++i) {
    if (bit(network.first(), i) != bit(client.address(), i)) return false;
  }
  return true;
}

/// Addresses that differ in few bits, so that networks of them meet.
IpEndpoint crowded_address(Rng& rng) {
  if (rng.one_in(2)) {
    std::uint32_t v4 = 0x0a000000U;
    for (int i = 0; i < 4; ++i) v4 ^= rng.one_in(2) ? 1U << rng.below(32) : 0;
    return IpEndpoint::ipv4(v4, static_cast<std::uint16_t>(rng.below(65536)));
  }
  Cidr::Bytes v6{0x20, 0x01, 0x0d, 0xb8};
  for (int i = 0; i < 4; ++i) {
    const std::size_t byte = rng.below(16);
    v6[byte] = static_cast<std::uint8_t>(v6[byte] ^ (rng.one_in(2) ? 1U << rng.below(8) : 0U));
  }
  return IpEndpoint::ipv6(v6, static_cast<std::uint16_t>(rng.below(65536)));
}

/// By way of its text, with the bits beyond the prefix cleared by the model.
Cidr crowded_network(Rng& rng) {
  const IpEndpoint base = crowded_address(rng);
  const bool v4 = base.family() == Family::ipv4;
  const auto prefix = static_cast<unsigned>(rng.below(v4 ? 33 : 129));
  Cidr::Bytes bytes = base.address();
  for (unsigned i = prefix; i < 128; ++i) {
    bytes[i / 8] = static_cast<std::uint8_t>(bytes[i / 8] & ~(0x80U >> (i % 8)));
  }
  std::string text;
  if (v4) {
    for (unsigned i = 0; i < 4; ++i) text += (i == 0 ? "" : ".") + std::to_string(bytes[i]);
  } else {
    const std::string shown = IpEndpoint::ipv6(bytes, 0).to_string();  // "[…]:0"
    text = shown.substr(1, shown.size() - 4);
  }
  return parsed(text + "/" + std::to_string(prefix));
}

}  // namespace

TEST_CASE("Cidr: networks, and how they are written") {
  const struct {
    std::string_view text;
    std::string_view shown;
  } cases[] = {
      {"10.0.0.0/8", "10.0.0.0/8"},
      {"0.0.0.0/0", "0.0.0.0/0"},
      {"10.0.0.1", "10.0.0.1/32"},
      {"10.0.0.1/32", "10.0.0.1/32"},
      {"255.255.255.254/31", "255.255.255.254/31"},
      {"10.0.0.0/08", "10.0.0.0/8"},
      {"::/0", "::/0"},
      {"::1", "::1/128"},
      {"2001:db8::/32", "2001:db8::/32"},
      {"2001:DB8:0:0::/64", "2001:db8::/64"},
      {"2001:db8::1/128", "2001:db8::1/128"},
      {"fe80::/10", "fe80::/10"},
      {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
      {"::ffff:10.0.0.1", "10.0.0.1/32"},
      {"::ffff:0:0/96", "0.0.0.0/0"},
      {"::/80", "::/80"},  // its last address is a mapped one
  };
  for (const auto& each : cases) {
    const Cidr cidr = parsed(each.text);
    CHECK(cidr.to_string() == each.shown);
    CHECK(parsed(cidr.to_string()) == cidr);
  }
  CHECK(parsed("::ffff:10.0.0.0/104").family() == Family::ipv4);
  CHECK(Cidr().family() == Family::none);
  CHECK(Cidr().to_string() == "none");
}

TEST_CASE("Cidr: first and last address") {
  const Cidr v4 = parsed("10.16.0.0/12");
  CHECK(v4.first() == address("10.16.0.0:0").address());
  CHECK(v4.last() == address("10.31.255.255:0").address());
  const Cidr v6 = parsed("2001:db8::/33");
  CHECK(v6.first() == address("[2001:db8::]:0").address());
  CHECK(v6.last() == address("[2001:db8:7fff:ffff:ffff:ffff:ffff:ffff]:0").address());
  const Cidr one = parsed("10.0.0.1");
  CHECK(one.first() == one.last());
  const Cidr all = parsed("0.0.0.0/0");
  CHECK(all.last() == address("255.255.255.255:0").address());
  CHECK(parsed("::/80").last() == Cidr::Bytes{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff});
}

TEST_CASE("Cidr: every mistake has its message") {
  const struct {
    std::string_view text;
    std::string_view message;
  } cases[] = {
      {"", "the network is empty"},
      {"10.0.0.0/8 ", "the network contains a space, a control character or one that is not ASCII"},
      {"10.0.0.0\n/8", "the network contains a space, a control character or one that is not ASCII"},
      {"\xc3\xa4", "the network contains a space, a control character or one that is not ASCII"},
      {"/8", "the address is missing before \"/8\""},
      // Bits beyond the prefix.
      {"10.0.0.1/8", R"("10.0.0.1/8" has bits beyond its prefix, did you mean "10.0.0.0/8"?)"},
      {"10.0.0.1/0", R"("10.0.0.1/0" has bits beyond its prefix, did you mean "0.0.0.0/0"?)"},
      {"10.0.0.1/31", R"("10.0.0.1/31" has bits beyond its prefix, did you mean "10.0.0.0/31"?)"},
      {"2001:db8::1/32", R"("2001:db8::1/32" has bits beyond its prefix, did you mean "2001:db8::/32"?)"},
      {"::ffff:10.0.0.1/104", R"("::ffff:10.0.0.1/104" has bits beyond its prefix, did you mean "10.0.0.0/8"?)"},
      {"::ffff:10.0.0.0/8", R"("::ffff:10.0.0.0/8" has bits beyond its prefix, did you mean "::/8"?)"},
      {"::ffff:0:0/95", R"("::ffff:0:0/95" has bits beyond its prefix, did you mean "::fffe:0:0/95"?)"},
      // Prefixes.
      {"10.0.0.0/", "the prefix is missing after '/'"},
      {"10.0.0.0/33", "prefix 33 is above 32"},
      {"::/129", "prefix 129 is above 128"},
      {"10.0.0.0/4294967304", "prefix 4294967304 is above 32"},  // 8 in 32 bits
      {"10.0.0.0/18446744073709551624", "prefix 18446744073709551624 is above 32"},
      {"10.0.0.0/-8", "prefix \"-8\" is not a number"},
      {"10.0.0.0/x", "prefix \"x\" is not a number"},
      {"10.0.0.0/8/8", "prefix \"8/8\" is not a number"},
      {"10.0.0.0/255.0.0.0", "\"255.0.0.0\" is a netmask, write the prefix: /8"},
      {"10.0.0.0/0.0.0.0", "\"0.0.0.0\" is a netmask, write the prefix: /0"},
      {"10.0.0.0/255.0.255.0", "prefix \"255.0.255.0\" is not a number"},
      {"::/255.0.0.0", "prefix \"255.0.0.0\" is not a number"},
      // Addresses.
      {"10.0.0/8", "\"10.0.0\" is not an IPv4 address: it needs four numbers"},
      {"10", "\"10\" is not an IPv4 address: it needs four numbers"},
      {"10.0.0.256/32", "\"10.0.0.256\" is not an IPv4 address: 256 is above 255"},
      {"10.0.0.01", "\"10.0.0.01\" is not an IPv4 address: \"01\" has a leading zero"},
      {"10..0.0", "\"10..0.0\" is not an IPv4 address: a number is missing between the dots"},
      {"10.0.0.1:80", "a network has no port"},
      {"10.0.0.0:80/8", "a network has no port"},
      {"[::1]:80", R"(a network has neither brackets nor a port: "2001:db8::/32")"},
      {"[2001:db8::]/32", R"(a network has neither brackets nor a port: "2001:db8::/32")"},
      {"2001:db8/32", "\"2001:db8\" is not an IPv6 address"},
      {":::/0", "\":::\" is not an IPv6 address"},
      {"fe80::1%eth0", "zone ids (\"%eth0\") are not supported"},
      {"app.internal", R"("app.internal" is no IP address; a network is like "10.0.0.0/8")"},
      {"all", R"("all" is no IP address; a network is like "10.0.0.0/8")"},
      {"*", R"("*" is no network; "0.0.0.0/0" and "::/0" are every address)"},
      {"unix:/run/a", "a unix socket is in no network"},
      {"unix:", "a unix socket is in no network"},
  };
  for (const auto& each : cases) {
    CAPTURE(each.text);
    CHECK(error_of(each.text) == each.message);
  }
}

TEST_CASE("Cidr: whatever is suggested instead is right") {
  Rng rng(1);
  for (int i = 0; i < 2'000; ++i) {
    const IpEndpoint base = crowded_address(rng);
    const bool v4 = base.family() == Family::ipv4;
    std::string shown = base.to_string();
    shown = shown.substr(0, shown.rfind(':'));
    if (!v4) shown = shown.substr(1, shown.size() - 2);
    const std::string text = shown + "/" + std::to_string(rng.below(v4 ? 33 : 129));
    CAPTURE(text);
    const Result<Cidr> cidr = Cidr::parse(text);
    if (cidr) {
      CHECK(in_network(cidr.value(), base));
      continue;
    }
    const std::string& message = cidr.error();
    const std::size_t begin = message.find("did you mean \"") + 14;
    CHECK(in_network(parsed(message.substr(begin, message.rfind('"') - begin)), base));
  }
}

TEST_CASE("Cidr: any bytes are parsed or refused") {
  static constexpr std::string_view kCharacters = "0123456789abcf.:/%[]*x \xff";
  Rng rng(7);
  for (int i = 0; i < 20'000; ++i) {
    std::string text;
    for (auto left = rng.below(20); left > 0; --left) text += kCharacters[rng.below(kCharacters.size())];
    const Result<Cidr> cidr = Cidr::parse(text);
    if (!cidr) continue;
    CAPTURE(text);
    CHECK(parsed(cidr.value().to_string()) == cidr.value());
  }
}

TEST_CASE("CidrSet: an empty one holds nothing") {
  const CidrSet nothing;
  CHECK(nothing.empty());
  CHECK_FALSE(nothing.contains(address("10.0.0.1:1")));
  CHECK_FALSE(nothing.contains(address("[::1]:1")));
  CHECK(CidrSet(std::vector<Cidr>{Cidr()}).empty());
}

TEST_CASE("CidrSet: borders, families, ports") {
  const CidrSet set = set_of({"10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "10.1.0.0/16", "0.0.0.0/32"});
  CHECK_FALSE(set.empty());
  for (const char* in : {"10.0.0.0:0", "10.255.255.255:65535", "10.1.2.3:80", "192.0.2.7:1", "0.0.0.0:1",
                         "[::ffff:10.0.0.1]:1", "[2001:db8::]:1", "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:1"}) {
    CAPTURE(in);
    CHECK(set.contains(address(in)));
  }
  for (const char* out : {"9.255.255.255:1", "11.0.0.0:1", "192.0.2.6:1", "192.0.2.8:1", "0.0.0.1:1", "[::]:1",
                          "[2001:db7:ffff:ffff:ffff:ffff:ffff:ffff]:1", "[2001:db9::]:1", "[a00::]:1"}) {
    CAPTURE(out);
    CHECK_FALSE(set.contains(address(out)));
  }
  CHECK_FALSE(set.contains(IpEndpoint()));
}

TEST_CASE("CidrSet: everything of one family is nothing of the other") {
  const CidrSet v4 = set_of({"0.0.0.0/0"});
  CHECK(v4.contains(address("255.255.255.255:1")));
  CHECK(v4.contains(address("[::ffff:1.2.3.4]:1")));
  CHECK_FALSE(v4.contains(address("[::]:1")));
  CHECK_FALSE(v4.contains(IpEndpoint()));
  const CidrSet v6 = set_of({"::/0"});
  CHECK(v6.contains(address("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:1")));
  CHECK_FALSE(v6.contains(address("1.2.3.4:1")));
}

TEST_CASE("CidrSet: agrees with looking at every network bit by bit") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    std::vector<Cidr> networks;
    for (auto left = rng.below(1 + seed % 60); left > 0; --left) networks.push_back(crowded_network(rng));
    const CidrSet set(networks);
    const auto expected = [&](const IpEndpoint& client) {
      return std::any_of(networks.begin(), networks.end(), [&](const Cidr& n) { return in_network(n, client); });
    };
    bool agrees = true;
    const auto compare = [&](const IpEndpoint& client) { agrees = agrees && set.contains(client) == expected(client); };
    for (int i = 0; i < 200; ++i) compare(crowded_address(rng));
    for (const Cidr& network : networks) {  // the addresses at the borders
      for (const Cidr::Bytes& edge : {network.first(), network.last()}) {
        if (network.family() == Family::ipv6) {
          compare(IpEndpoint::ipv6(edge, 1));
          continue;
        }
        const auto v4 =
            std::uint32_t{edge[0]} << 24U | std::uint32_t{edge[1]} << 16U | std::uint32_t{edge[2]} << 8U | edge[3];
        for (const std::uint32_t near : {v4 - 1, v4, v4 + 1}) compare(IpEndpoint::ipv4(near, 1));
      }
    }
    CHECK(agrees);
  }
}

}  // namespace millrace::net
