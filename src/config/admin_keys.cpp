#include "admin_keys.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "addresses.hpp"

namespace millrace::config {
namespace {

constexpr std::size_t kTokenBytesMax = 256;

bool is_visible(char c) {
  return c > 0x20 && c < 0x7f;
}

}  // namespace

void HttpAddress::read(const Place& place, Problems& problems, std::string& out) {
  if (!expect(place, Node::Kind::string, problems)) return;
  const std::string& text = place.node().text;
  if (text.empty()) {
    out.clear();
    return;
  }
  if (text.starts_with("http://") || text.starts_with("https://")) {
    return problems.add(place,
                        fmt::format("{} is a URL, give only an address, for example \"127.0.0.1:9900\"", quoted(text)));
  }
  const Result<net::AddressText> parsed = parse_bind(text);
  if (!parsed) return problems.add(place, parsed.error());
  if (parsed.value().endpoint.is_unix()) {
    return problems.add(place, "HTTP needs an IP address and a port, for example \"127.0.0.1:9900\"");
  }
  out = text;
}

void HttpAddress::describe(std::string& out) {
  out += R"("type":"string","pattern":"^$|:[0-9]+$")";
}

void Token::read(const Place& place, Problems& problems, std::string& out) {
  if (!expect(place, Node::Kind::string, problems)) return;
  const std::string& text = place.node().text;
  if (text.size() > kTokenBytesMax) {
    problems.add(place, fmt::format("{} bytes are too many, the most is {}", text.size(), kTokenBytesMax));
  } else if (!std::all_of(text.begin(), text.end(), is_visible)) {
    problems.add(place, "a token is sent in an HTTP header: use letters, digits and signs of ASCII, no blanks");
  } else {
    out = text;
  }
}

void Token::describe(std::string& out) {
  out += fmt::format(R"("type":"string","pattern":"^[!-~]*$","maxLength":{})", kTokenBytesMax);
}

void check_admin(const Node& root, const Admin& admin, Problems& problems) {
  if (admin.http.empty() || !admin.token.empty()) return;
  const Result<net::AddressText> address = net::parse_address(admin.http);
  if (!address || address.value().endpoint.is_loopback()) return;
  const Entry* table = root.find("admin");
  const Entry* http = table == nullptr ? nullptr : table->value.find("http");
  if (http == nullptr || problems.bad(http->value)) return;
  const Entry* token = table->value.find("token");
  if (problems.misspelt(table->value, "token") || (token != nullptr && problems.bad(token->value))) return;
  problems.add(Place(root).child(*table).child(*http),
               fmt::format("other machines can reach {}, so it needs a token: set admin.token (`openssl rand -hex 16` "
                           "makes one), or use \"127.0.0.1:9900\"",
                           quoted(admin.http)));
}

}  // namespace millrace::config
