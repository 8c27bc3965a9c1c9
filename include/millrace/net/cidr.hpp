#pragma once
// Networks: Cidr is one ("10.0.0.0/8", "2001:db8::/32"), CidrSet answers whether an address is in any of many. Values;
// pure.
//
// Like addresses, networks of IPv4-mapped addresses count as IPv4, and only as that: "::/0" is every IPv6 address and
// no IPv4 address.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::net {

class Cidr {
 public:
  using Bytes = std::array<std::uint8_t, 16>;  // as IpEndpoint has them; their order is that of the addresses

  Cidr() = default;  // Family::none: no address is in it

  /// A bare address is the network of that address only. Bits that are set beyond the prefix are an error, since either
  /// the address or the prefix is then not what was meant. The error names what is wrong.
  static Result<Cidr> parse(std::string_view text);

  [[nodiscard]] Family family() const { return family_; }
  [[nodiscard]] unsigned prefix() const { return prefix_; }
  /// The lowest and the highest of its addresses.
  [[nodiscard]] const Bytes& first() const { return first_; }
  [[nodiscard]] Bytes last() const;
  /// "10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "none".
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const Cidr& a, const Cidr& b) = default;

 private:
  Cidr(const Bytes& first, Family family, unsigned prefix)
      : first_(first), family_(family), prefix_(static_cast<std::uint8_t>(prefix)) {}

  Bytes first_{};
  Family family_ = Family::none;
  std::uint8_t prefix_ = 0;
};

class CidrSet {
 public:
  CidrSet() = default;
  explicit CidrSet(std::span<const Cidr> networks);

  [[nodiscard]] bool empty() const { return v4_.empty() && v6_.empty(); }
  /// Whatever its port and interface. Family::none (a unix socket) is in no network.
  [[nodiscard]] bool contains(const IpEndpoint& address) const;

 private:
  struct Range {
    Cidr::Bytes first;
    Cidr::Bytes last;
  };

  [[nodiscard]] static bool contains(const std::vector<Range>& ranges, const Cidr::Bytes& address);

  // Sorted, and disjoint: of networks that lie in each other only the widest is kept.
  std::vector<Range> v4_;
  std::vector<Range> v6_;
};

}  // namespace millrace::net
