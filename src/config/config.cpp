#include "millrace/config/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <tuple>

namespace millrace::config {
namespace {

bool same_bind(const net::AddressText& a, const net::AddressText& b) {
  return a.kind == b.kind && a.endpoint == b.endpoint && a.host.host == b.host.host && a.host.port == b.host.port;
}

auto all_but_bind(const Listener& l) {
  return std::tie(l.name, l.protocol, l.pool, l.max_connections, l.backlog, l.idle_timeout, l.half_close_timeout,
                  l.max_connection_duration, l.keepalive, l.forwarding, l.responses, l.max_sessions, l.allow, l.deny,
                  l.max_connections_per_ip, l.connection_rate_per_ip, l.access_log, l.access_log_format);
}

auto all_but_unasked(const Health& h) {
  return std::tie(h.type, h.interval, h.timeout, h.rise, h.fall, h.jitter, h.port, h.send, h.expect, h.close);
}

}  // namespace

bool operator==(const Listener& a, const Listener& b) {
  return all_but_bind(a) == all_but_bind(b) &&
         std::equal(a.bind.begin(), a.bind.end(), b.bind.begin(), b.bind.end(), same_bind);
}

bool operator==(const Health& a, const Health& b) {
  return all_but_unasked(a) == all_but_unasked(b);
}

std::string render(const std::vector<Diagnostic>& diagnostics, std::string_view file) {
  std::string out;
  for (const auto& [position, message] : diagnostics) {
    if (position.line == 0) {
      fmt::format_to(std::back_inserter(out), "{}: error: {}\n", file, message);
    } else {
      fmt::format_to(std::back_inserter(out), "{}:{}:{}: error: {}\n", file, position.line, position.column, message);
    }
  }
  return out;
}

}  // namespace millrace::config
