#include "addresses.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#include "text.hpp"

namespace millrace::config {
namespace {

constexpr std::size_t kAddressBytesMax = 300;  // the longest host name and a port, with room to spare

bool is_control(char c) {
  return (c >= 0 && c < 0x20) || c == 0x7f;
}

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// What net accepts, less what could not be shown or written to a file again.
Result<net::AddressText> parse_printable(std::string_view text) {
  if (std::any_of(text.begin(), text.end(), is_control)) return Error{"an address cannot hold control characters"};
  if (!is_utf8(text)) return Error{"an address must be UTF-8"};
  if (text.size() > kAddressBytesMax) return Error{fmt::format("{} is too long for an address", quoted(text))};
  if (text.starts_with('/')) return Error{fmt::format("a unix socket is written \"unix:{}\"", text)};
  return net::parse_address(text);
}

/// What is written as one text and should be several.
std::optional<Error> find_comma(std::string_view text, std::string_view remedy) {
  if (text.find(',') == std::string_view::npos || text.starts_with("unix:")) return std::nullopt;
  return Error{fmt::format("{} has a comma, {}", quoted(text), remedy)};
}

Result<net::Cidr> parse_network(std::string_view text) {
  if (auto error = find_comma(text, "several networks are a list: [\"10.0.0.0/8\", \"::1\"]")) return *std::move(error);
  if (text.size() > kAddressBytesMax) return Error{fmt::format("{} is too long for a network", quoted(text))};
  return net::Cidr::parse(text);  // shows printable characters only
}

/// A host name without a port, as the contract allows for SRV records: no address, yet clearly meant as a name.
bool is_bare_name(std::string_view text) {
  const auto belongs = [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
  };
  return std::all_of(text.begin(), text.end(), belongs) && std::any_of(text.begin(), text.end(), is_letter);
}

template <class T, class Parse>
void read_one(const Place& place, Problems& problems, T& out, Parse parse) {
  if (!expect(place, Node::Kind::string, problems)) return;
  auto parsed = parse(place.node().text);
  if (parsed) {
    out = parsed.value();
  } else {
    problems.add(place, parsed.error());
  }
}

template <class List, class ToText>
void write_list(std::string& out, const List& list, ToText to_text) {
  out += '[';
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i != 0) out += ", ";
    out += toml_string(to_text(list[i]));
  }
  out += ']';
}

bool string_or_list(const Place& place, Problems& problems) {
  const Node::Kind kind = place.node().kind;
  if (kind == Node::Kind::string || kind == Node::Kind::list) return true;
  problems.add(place, fmt::format("expected a string or a list of strings, found {}", description(kind)));
  return false;
}

}  // namespace

Result<net::AddressText> parse_bind(std::string_view text) {
  if (auto error = find_comma(text, "several addresses are a list: [\"*:80\", \"*:81\"]")) return *std::move(error);
  auto parsed = parse_printable(text);
  if (!parsed || parsed.value().kind != net::AddressText::Kind::host) return parsed;
  return Error{fmt::format("{} is a host name, give an IP address, or \"*:{}\" for all of them", quoted(text),
                           parsed.value().host.port)};
}

std::string bind_text(const net::AddressText& bind) {
  return bind.kind == net::AddressText::Kind::any ? fmt::format("*:{}", bind.host.port) : bind.endpoint.to_string();
}

Result<net::Endpoint> parse_backend_address(std::string_view text) {
  if (auto error = find_comma(text, R"(more than an address is a table: { address = "10.0.0.1:80", weight = 3 })")) {
    return *std::move(error);
  }
  const auto parsed = parse_printable(text);
  const bool host = parsed ? parsed.value().kind == net::AddressText::Kind::host : is_bare_name(text);
  if (host) return Error{"host names are not built yet, give an IP address"};
  if (!parsed) return Error{parsed.error()};
  if (parsed.value().kind == net::AddressText::Kind::any) {
    return Error{fmt::format("{} is no address to connect to, give an IP address", quoted(text))};
  }
  const net::Endpoint& endpoint = parsed.value().endpoint;
  if (!endpoint.is_unix() && endpoint.port() == 0) return Error{"port 0 is no port to connect to"};
  if (endpoint.is_wildcard()) return Error{fmt::format("{} is no address to connect to", quoted(text))};
  return endpoint;
}

