#pragma once
// The values that are addresses, networks or lists of them. In a list an element that is wrong leaves a placeholder
// (Kind::host, Family::none), so that places and values keep the same index for the checks that follow.

#include <string>
#include <string_view>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"

namespace millrace::config {

/// Where a listener listens: an address or `*:PORT`. "Text" is how to_toml() writes it.
[[nodiscard]] Result<net::AddressText> parse_bind(std::string_view text);
[[nodiscard]] std::string bind_text(const net::AddressText& bind);
/// Where a backend is: an IP address with a port other than 0, or a unix socket.
[[nodiscard]] Result<net::Endpoint> parse_backend_address(std::string_view text);
/// A local address to connect from: IP, no port.
[[nodiscard]] Result<net::Endpoint> parse_source(std::string_view text);
[[nodiscard]] std::string source_text(const net::Endpoint& source);

/// A string or a list of strings as places: the value itself, or its items.
[[nodiscard]] std::vector<Place> one_or_many(const Place& place);

/// A string or a list of at least one.
struct Binds {
  static void read(const Place& place, Problems& problems, std::vector<net::AddressText>& out);
  static void write(std::string& out, const std::vector<net::AddressText>& binds);
  static void describe(std::string& out);
};

/// A string or a list; "" and [] are none.
struct Sources {
  static void read(const Place& place, Problems& problems, std::vector<net::Endpoint>& out);
  static void write(std::string& out, const std::vector<net::Endpoint>& sources);
  static void describe(std::string& out);
};

/// A string or a list; [] is none. "" is an error: as none of `allow` it would be everybody.
struct Networks {
  static void read(const Place& place, Problems& problems, std::vector<net::Cidr>& out);
  static void write(std::string& out, const std::vector<net::Cidr>& networks);
  static void describe(std::string& out);
};

struct BackendAddress {
  static void read(const Place& place, Problems& problems, net::Endpoint& out);
  static void write(std::string& out, const net::Endpoint& address);
  static void describe(std::string& out);
};

}  // namespace millrace::config
