#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "millrace/config/config.hpp"
#include "snippets.hpp"

namespace millrace::config::test {
namespace {

using namespace std::chrono_literals;

Config load_good(const std::string& text) {
  const Loaded loaded = parse(text);
  CAPTURE(text);
  INFO(render(loaded.diagnostics, "FILE"));
  REQUIRE(loaded.config.has_value());
  CHECK(loaded.diagnostics.empty());
  return *loaded.config;
}

std::vector<net::Cidr> networks(std::initializer_list<const char*> texts) {
  std::vector<net::Cidr> out;
  for (const char* text : texts) out.push_back(net::Cidr::parse(text).value());
  return out;
}

TEST_CASE("the least that works has every default") {
  const Config config = load_good(with_pool(""));
  CHECK(config.runtime == Runtime{});
  REQUIRE(config.listeners.size() == 1);
  const Listener& listener = config.listeners[0];
  CHECK(listener.name == "web");
  CHECK(listener.pool == "web");
  REQUIRE(listener.bind.size() == 1);
  CHECK(listener.bind[0].kind == net::AddressText::Kind::any);
  CHECK(listener.bind[0].host.port == 80);
  CHECK(listener.idle_timeout == 1h);
  CHECK(listener.half_close_timeout == 60s);
  CHECK(listener.backlog == 4096);
  CHECK(listener.keepalive);
  REQUIRE(config.pools.size() == 1);
  const Pool& pool = config.pools[0];
  CHECK(pool.name == "web");
  CHECK(pool.hash == Hash{});
  CHECK(pool.health == Health{});
  CHECK(pool.passive == Passive{});
  REQUIRE(pool.backends.size() == 1);
  CHECK(pool.backends[0].name == "10.0.0.1:80");
  CHECK(pool.backends[0].address == net::Endpoint::ipv4(0x0a000001, 80));
  CHECK(pool.backends[0].weight == 1);
}

TEST_CASE("every key reaches its field") {
  const Config config = load_good(R"(
[runtime]
workers = 3
pin_workers = false
busy_poll_us = 50
max_connections = 1000
log_level = "debug"
log_format = "json"
shutdown_timeout = "0s"
[admin]
socket = "/run/x.sock"
http = "[::1]:0"
token = "abc"
[listeners.db]
protocol = "tcp"
bind = ["127.0.0.1:0", "unix:/run/db.sock"]
pool = "db"
max_connections = 7
backlog = 8
idle_timeout = "0s"
half_close_timeout = "1m30s"
max_connection_duration = "2h"
keepalive = false
forwarding = "splice"
allow = ["10.0.0.0/8", "2001:db8::1"]
deny = ["10.0.0.1"]
max_connections_per_ip = 20
connection_rate_per_ip = 30
access_log = "/var/log/millrace/web.log"
access_log_format = "text"
[pools.db]
balance = "source_hash"
connect_timeout = "250ms"
retries = 0
source = ["10.0.0.8", "10.0.0.9"]
fail_open = false
max_connections_per_backend = 9
backends = [{ name = "a", address = "10.0.0.1:5432", weight = 0, backup = true, max_connections = 4 }]
[pools.db.hash]
key = "source_ip_port"
prefix_v4 = 24
prefix_v6 = 48
load_factor = 1.25
[pools.db.health]
type = "none"
interval = "9s"
timeout = "8s"
rise = 6
fall = 7
jitter = 1
port = 81
send = "PING\r\n\u0000"
expect = "+PONG"
close = "rst"
[pools.db.passive]
failures = 0
ejection = "5s"
max_ejected = 1.0
)");
  CHECK(config.admin.socket == "/run/x.sock");
  CHECK(config.admin.http == "[::1]:0");
  CHECK(config.admin.token == "abc");
  CHECK(config.runtime == Runtime{3, false, 50, 1000, LogLevel::debug, LogFormat::json, 0s});
  REQUIRE(config.listeners.size() == 1);
  const Listener& l = config.listeners[0];
  REQUIRE(l.bind.size() == 2);
  CHECK(l.bind[0].endpoint == net::Endpoint::ipv4(0x7f000001, 0));
  CHECK(l.bind[1].endpoint.to_string() == "unix:/run/db.sock");
  CHECK(l.pool == "db");
  CHECK(l.max_connections == 7);
  CHECK(l.backlog == 8);
  CHECK(l.idle_timeout == 0s);
  CHECK(l.half_close_timeout == 90s);
  CHECK(l.max_connection_duration == 2h);
  CHECK_FALSE(l.keepalive);
  CHECK(l.forwarding == Forwarding::splice);
  CHECK(l.allow == networks({"10.0.0.0/8", "2001:db8::1/128"}));
  CHECK(l.deny == networks({"10.0.0.1/32"}));
  CHECK(l.max_connections_per_ip == 20);
  CHECK(l.connection_rate_per_ip == 30);
  CHECK(l.access_log == "/var/log/millrace/web.log");
  CHECK(l.access_log_format == LogFormat::text);
  REQUIRE(config.pools.size() == 1);
  const Pool& p = config.pools[0];
  CHECK(p.balance == balance::Algorithm::source_hash);
  CHECK(p.connect_timeout == 250ms);
  CHECK(p.retries == 0);
  REQUIRE(p.source.size() == 2);
  CHECK(p.source[1] == net::Endpoint::ipv4(0x0a000009, 0));
  CHECK_FALSE(p.fail_open);
  CHECK(p.max_connections_per_backend == 9);
  REQUIRE(p.backends.size() == 1);
  CHECK(p.backends[0] == Backend{"a", net::Endpoint::ipv4(0x0a000001, 5432), 0, true, 4});
  CHECK(p.hash == Hash{HashKey::source_ip_port, 24, 48, 1.25});
  CHECK(p.health ==
        Health{HealthType::none, 9s, 8s, 6, 7, 1.0, 81, std::string("PING\r\n\0", 7), "+PONG", ProbeClose::rst});
  CHECK(p.passive == Passive{0, 5s, 1.0});
}

TEST_CASE("every key of a udp listener reaches its field") {
  const Config config = load_good(R"(
[listeners.dns]
protocol = "udp"
bind = ["*:53", "127.0.0.1:0"]
pool = "dns"
max_connections = 7
idle_timeout = "5s"
max_connection_duration = "2h"
responses = 1
max_sessions = 50000
allow = "10.0.0.0/8"
deny = []
max_connections_per_ip = 4000000
connection_rate_per_ip = 100000
access_log = "stderr"
[pools.dns]
backends = ["10.0.0.1:53"]
health = { type = "udp", port = 54, send = "\u0000", expect = "x" }
)");
  REQUIRE(config.listeners.size() == 1);
  const Listener& l = config.listeners[0];
  CHECK(l.protocol == Protocol::udp);
  CHECK(l.bind.size() == 2);
  CHECK(l.max_connections == 7);
  CHECK(l.idle_timeout == 5s);
  CHECK(l.max_connection_duration == 2h);
  CHECK(l.responses == 1);
  CHECK(l.max_sessions == 50000);
  CHECK(l.allow == networks({"10.0.0.0/8"}));
  CHECK(l.deny.empty());
  CHECK(l.max_connections_per_ip == 4'000'000);
  CHECK(l.connection_rate_per_ip == 100'000);
  CHECK(l.access_log == "stderr");
  CHECK(l.access_log_format == LogFormat::json);
  const Health& health = config.pools[0].health;
  CHECK(health.type == HealthType::udp);
  CHECK(health.port == 54);
  CHECK(health.send == std::string(1, '\0'));
  CHECK(health.expect == "x");
}

TEST_CASE("the least of a udp listener has the defaults of UDP") {
  const Config config = load_good(with_listener("protocol = \"udp\""));
  const Listener& l = config.listeners[0];
  CHECK(l.idle_timeout == 60s);
  CHECK(l.responses == 0);
  CHECK(l.max_sessions == 0);
  CHECK(load_good(with_listener("protocol = \"udp\"\nmax_sessions = \"auto\"")).listeners[0] == l);
  CHECK(load_good(with_listener("protocol = \"udp\"\nidle_timeout = \"1h\"")).listeners[0].idle_timeout == 1h);
  CHECK(load_good(with_listener("protocol = \"udp\"\nidle_timeout = \"0s\"")).listeners[0].idle_timeout == 0s);
}

TEST_CASE("listeners of both protocols inherit what is for them") {
  const Config config = load_good(R"(
[defaults.listener]
pool = "dns"
bind = "*:53"
idle_timeout = "7s"
backlog = 16
half_close_timeout = "1s"
keepalive = false
forwarding = "copy"
responses = 1
max_sessions = 9
[listeners.udp]
protocol = "udp"
[listeners.tcp]
[pools.dns]
backends = ["10.0.0.1:53"]
)");
  REQUIRE(config.listeners.size() == 2);
  Listener udp;
  udp.name = "udp";
  udp.protocol = Protocol::udp;
  udp.bind = config.listeners[0].bind;
  udp.pool = "dns";
  udp.idle_timeout = 7s;
  udp.responses = 1;
  udp.max_sessions = 9;
  CHECK(config.listeners[0] == udp);
  Listener tcp;
  tcp.name = "tcp";
  tcp.bind = config.listeners[1].bind;
  tcp.pool = "dns";
  tcp.idle_timeout = 7s;
  tcp.backlog = 16;
  tcp.half_close_timeout = 1s;
  tcp.keepalive = false;
  tcp.forwarding = Forwarding::copy;
  CHECK(config.listeners[1] == tcp);
}

TEST_CASE("the protocol may be inherited, and the listener's own idle_timeout stands") {
  const Config config = load_good(
      "[defaults.listener]\nprotocol = \"udp\"\npool = \"web\"\n[listeners.a]\nbind = \"*:1\"\n"
      "[listeners.b]\nbind = \"*:2\"\nidle_timeout = \"3s\"\n[listeners.c]\nbind = \"*:2\"\nprotocol = \"tcp\"\n" +
      kGoodPool);
  CHECK(config.listeners[0].idle_timeout == 60s);
  CHECK(config.listeners[1].idle_timeout == 3s);
  CHECK(config.listeners[2].idle_timeout == 1h);
}

TEST_CASE("who may connect is inherited list by list") {
  const Config config = load_good(R"(
[defaults.listener]
pool = "web"
allow = ["10.0.0.0/8"]
deny = ["10.0.0.1"]
max_connections_per_ip = 5
[listeners.a]
bind = "*:1"
[listeners.b]
bind = "*:2"
protocol = "udp"
allow = []
deny = "::ffff:192.0.2.0/120"
[pools.web]
backends = ["10.0.0.1:80"]
)");
  CHECK(config.listeners[0].allow == networks({"10.0.0.0/8"}));
  CHECK(config.listeners[0].deny == networks({"10.0.0.1"}));
  CHECK(config.listeners[1].allow.empty());
  CHECK(config.listeners[1].deny == networks({"192.0.2.0/24"}));
  CHECK(config.listeners[1].max_connections_per_ip == 5);
}

// ---- how to probe ----

const std::string kUdp = "protocol = \"udp\"\n";
const std::string kTcpToo = "[listeners.tcp]\nbind = \"*:80\"\npool = \"web\"\n";

std::string lines(std::initializer_list<std::string> parts) {
  std::string text;
  for (const std::string& part : parts) text.append(part).append("\n");
  return text;
}

Health health_of(const std::string& text) {
  return load_good(text).pools[0].health;
}

/// Of a pool that a udp listener uses, with `extra` behind its backend.
Health udp_health(const std::string& extra) {
  return health_of(kGoodListener + kUdp + kGoodPool + extra + "\n");
}

TEST_CASE("what a pool of UDP is probed with when nobody says") {
  const Health nothing = udp_health("");
  CHECK(nothing.type == HealthType::none);
  CHECK(nothing.unasked);
  CHECK(udp_health("health.interval = \"5s\"").unasked);
  CHECK(udp_health("[defaults.pool.health]\nrise = 1").unasked);

  const Health port = udp_health("health = { port = 8080, send = \"x\", expect = \"y\" }");
  CHECK(port.type == HealthType::tcp);
  CHECK_FALSE(port.unasked);
  CHECK(udp_health("[defaults.pool.health]\nport = 8080").type == HealthType::tcp);

  const Health send = udp_health("health.send = \"x\"");
  CHECK(send.type == HealthType::udp);
  CHECK_FALSE(send.unasked);
  CHECK(udp_health("health.expect = \"x\"").type == HealthType::udp);
  CHECK(udp_health("[defaults.pool.health]\nsend = \"x\"").type == HealthType::udp);
}

TEST_CASE("the type of a pool of UDP that is given stands") {
  for (const char* more : {"", "health.port = 8080", "health.send = \"x\"", "health.expect = \"x\""}) {
    CAPTURE(more);
    for (const auto& [name, type] : {std::pair{"\"none\"", HealthType::none}, std::pair{"\"tcp\"", HealthType::tcp},
                                     std::pair{"\"udp\"", HealthType::udp}}) {
      const Health own = udp_health(lines({more, std::string("health.type = ") + name}));
      CHECK(own.type == type);
      CHECK_FALSE(own.unasked);
      const Health inherited = udp_health(lines({more, "[defaults.pool.health]", std::string("type = ") + name}));
      CHECK(inherited.type == type);
      CHECK_FALSE(inherited.unasked);
    }
  }
}

TEST_CASE("a pool that tcp listeners use too, or nobody, is connected to") {
  for (const char* more : {"", "health.port = 8080", "health.send = \"x\""}) {
    CAPTURE(more);
    const Health both = health_of(lines({kGoodListener, kUdp, kTcpToo, kGoodPool, more}));
    CHECK(both.type == HealthType::tcp);
    CHECK_FALSE(both.unasked);
    const std::string other = "[pools.other]\nbackends = [\"10.0.0.9:53\"]";
    const Config config = load_good(lines({kGoodListener, kUdp, kGoodPool, other, more}));
    REQUIRE(config.pools.size() == 2);
    CHECK(config.pools[1].health.type == HealthType::tcp);
    CHECK(config.pools[0].health.type == HealthType::none);
  }
  CHECK(health_of(kGoodListener + kUdp + kTcpToo + kGoodPool + "health = { type = \"udp\" }\n").type ==
        HealthType::udp);
  CHECK(health_of(with_pool("health.type = \"udp\"")).type == HealthType::udp);
}

TEST_CASE("a pool with a unix socket serves tcp while udp has a pool of its own") {
  const Config config = load_good(with_backends("[\"unix:/a\"]") +
                                  "[listeners.u]\nprotocol = \"udp\"\nbind = \"*:80\"\npool = \"u\"\n"
                                  "[pools.u]\nbackends = [\"10.0.0.1:53\"]\n");
  CHECK(config.pools.size() == 2);
}

TEST_CASE("listeners and pools keep the order of the file") {
  const Config config = load_good(
      "[listeners.z]\nbind = \"*:1\"\npool = \"p\"\n[listeners.a]\nbind = \"*:2\"\npool = \"p\"\n"
      "[pools.p]\nbackends = [\"10.0.0.1:1\"]\n[pools.b]\nbackends = [\"10.0.0.2:1\", \"10.0.0.1:1\"]\n");
  REQUIRE(config.listeners.size() == 2);
  CHECK(config.listeners[0].name == "z");
  REQUIRE(config.pools.size() == 2);
  CHECK(config.pools[1].name == "b");
  CHECK(config.pools[1].backends[0].name == "10.0.0.2:1");
}

TEST_CASE("defaults are inherited key by key, wherever they stand") {
  const Config config = load_good(kGoodListener + kGoodPool + R"(
[pools.web.health]
rise = 9
[pools.api]
retries = 0
backends = ["10.0.0.2:80"]
[listeners.api]
bind = "*:81"
idle_timeout = "5s"
[defaults.listener]
pool = "api"
idle_timeout = "3s"
backlog = 16
[defaults.pool]
retries = 7
[defaults.pool.health]
rise = 5
fall = 6
)");
  REQUIRE(config.listeners.size() == 2);
  CHECK(config.listeners[0].pool == "web");
  CHECK(config.listeners[0].idle_timeout == 3s);
  CHECK(config.listeners[1].pool == "api");
  CHECK(config.listeners[1].idle_timeout == 5s);
  CHECK(config.listeners[1].backlog == 16);
  REQUIRE(config.pools.size() == 2);
  CHECK(config.pools[0].retries == 7);
  CHECK(config.pools[0].health.rise == 9);
  CHECK(config.pools[0].health.fall == 6);
  CHECK(config.pools[1].retries == 0);
  CHECK(config.pools[1].health.rise == 5);
}

TEST_CASE("udp and tcp share an address") {
  const Config config = load_good(with_pool(
      "[listeners.u]\nprotocol = \"udp\"\nbind = [\"*:80\", \"10.0.0.1:80\", \"*:0\", \"*:0\"]\npool = \"web\""));
  REQUIRE(config.listeners.size() == 2);
  CHECK(config.listeners[0].bind[0].host.port == config.listeners[1].bind[0].host.port);
}

TEST_CASE("bind addresses that look alike and do not clash") {
  const Config config = load_good(
      "[listeners.web]\npool = \"web\"\nbind = [\"*:0\", \"*:0\", \"0.0.0.0:0\", \"127.0.0.1:0\", \"127.0.0.1:0\", "
      "\"0.0.0.0:80\", \"[::]:80\", \"10.0.0.1:80\", \"10.0.0.2:80\", \"unix:/a\", \"unix:/b\", \"unix:@a\"]\n" +
      kGoodPool);
  CHECK(config.listeners[0].bind.size() == 12);
}

TEST_CASE("backends are tables, addresses, or an array of tables") {
  CHECK(load_good(with_backends("[\"10.0.0.1:80\", { address = \"unix:/run/a.sock\" }]")).pools[0].backends[1].name ==
        "unix:/run/a.sock");
  const Config config = load_good(kGoodListener +
                                  "[pools.web]\n[[pools.web.backends]]\naddress = \"[2001:DB8::1]:80\"\n"
                                  "[[pools.web.backends]]\nname = \"b 2\"\naddress = \"10.0.0.1:80\"\n");
  REQUIRE(config.pools[0].backends.size() == 2);
  CHECK(config.pools[0].backends[0].name == "[2001:DB8::1]:80");
  CHECK(config.pools[0].backends[1].name == "b 2");
}

TEST_CASE("one address may serve under two names") {
  CHECK(load_good(with_backends("[{ name = \"a\", address = \"10.0.0.1:80\" }, \"10.0.0.1:80\"]")).pools.size() == 1);
}

TEST_CASE("a pool may be drained, and a pool may be unused") {
  const Config config = load_good(with_backends("[{ address = \"10.0.0.1:80\", weight = 0 }]") +
                                  "[pools.spare]\nbackends = [\"10.0.0.9:1\"]\n");
  CHECK(config.pools[0].backends[0].weight == 0);
}

TEST_CASE("no source is an empty string or an empty list") {
  CHECK(load_good(with_pool("source = \"\"")).pools[0].source.empty());
  CHECK(load_good(with_pool("source = []")).pools[0].source.empty());
  CHECK(load_good(with_pool("source = \"::ffff:10.0.0.9\"")).pools[0].source[0] == net::Endpoint::ipv4(0x0a000009, 0));
}

TEST_CASE("a source means nothing to unix backends") {
  CHECK(load_good(with_backends("[\"unix:/a\"]\nsource = \"::1\"")).pools[0].backends[0].address.is_unix());
}

TEST_CASE("inherited sources are taken as far as they fit") {
  const Config config = load_good(
      "[defaults.pool]\nsource = [\"10.0.0.9\", \"fd00::9\"]\n" + kGoodListener + kGoodPool +
      "[pools.six]\nbackends = [\"[fd00::1]:80\"]\n[pools.both]\nbackends = [\"[fd00::1]:80\", \"10.0.0.1:80\"]\n");
  REQUIRE(config.pools.size() == 3);
  REQUIRE(config.pools[0].source.size() == 1);
  CHECK(config.pools[0].source[0].family() == net::Family::ipv4);
  REQUIRE(config.pools[1].source.size() == 1);
  CHECK(config.pools[1].source[0].family() == net::Family::ipv6);
  CHECK(config.pools[2].source.size() == 2);
}

TEST_CASE("the bounds belong to the ranges") {
  load_good(with_runtime("workers = 1024\nmax_connections = 4000000"));
  load_good(with_runtime("workers = \"auto\"\nmax_connections = 1"));
  load_good(with_pool("retries = 100\nhash = { prefix_v4 = 0, prefix_v6 = 128, load_factor = 1 }"));
  load_good(with_pool("hash.load_factor = 10.0\npassive.max_ejected = 0\nhealth.port = 65535"));
  load_good(with_pool("health = { interval = \"1s\", timeout = \"1s\", rise = 1, fall = 1, jitter = 0.0 }"));
  load_good(with_backends("[{ address = \"10.0.0.1:65535\", weight = 1000 }]"));
  load_good(with_listener(kUdp + "responses = 1000000\nmax_sessions = 4000000"));
  load_good(with_listener(kUdp + "responses = 0\nmax_sessions = 1"));
  load_good("[listeners." + std::string(64, 'x') + "]\nbind = \"*:65535\"\npool = \"web\"\nbacklog = 65536\n" +
            kGoodPool);
}

TEST_CASE("the examples are good") {
  CHECK(examples().size() >= 5);
  for (const std::string& path : examples()) {
    CAPTURE(path);
    const Loaded loaded = load_file(path);
    INFO(render(loaded.diagnostics, path));
    CHECK(loaded.config.has_value());
  }
}

TEST_CASE("the installed example shows the defaults") {
  const Loaded loaded = load_file(MILLRACE_CONF_DIR "/millrace.toml");
  REQUIRE(loaded.config.has_value());
  CHECK(loaded.config->runtime == Runtime{});
  REQUIRE(loaded.config->pools.size() == 1);
  Pool expected;
  expected.name = "web";
  expected.backends = loaded.config->pools[0].backends;
  CHECK(loaded.config->pools[0] == expected);
  REQUIRE(loaded.config->listeners.size() == 1);
  Listener listener;
  listener.name = listener.pool = "web";
  listener.bind = loaded.config->listeners[0].bind;
  CHECK(loaded.config->listeners[0] == listener);
}

}  // namespace
}  // namespace millrace::config::test