Result<net::Endpoint> parse_source(std::string_view text) {
  const std::string address(text.substr(0, text.find('\0')) == text ? text : "");  // C strings end at a NUL
  in_addr v4{};
  if (::inet_pton(AF_INET, address.c_str(), &v4) == 1) return net::Endpoint::ipv4(ntohl(v4.s_addr), 0);
  std::array<std::uint8_t, 16> v6{};
  if (::inet_pton(AF_INET6, address.c_str(), v6.data()) == 1) return net::Endpoint::ipv6(v6, 0);
  return Error{fmt::format("{} is no IP address; a source has no port and no brackets", quoted(text))};
}

std::string source_text(const net::Endpoint& source) {
  const std::string_view bytes = source.address_bytes();
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = source.family() == net::Family::ipv4 ? AF_INET : AF_INET6;
  ::inet_ntop(family, bytes.data(), text.data(), static_cast<socklen_t>(text.size()));
  return text.data();
}

std::vector<Place> one_or_many(const Place& place) {
  if (place.node().kind != Node::Kind::list) return {place};
  std::vector<Place> places;
  for (std::size_t i = 0; i < place.node().items.size(); ++i) places.push_back(place.item(i));
  return places;
}

void Binds::read(const Place& place, Problems& problems, std::vector<net::AddressText>& out) {
  if (!string_or_list(place, problems)) return;
  out.clear();
  for (const Place& one : one_or_many(place)) {
    net::AddressText bind;
    bind.kind = net::AddressText::Kind::host;
    read_one(one, problems, bind, parse_bind);
    out.push_back(bind);
  }
  if (out.empty()) problems.add(place, R"(is empty, say where to listen, for example "*:8080")");
}

void Binds::write(std::string& out, const std::vector<net::AddressText>& binds) {
  write_list(out, binds, bind_text);
}

void Binds::describe(std::string& out) {
  out += R"("type":["string","array"],"minLength":1,"minItems":1,"items":{"type":"string","minLength":1})";
}

void Sources::read(const Place& place, Problems& problems, std::vector<net::Endpoint>& out) {
  if (!string_or_list(place, problems)) return;
  out.clear();
  if (place.node().kind == Node::Kind::string && place.node().text.empty()) return;
  for (const Place& one : one_or_many(place)) {
    net::Endpoint source;
    read_one(one, problems, source, parse_source);
    out.push_back(source);
  }
}

void Sources::write(std::string& out, const std::vector<net::Endpoint>& sources) {
  write_list(out, sources, source_text);
}

void Sources::describe(std::string& out) {
  out += R"("type":["string","array"],"items":{"type":"string","minLength":1})";
}

void Networks::read(const Place& place, Problems& problems, std::vector<net::Cidr>& out) {
  if (!string_or_list(place, problems)) return;
  out.clear();
  for (const Place& one : one_or_many(place)) {
    net::Cidr network;
    read_one(one, problems, network, parse_network);
    out.push_back(network);
  }
}

void Networks::write(std::string& out, const std::vector<net::Cidr>& networks) {
  write_list(out, networks, [](const net::Cidr& network) { return network.to_string(); });
}

void Networks::describe(std::string& out) {
  out += R"("type":["string","array"],"minLength":1,"items":{"type":"string","minLength":1})";
}

void BackendAddress::read(const Place& place, Problems& problems, net::Endpoint& out) {
  read_one(place, problems, out, parse_backend_address);
}

void BackendAddress::write(std::string& out, const net::Endpoint& address) {
  out += toml_string(address.to_string());
}

void BackendAddress::describe(std::string& out) {
  out += R"("type":"string","minLength":1)";
}

}  // namespace millrace::config
