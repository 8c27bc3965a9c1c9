#include "millrace/net/cidr.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <optional>

#include "address_text.hpp"

namespace millrace::net {
namespace {

constexpr unsigned kMappedBits = 96;  // of the prefix that IPv4-mapped addresses share

unsigned bits_of(Family family) {
  return family == Family::ipv4 ? 32 : 128;
}

/// The bits of a byte that lie within a prefix, given how many bits of the address come before the byte.
std::uint8_t mask_of_byte(unsigned prefix, unsigned bits_before) {
  const unsigned kept = prefix <= bits_before ? 0 : std::min(prefix - bits_before, 8U);
  return static_cast<std::uint8_t>(0xff00U >> kept);
}

/// What a person wrote before the '/'; not un-mapped yet, as the prefix counts from its first bit.
struct Address {
  Cidr::Bytes bytes{};
  Family family = Family::none;
};

Cidr::Bytes cut_to(Cidr::Bytes bytes, unsigned prefix) {
  for (unsigned i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(bytes[i] & mask_of_byte(prefix, i * 8));
  }
  return bytes;
}

Result<Address> parse_ipv6(std::string_view text) {
  if (text.find('%') != std::string_view::npos) {
    return Error{fmt::format("zone ids (\"{}\") are not supported", text.substr(text.find('%')))};
  }
  Address address{.family = Family::ipv6};
  if (::inet_pton(AF_INET6, std::string(text).c_str(), address.bytes.data()) == 1) return address;
  const std::size_t colon = text.find(':');
  const bool one_colon = text.find(':', colon + 1) == std::string_view::npos;
  if (one_colon && parse_ipv4(text.substr(0, colon))) return Error{"a network has no port"};
  return Error{fmt::format("\"{}\" is not an IPv6 address", text)};
}

/// `text` is not empty.
Result<Address> parse_one_address(std::string_view text) {
  if (text == "*") return Error{R"("*" is no network; "0.0.0.0/0" and "::/0" are every address)"};
  if (text.substr(0, 5) == "unix:") return Error{"a unix socket is in no network"};
  if (text.find_first_of("[]") != std::string_view::npos) {
    return Error{R"(a network has neither brackets nor a port: "2001:db8::/32")"};
  }
  if (text.find(':') != std::string_view::npos) return parse_ipv6(text);
  if (text.find_first_not_of("0123456789.") != std::string_view::npos) {
    return Error{fmt::format(R"("{}" is no IP address; a network is like "10.0.0.0/8")", text)};
  }
  const Result<std::uint32_t> v4 = parse_ipv4(text);
  if (!v4) return Error{v4.error()};
  Address address{.family = Family::ipv4};
  for (unsigned i = 0; i < 4; ++i) address.bytes[i] = static_cast<std::uint8_t>(v4.value() >> (24 - 8 * i));
  return address;
}

/// "255.255.0.0" means 16; nothing for other texts.
std::optional<unsigned> prefix_of_netmask(std::string_view text) {
  const Result<std::uint32_t> mask = parse_ipv4(text);
  if (!mask || std::popcount(mask.value()) != std::countl_one(mask.value())) return std::nullopt;
  return static_cast<unsigned>(std::popcount(mask.value()));
}

Result<unsigned> parse_prefix(std::string_view text, Family family) {
  if (text.empty()) return Error{"the prefix is missing after '/'"};
  const std::optional<unsigned> netmask = prefix_of_netmask(text);
  if (netmask && family == Family::ipv4) {
    return Error{fmt::format("\"{}\" is a netmask, write the prefix: /{}", text, *netmask)};
  }
  if (!all_digits(text)) return Error{fmt::format("prefix \"{}\" is not a number", text)};
  unsigned prefix = 0;
  for (const char c : text) {
    prefix = prefix * 10 + static_cast<unsigned>(c - '0');
    if (prefix > bits_of(family)) return Error{fmt::format("prefix {} is above {}", text, bits_of(family))};
  }
  return prefix;
}

}  // namespace

Result<Cidr> Cidr::parse(std::string_view text) {
  if (text.empty()) return Error{"the network is empty"};
  if (!is_printable(text)) {
    return Error{"the network contains a space, a control character or one that is not ASCII"};
  }
  const std::size_t slash = std::min(text.find('/'), text.size());
  if (slash == 0) return Error{fmt::format("the address is missing before \"{}\"", text)};
  const Result<Address> address = parse_one_address(text.substr(0, slash));
  if (!address) return Error{address.error()};
  const Family family = address.value().family;
  unsigned prefix = bits_of(family);
  if (slash < text.size()) {
    const Result<unsigned> written = parse_prefix(text.substr(slash + 1), family);
    if (!written) return Error{written.error()};
    prefix = written.value();
  }
  const Bytes first = cut_to(address.value().bytes, prefix);
  // What is mapped, after the cut, has a prefix that is long enough to hold the mapping.
  const IpEndpoint unmapped = family == Family::ipv6 ? IpEndpoint::ipv6(first, 0) : IpEndpoint();
  const bool mapped = unmapped.family() == Family::ipv4;
  const Cidr cidr = mapped ? Cidr(unmapped.address(), Family::ipv4, prefix - kMappedBits) : Cidr(first, family, prefix);
  if (first == address.value().bytes) return cidr;
  return Error{fmt::format(R"("{}" has bits beyond its prefix, did you mean "{}"?)", text, cidr.to_string())};
}

Cidr::Bytes Cidr::last() const {
  Bytes bytes = first_;
  const unsigned length = family_ == Family::ipv4 ? 4 : 16;
  for (unsigned i = 0; i < length; ++i) {
    bytes[i] = static_cast<std::uint8_t>(bytes[i] | static_cast<std::uint8_t>(~mask_of_byte(prefix_, i * 8)));
  }
  return bytes;
}

std::string Cidr::to_string() const {
  if (family_ == Family::none) return "none";
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(family_ == Family::ipv4 ? AF_INET : AF_INET6, first_.data(), text.data(),
              static_cast<socklen_t>(text.size()));
  return fmt::format("{}/{}", text.data(), prefix_);
}

CidrSet::CidrSet(std::span<const Cidr> networks) {
  std::vector<Cidr> sorted(networks.begin(), networks.end());
  // Wider ones first among those with the same first address. Two networks are apart, or one holds the other.
  std::sort(sorted.begin(), sorted.end(), [](const Cidr& a, const Cidr& b) {
    return a.first() != b.first() ? a.first() < b.first() : a.prefix() < b.prefix();
  });
  for (const Cidr& network : sorted) {
    if (network.family() == Family::none) continue;
    std::vector<Range>& ranges = network.family() == Family::ipv4 ? v4_ : v6_;
    if (ranges.empty() || ranges.back().last < network.first()) ranges.push_back({network.first(), network.last()});
  }
}

bool CidrSet::contains(const IpEndpoint& address) const {
  if (address.family() == Family::ipv4) return contains(v4_, address.address());
  return address.family() == Family::ipv6 && contains(v6_, address.address());
}

bool CidrSet::contains(const std::vector<Range>& ranges, const Cidr::Bytes& address) {
  const auto after = std::upper_bound(ranges.begin(), ranges.end(), address,
                                      [](const Cidr::Bytes& a, const Range& range) { return a < range.first; });
  return after != ranges.begin() && address <= std::prev(after)->last;
}

}  // namespace millrace::net
