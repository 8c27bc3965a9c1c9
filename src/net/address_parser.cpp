// parse_address: what a person wrote as an address. Every way of getting it wrong has its own message.

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "address_text.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::net {
namespace {

constexpr std::size_t kHostNameMax = 253;  // RFC 1123; without the final dot
constexpr std::size_t kLabelMax = 63;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

/// Takes the text up to the first dot, and the dot, off `rest`.
std::string_view take_label(std::string_view& rest) {
  const std::size_t dot = std::min(rest.find('.'), rest.size());
  const std::string_view label = rest.substr(0, dot);
  rest.remove_prefix(std::min(dot + 1, rest.size()));
  return label;
}

Result<std::uint16_t> parse_port(std::string_view text) {
  if (text.empty()) return Error{"the port is missing after ':'"};
  if (!all_digits(text)) return Error{fmt::format("port \"{}\" is not a number", text)};
  std::uint32_t port = 0;
  for (const char c : text) {
    port = port * 10 + static_cast<std::uint32_t>(c - '0');
    if (port > 65535) return Error{fmt::format("port {} is above 65535", text)};
  }
  return static_cast<std::uint16_t>(port);
}

/// True when the C library might read it as an IPv4 address in one of its old notations (1.2.3, 0x7f.1): such a thing
/// must never reach the resolver as a name.
bool is_numeric(std::string_view host) {
  if (host.find_first_of("0123456789") == std::string_view::npos) return false;
  while (!host.empty()) {
    std::string_view label = take_label(host);
    if (label.substr(0, 2) == "0x" || label.substr(0, 2) == "0X") {
      label.remove_prefix(2);
      if (!std::all_of(label.begin(), label.end(), is_hex)) return false;
    } else if (!all_digits(label)) {
      return false;
    }
  }
  return true;
}

Result<std::uint32_t> parse_ipv4_octet(std::string_view text) {
  if (text.empty()) return Error{"a number is missing between the dots"};
  if (!all_digits(text)) return Error{fmt::format("\"{}\" is not a decimal number", text)};
  if (text.size() > 1 && text.front() == '0') return Error{fmt::format("\"{}\" has a leading zero", text)};
  std::uint32_t octet = 0;
  for (const char c : text) {
    octet = octet * 10 + static_cast<std::uint32_t>(c - '0');
    if (octet > 255) return Error{fmt::format("{} is above 255", text)};
  }
  return octet;
}

std::optional<Error> check_label(std::string_view host, std::string_view label) {
  const auto wrong = [host](std::string_view why) {
    return Error{fmt::format("\"{}\" is not a host name: {}", host, why)};
  };
  if (label.empty()) return wrong("there is nothing between two dots, or before the first");
  if (label.size() > kLabelMax) return wrong(fmt::format("\"{}\" has more than {} characters", label, kLabelMax));
  for (const char c : label) {
    if (!is_letter(c) && !is_digit(c) && c != '-' && c != '_') return wrong(fmt::format("'{}' is not allowed", c));
  }
  if (label.front() == '-' || label.back() == '-') return wrong(fmt::format("\"{}\" begins or ends with '-'", label));
  return std::nullopt;
}

std::optional<Error> check_host_name(std::string_view host) {
  std::string_view rest = host;
  if (rest.size() > 1 && rest.back() == '.') rest.remove_suffix(1);
  if (rest.size() > kHostNameMax) {
    return Error{fmt::format("the host name has {} characters, {} are possible", rest.size(), kHostNameMax)};
  }
  const bool ends_with_dot = rest.back() == '.';
  while (!rest.empty()) {
    if (auto error = check_label(host, take_label(rest))) return error;
  }
  return ends_with_dot ? check_label(host, "") : std::nullopt;
}

/// `text` begins with '['.
Result<AddressText> parse_bracketed(std::string_view text) {
  const std::size_t end = text.find(']');
  if (end == std::string_view::npos) return Error{"'[' without ']'"};
  const std::string_view host = text.substr(1, end - 1);
  const std::string_view behind = text.substr(end + 1);
  if (contains(host, "[") || contains(behind, "[") || contains(behind, "]")) {
    return Error{"the brackets do not match"};
  }
  if (contains(host, "%")) {
    return Error{fmt::format("zone ids (\"{}\") are not supported", host.substr(host.find('%')))};
  }
  std::array<std::uint8_t, 16> address{};
  if (::inet_pton(AF_INET6, std::string(host).c_str(), address.data()) != 1) {
    return Error{fmt::format("\"{}\" is not an IPv6 address, and only those go into brackets", host)};
  }
  if (behind.empty()) return Error{fmt::format("the port is missing: [{}]:80", host)};
  if (behind.front() != ':') return Error{fmt::format("after ']' comes \"{}\" instead of ':' and the port", behind)};
  const Result<std::uint16_t> port = parse_port(behind.substr(1));
  if (!port) return Error{port.error()};
  return AddressText{AddressText::Kind::endpoint, Endpoint::ipv6(address, port.value()), {}};
}

/// A host, which is not empty, and its port.
Result<AddressText> parse_host_port(std::string_view host, std::uint16_t port) {
  if (host == "*") return AddressText{AddressText::Kind::any, {}, {"", port}};
  if (is_numeric(host)) {
    const Result<std::uint32_t> address = parse_ipv4(host);
    if (!address) return Error{address.error()};
    return AddressText{AddressText::Kind::endpoint, Endpoint::ipv4(address.value(), port), {}};
  }
  if (auto error = check_host_name(host)) return *std::move(error);
  return AddressText{AddressText::Kind::host, {}, {std::string(host), port}};
}

/// An IPv6 address without brackets cannot be told from one with a port, so it is never taken.
bool looks_like_ipv6(std::string_view text) {
  const std::string_view address = text.substr(0, text.find('%'));
  const bool enough_colons = contains(address, "::") || std::count(address.begin(), address.end(), ':') >= 6;
  return enough_colons &&
         std::all_of(address.begin(), address.end(), [](char c) { return is_hex(c) || c == ':' || c == '.'; });
}

}  // namespace

