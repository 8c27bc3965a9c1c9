#include <doctest/doctest.h>

#include <string>

#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"
#include "random_config.hpp"
#include "snippets.hpp"

namespace millrace::config::test {
namespace {

void check_round_trip(const Config& config) {
  const std::string text = to_toml(config);
  CAPTURE(text);
  const Loaded again = parse(text);
  INFO(render(again.diagnostics, "again"));
  REQUIRE(again.config.has_value());
  CHECK(*again.config == config);
  CHECK(to_toml(*again.config) == text);
}

TEST_CASE("what is written reads back as the same configuration") {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    check_round_trip(random_config(rng));
  }
}

TEST_CASE("the examples read back as the same configuration") {
  for (const std::string& path : examples()) {
    CAPTURE(path);
    const Loaded loaded = load_file(path);
    REQUIRE(loaded.config.has_value());
    check_round_trip(*loaded.config);
  }
}

TEST_CASE("inherited values read back as the same configuration") {
  const Loaded loaded =
      parse("[defaults.pool]\nsource = [\"10.0.0.9\", \"fd00::9\"]\nhealth.rise = 9\n" + with_pool(""));
  REQUIRE(loaded.config.has_value());
  check_round_trip(*loaded.config);
}

TEST_CASE("what is derived for UDP reads back as the same configuration") {
  const std::string udp = kGoodListener + "protocol = \"udp\"\n" + kGoodPool;
  for (const char* health : {"", "health.port = 81", "health.send = \"x\"", "health.type = \"tcp\"",
                             "[defaults.listener]\nbacklog = 1\nkeepalive = false\nhalf_close_timeout = \"1s\""}) {
    CAPTURE(health);
    const Loaded loaded = parse(udp + health);
    REQUIRE(loaded.config.has_value());
    check_round_trip(*loaded.config);
  }
}

TEST_CASE("that nobody asked for probes is no part of the value, and not said again") {
  const Loaded loaded = parse(kGoodListener + "protocol = \"udp\"\n" + kGoodPool);
  REQUIRE(loaded.config.has_value());
  const Loaded again = parse(to_toml(*loaded.config));
  REQUIRE(again.config.has_value());
  CHECK(loaded.config->pools[0].health.unasked);
  CHECK_FALSE(again.config->pools[0].health.unasked);
  CHECK(*again.config == *loaded.config);
}

TEST_CASE("configurations that differ are not equal") {
  const Loaded loaded = parse(with_pool(""));
  REQUIRE(loaded.config.has_value());
  const Config& base = *loaded.config;
  const auto differs = [&](auto change) {
    Config changed = base;
    change(changed);
    return !(changed == base);
  };
  CHECK(differs([](Config& c) { c.runtime.workers = 9; }));
  CHECK(differs([](Config& c) { c.admin.socket = "/x"; }));
  CHECK(differs([](Config& c) { c.admin.http = ""; }));
  CHECK(differs([](Config& c) { c.admin.token = "x"; }));
  CHECK(differs([](Config& c) { c.listeners[0].name = "x"; }));
  CHECK(differs([](Config& c) { c.listeners[0].bind[0].host.port = 81; }));
  CHECK(differs([](Config& c) { c.listeners[0].bind.push_back(c.listeners[0].bind[0]); }));
  CHECK(differs([](Config& c) { c.listeners[0].pool = "x"; }));
  CHECK(differs([](Config& c) { c.listeners[0].max_connections = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].backlog = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].idle_timeout = Nanos(0); }));
  CHECK(differs([](Config& c) { c.listeners[0].half_close_timeout = Nanos(0); }));
  CHECK(differs([](Config& c) { c.listeners[0].max_connection_duration = Nanos(1); }));
  CHECK(differs([](Config& c) { c.listeners[0].keepalive = false; }));
  CHECK(differs([](Config& c) { c.listeners[0].forwarding = Forwarding::copy; }));
  CHECK(differs([](Config& c) { c.listeners[0].protocol = Protocol::udp; }));
  CHECK(differs([](Config& c) { c.listeners[0].responses = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].max_sessions = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].allow.emplace_back(); }));
  CHECK(differs([](Config& c) { c.listeners[0].deny.emplace_back(); }));
  CHECK(differs([](Config& c) { c.listeners[0].max_connections_per_ip = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].connection_rate_per_ip = 1; }));
  CHECK(differs([](Config& c) { c.listeners[0].access_log = "stderr"; }));
  CHECK(differs([](Config& c) { c.listeners[0].access_log_format = LogFormat::text; }));
  CHECK(differs([](Config& c) { c.pools[0].backends[0].address.set_port(81); }));
  CHECK(differs([](Config& c) { c.pools[0].health.type = HealthType::udp; }));
  CHECK(differs([](Config& c) { c.pools[0].health.interval += Nanos(1); }));
  CHECK(differs([](Config& c) { c.pools[0].health.timeout += Nanos(1); }));
  CHECK(differs([](Config& c) { c.pools[0].health.rise = 9; }));
  CHECK(differs([](Config& c) { c.pools[0].health.fall = 9; }));
  CHECK(differs([](Config& c) { c.pools[0].health.jitter = 0.5; }));
  CHECK(differs([](Config& c) { c.pools[0].health.port = 9; }));
  CHECK(differs([](Config& c) { c.pools[0].health.expect = "x"; }));
  CHECK(differs([](Config& c) { c.pools[0].health.close = ProbeClose::rst; }));
  CHECK(differs([](Config& c) { c.pools[0].health.send = "x"; }));
}

