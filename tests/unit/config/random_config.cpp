#include "random_config.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::config::test {
namespace {

std::uint32_t number(Rng& rng, std::uint32_t low, std::uint32_t high) {
  return low + static_cast<std::uint32_t>(rng.below(std::uint64_t{high} - low + 1));
}

bool flag(Rng& rng) {
  return rng.one_in(2);
}

template <class E>
E word(Rng& rng, std::uint32_t last) {
  return static_cast<E>(number(rng, 0, last));
}

Nanos duration(Rng& rng, std::uint32_t low_ms) {
  return std::chrono::milliseconds(number(rng, low_ms, flag(rng) ? 5'000 : 100'000'000));
}

/// Unique by its number; with the characters that need care.
std::string name(Rng& rng, std::size_t index) {
  static constexpr std::string_view kCharacters = "azAZ09_-. /:#[]{}=,@%~";
  std::string out = std::to_string(index) + ':';
  for (auto left = rng.below(10); left > 0; --left) out += kCharacters[rng.below(kCharacters.size())];
  return out;
}

std::string bytes(Rng& rng) {
  static constexpr std::array<std::string_view, 7> kPieces = {"a", "\"", "\\", "\r\n", "\x01", "\xc3\xa4", "\xc2\x9b"};
  std::string out;
  for (auto left = rng.below(8); left > 0; --left) out += kPieces[rng.below(kPieces.size())];
  if (rng.one_in(4)) out += '\0';
  return out;
}

net::Endpoint ipv6(Rng& rng, std::uint16_t port) {
  std::array<std::uint8_t, 16> address{};
  std::generate(address.begin(), address.end(),
                [&] { return static_cast<std::uint8_t>(rng.one_in(3) ? rng.next() : 0); });
  address[0] = 0x20;
  return net::Endpoint::ipv6(address, port);
}

net::Endpoint unix_path(std::size_t index) {
  const std::string path = (index % 2 == 0 ? "/run/\xc3\xa4 \"q\" " : "@abs\\") + std::to_string(index);
  return net::Endpoint::unix_socket(path).value();
}

enum class Unix : bool { no, yes };

bool has_family(const Pool& pool, net::Family family) {
  return std::any_of(pool.backends.begin(), pool.backends.end(),
                     [family](const Backend& b) { return b.address.family() == family; });
}

net::Endpoint endpoint(Rng& rng, std::size_t index, std::uint16_t port, Unix may_be_unix) {
  const std::uint64_t kind = rng.below(4);
  if (kind == 0) return ipv6(rng, port);
  if (kind == 1 && may_be_unix == Unix::yes) return unix_path(index);
  return net::Endpoint::ipv4(number(rng, 0x01000000, 0xdfffffff), port);
}

net::AddressText bind(Rng& rng, std::size_t index, Unix may_be_unix) {
  const auto port = static_cast<std::uint16_t>(rng.one_in(4) ? 0 : 1 + index);  // unique unless 0
  net::AddressText text;
  if (rng.one_in(3)) {
    text.kind = net::AddressText::Kind::any;
    text.host.port = port;
  } else {
    text.endpoint = endpoint(rng, index, port, may_be_unix);
  }
  return text;
}

std::vector<net::Cidr> networks(Rng& rng) {
  static constexpr std::array<std::string_view, 8> kNetworks = {
      "10.0.0.0/8", "0.0.0.0/0", "192.0.2.1", "::/0", "2001:db8::/32", "::1", "::ffff:10.0.0.0/104", "fe80::/10"};
  std::vector<net::Cidr> out;
  for (auto left = number(rng, 0, 3); left > 0; --left) {
    out.push_back(net::Cidr::parse(kNetworks[rng.below(kNetworks.size())]).value());
  }
  return out;
}

void fill_tcp(Rng& rng, Listener& l) {
  l.backlog = number(rng, 1, 100'000);
  l.half_close_timeout = duration(rng, 0);
  l.keepalive = flag(rng);
  l.forwarding = word<Forwarding>(rng, 2);
}

void fill_udp(Rng& rng, Listener& l) {
  l.responses = flag(rng) ? number(rng, 0, 2) : number(rng, 0, 1'000'000);
  l.max_sessions = flag(rng) ? 0 : number(rng, 1, 4'000'000);
}

Listener listener(Rng& rng, std::size_t index, const Pool& pool) {
  Listener l;
  l.name = name(rng, index);
  l.protocol = !has_family(pool, net::Family::unix_path) && flag(rng) ? Protocol::udp : Protocol::tcp;
  const Unix may_be_unix = l.protocol == Protocol::tcp ? Unix::yes : Unix::no;
  for (auto left = number(rng, 1, 3); left > 0; --left) l.bind.push_back(bind(rng, index * 3 + left, may_be_unix));
  l.pool = pool.name;
  l.max_connections = number(rng, 0, 4'000'000);
  l.idle_timeout = duration(rng, 0);
  l.max_connection_duration = duration(rng, 0);
  l.allow = networks(rng);
  l.deny = networks(rng);
  l.max_connections_per_ip = number(rng, 0, 4'000'000);
  l.connection_rate_per_ip = number(rng, 0, kRatePerIpMax);
  if (rng.one_in(2)) l.access_log = rng.one_in(2) ? "stderr" : "/var/log/" + name(rng, index) + ".log";
  if (rng.one_in(2)) l.access_log_format = LogFormat::text;
  if (l.protocol == Protocol::tcp) {
    fill_tcp(rng, l);
  } else {
    fill_udp(rng, l);
  }
  return l;
}

Backend backend(Rng& rng, std::size_t index, Unix may_be_unix) {
  Backend b;
  b.name = name(rng, index);
  b.address = endpoint(rng, index, static_cast<std::uint16_t>(number(rng, 1, 65535)), may_be_unix);
  b.weight = number(rng, 0, 1000);
  b.backup = flag(rng);
  b.max_connections = number(rng, 0, 1000);
  return b;
}

Health health(Rng& rng, Unix has_unix) {
  Health h;
  h.type = word<HealthType>(rng, has_unix == Unix::yes ? 1 : 2);  // udp is the last
  h.interval = duration(rng, 1);
  h.timeout = std::min(duration(rng, 1), h.interval);
  h.rise = number(rng, 1, 10);
  h.fall = number(rng, 1, 10);
  h.jitter = rng.unit();
  h.port = static_cast<std::uint16_t>(number(rng, 0, 65535));
  h.send = bytes(rng);
  h.expect = bytes(rng);
  h.close = word<ProbeClose>(rng, 1);
  return h;
}

Pool pool(Rng& rng, std::size_t index) {
  Pool p;
  p.name = name(rng, index);
  p.balance = balance::kAlgorithms[rng.below(balance::kAlgorithms.size())];
  p.connect_timeout = duration(rng, 1);
  p.retries = number(rng, 0, 100);
  p.fail_open = flag(rng);
  p.max_connections_per_backend = number(rng, 0, 1000);
  const Unix may_be_unix = flag(rng) ? Unix::yes : Unix::no;
  for (std::size_t i = 0, count = number(rng, 1, 5); i < count; ++i) p.backends.push_back(backend(rng, i, may_be_unix));
  if (has_family(p, net::Family::ipv4) && flag(rng)) p.source.push_back(net::Endpoint::ipv4(number(rng, 1, 1000), 0));
  if (has_family(p, net::Family::ipv6) && flag(rng)) p.source.push_back(ipv6(rng, 0));
  p.hash = {word<HashKey>(rng, 1), number(rng, 0, 32), number(rng, 0, 128), flag(rng) ? 0.0 : 1.0 + 9.0 * rng.unit()};
  p.health = health(rng, has_family(p, net::Family::unix_path) ? Unix::yes : Unix::no);
  p.passive = {number(rng, 0, 10), duration(rng, 1), flag(rng) ? 1.0 : rng.unit()};
  return p;
}

}  // namespace

Config random_config(Rng& rng) {
  Config config;
  config.runtime = {number(rng, 0, 1024),   flag(rng),
                    number(rng, 0, 10'000), number(rng, 0, 4'000'000),
                    word<LogLevel>(rng, 3), word<LogFormat>(rng, 1),
                    duration(rng, 0)};
  if (flag(rng)) config.admin.socket = flag(rng) ? "" : "/run/a \"socket\"";
  if (flag(rng)) config.admin.http = flag(rng) ? "" : "[::1]:0";
  if (flag(rng)) {
    config.admin.http = "*:9900";
    config.admin.token = "a\"\\~";
  }
  for (std::size_t i = 0, count = number(rng, 1, 4); i < count; ++i) config.pools.push_back(pool(rng, i));
  for (std::size_t i = 0, count = number(rng, 1, 4); i < count; ++i) {
    config.listeners.push_back(listener(rng, i, config.pools[rng.below(config.pools.size())]));
  }
  return config;
}

}  // namespace millrace::config::test