bool is_printable(std::string_view text) {
  // False for bytes of UTF-8, whether char is signed or not.
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool all_digits(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_digit);
}

Result<std::uint32_t> parse_ipv4(std::string_view text) {
  const auto wrong = [text](std::string_view why) {
    return Error{fmt::format("\"{}\" is not an IPv4 address: {}", text, why)};
  };
  if (std::count(text.begin(), text.end(), '.') != 3) return wrong("it needs four numbers");
  std::uint32_t address = 0;
  std::string_view rest = text;
  for (int i = 0; i < 4; ++i) {
    const Result<std::uint32_t> octet = parse_ipv4_octet(take_label(rest));
    if (!octet) return wrong(octet.error());
    address = address << 8U | octet.value();
  }
  return address;
}

Result<AddressText> parse_address(std::string_view text) {
  if (text.empty()) return Error{"the address is empty"};
  if (text.substr(0, 5) == "unix:") {
    Result<Endpoint> endpoint = Endpoint::unix_socket(text.substr(5));
    if (!endpoint) return Error{endpoint.error()};
    return AddressText{AddressText::Kind::endpoint, endpoint.value(), {}};
  }
  if (!is_printable(text)) {
    return Error{"the address contains a space, a control character or one that is not ASCII"};
  }
  if (contains(text, "://")) return Error{fmt::format("\"{}\" is a URL: write only host:port", text)};
  if (text.front() == '[') return parse_bracketed(text);
  if (contains(text, "[") || contains(text, "]")) return Error{"the brackets do not match"};
  if (looks_like_ipv6(text)) return Error{"an IPv6 address needs brackets: [::1]:80"};
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos && all_digits(text)) {
    return Error{fmt::format("the host is missing: *:{} is every address", text)};
  }
  if (colon == std::string_view::npos) return Error{fmt::format("the port is missing: {}:80", text)};
  if (colon == 0) return Error{fmt::format("the host is missing: *{} is every address", text)};
  if (contains(text.substr(colon + 1), ":")) return Error{"there is more than one ':'"};
  const Result<std::uint16_t> port = parse_port(text.substr(colon + 1));
  if (!port) return Error{port.error()};
  return parse_host_port(text.substr(0, colon), port.value());
}

}  // namespace millrace::net