TEST_CASE("a listener has the keys of its protocol, exactly") {
  const Loaded loaded = parse(with_listener("protocol = \"udp\""));
  REQUIRE(loaded.config.has_value());
  const std::string text = to_toml(*loaded.config);
  const std::size_t begin = text.find("[listeners.web]");
  CHECK(text.substr(begin, text.find("\n[pools.web]") - begin) == R"([listeners.web]
protocol = "udp"
bind = ["*:80"]
pool = "web"
max_connections = 0
idle_timeout = "1m"
max_connection_duration = "0s"
responses = 0
max_sessions = "auto"
allow = []
deny = []
max_connections_per_ip = 0
connection_rate_per_ip = 0
access_log = "off"
access_log_format = "json"
)");
}

TEST_CASE("the whole text, exactly") {
  const Loaded loaded = parse(with_pool(""));
  REQUIRE(loaded.config.has_value());
  CHECK(to_toml(*loaded.config) == R"([runtime]
workers = "auto"
pin_workers = true
busy_poll_us = 0
max_connections = "auto"
log_level = "info"
log_format = "text"
shutdown_timeout = "30s"

[admin]
socket = "/run/millrace/control.sock"
http = "127.0.0.1:9900"
token = ""

[listeners.web]
protocol = "tcp"
bind = ["*:80"]
pool = "web"
max_connections = 0
backlog = 4096
idle_timeout = "1h"
half_close_timeout = "1m"
max_connection_duration = "0s"
keepalive = true
forwarding = "auto"
allow = []
deny = []
max_connections_per_ip = 0
connection_rate_per_ip = 0
access_log = "off"
access_log_format = "json"

[pools.web]
balance = "least_conn"
connect_timeout = "5s"
retries = 2
source = []
fail_open = true
on_down = "keep"
drain_timeout = "5m"
max_connections_per_backend = 0
backends = [
  { name = "10.0.0.1:80", address = "10.0.0.1:80", weight = 1, backup = false, max_connections = 0 },
]

[pools.web.hash]
key = "source_ip"
prefix_v4 = 32
prefix_v6 = 64
load_factor = 0.0

[pools.web.health]
type = "tcp"
interval = "2s"
timeout = "1s"
rise = 2
fall = 3
jitter = 0.1
port = 0
send = ""
expect = ""
close = "fin"

[pools.web.passive]
failures = 3
ejection = "30s"
max_ejected = 0.5
)");
}

}  // namespace
}  // namespace millrace::config::test
