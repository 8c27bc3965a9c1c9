#include "http_rules.hpp"

#include <algorithm>
#include <string>

#include "millrace/net/endpoint.hpp"

namespace millrace::admin {

namespace {

bool same_without_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return (x >= 'A' && x <= 'Z' ? x - 'A' + 'a' : x) == y; });
}

/// "localhost:9900" is "localhost", "[::1]:9900" is "[::1]".
std::string_view without_port(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.ends_with(']')) return host;
  return host.substr(0, colon);
}

}  // namespace

bool names_this_machine(std::string_view host) {
  const std::string_view name = without_port(host);
  if (same_without_case(name, "localhost")) return true;
  const auto address = net::parse_address(std::string(name) + ":0");
  return address && address.value().kind == net::AddressText::Kind::endpoint && !address.value().endpoint.is_unix();
}

bool same_origin(const HttpRequest& request) {
  const std::string_view site = request.field("sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none") return false;
  const std::string_view origin = request.field("origin");
  if (origin.empty()) return true;
  const std::size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return false;  // "null"
  return origin.substr(scheme + 3) == request.field("host");
}

bool has_token(const HttpRequest& request, std::string_view token) {
  constexpr std::string_view kScheme = "bearer ";
  const std::string_view field = request.field("authorization");
  if (token.empty() || !same_without_case(field.substr(0, kScheme.size()), kScheme)) return false;
  const std::string_view given = field.substr(kScheme.size());
  // Goes over what was given, whatever it is; its own length is no secret.
  unsigned difference = given.size() == token.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    difference |= static_cast<unsigned>(given[i] ^ token[i % token.size()]);
  }
  return difference == 0;
}

}  // namespace millrace::admin
