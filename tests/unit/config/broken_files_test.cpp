// Every way of getting a configuration wrong, with the exact places and messages.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "millrace/config/config.hpp"
#include "snippets.hpp"

namespace millrace::config::test {
namespace {

struct Broken {
  std::string text;
  std::string expected;  // "LINE:COLUMN: MESSAGE", or only the message, a line for each
};

std::string shown(const std::vector<Diagnostic>& diagnostics) {
  std::string out;
  for (const Diagnostic& d : diagnostics) {
    if (d.position.line != 0) out += std::to_string(d.position.line) + ":" + std::to_string(d.position.column) + ": ";
    out += d.message + "\n";
  }
  return out;
}

void check(const std::vector<Broken>& cases) {
  for (const Broken& broken : cases) {
    CAPTURE(broken.text);
    const Loaded loaded = parse(broken.text);
    CHECK_FALSE(loaded.config.has_value());
    CHECK(shown(loaded.diagnostics) == broken.expected + "\n");
  }
}

TEST_CASE("text that is not TOML") {
  check({
      {"balance = least_conn", R"(1:11: syntax error in value: this is no value, text needs quotes: "least_conn")"},
      {"balance = first", R"(1:12: syntax error in boolean: expected 'false', saw 'fi', text needs quotes: "first")"},
      {"bind = *:80", R"(1:8: syntax error in value: this is no value, text needs quotes: "*:80")"},
      {"bind = [*:80, 10.0.0.1:80]", R"(1:9: syntax error in value: this is no value, text needs quotes: "*:80")"},
      {"bind = 10.0.0.1:80", R"(1:10: syntax error in time: expected ':', saw '.', text needs quotes: "10.0.0.1:80")"},
      {"idle_timeout = 5s  # not yet",
       R"(1:17: syntax error in decimal integer: expected digit, saw 's', text needs quotes: "5s")"},
      {"keepalive = yes", "1:13: syntax error in value: this is no value, write true or false"},
      {"keepalive = True", "1:13: syntax error in boolean: expected 'true', saw 'T', write true or false"},
      {"a = \"x\nb = 1", "1:7: syntax error in string: a string must end on its line"},
      {"a = \"x", "1:7: syntax error in string: the file ends in the middle of it"},
      {"a = ", "1:5: syntax error in key-value pair: the file ends in the middle of it"},
      {"a = \nb = 1", R"(1:5: syntax error in key-value pair: expected value, saw '\n')"},
      {"[listeners.web\nbind = 1", R"(1:15: syntax error in table header: expected ']', saw '\n')"},
      {"[a]\n[a]", "2:1: syntax error in table header: cannot redefine existing table 'a'"},
      {"[a]\nb = \"\"\nb = 2", "3:5: syntax error in key-value pair: cannot redefine existing string 'b'"},
      {"bind : 1", "1:6: syntax error in key-value pair: expected '=', saw ':'"},
      {"a = { b = 1\n c = 2 }", "1:12: syntax error in inline table: a table in braces must be on one line"},
      {"a = \"\\q\"", R"(1:7: syntax error in string: unknown escape sequence '\q')"},
      {"x = 1\na.b.c.d.e.f.g.h.i = 1", "2:16: this key has more than 8 parts"},
      {"a = \"\xff\"", "1:5: syntax error: Encountered invalid utf-8 sequence"},
  });
}

TEST_CASE("unknown tables and keys") {
  check({
      {with_pool("[listner.b]"), R"(6:2: unknown table "listner", did you mean "listeners"?)"},
      {with_pool("[pool.b]"), R"(6:2: unknown table "pool", did you mean "pools"?)"},
      {with_pool("[zzz]"), R"(6:2: unknown table "zzz")"},
      {"max_connections = 5\n" + with_pool(""), R"(1:1: unknown key "max_connections")"},
      {with_runtime("worker = 5"), R"(7:1: runtime: unknown key "worker", did you mean "workers"?)"},
      {with_runtime("log-level = \"info\""), R"(7:1: runtime: unknown key "log-level", did you mean "log_level"?)"},
      {with_listener("max_conn = 5"), R"(4:1: listeners.web: unknown key "max_conn", did you mean "max_connections"?)"},
      {with_listener("accept_prox = \"v1\""),
       R"(4:1: listeners.web: unknown key "accept_prox", did you mean "accept_proxy"?)"},
      {with_listener("foo = 5"), R"(4:1: listeners.web: unknown key "foo")"},
      {with_listener("\"\\u001b[31m\" = 5"), R"(4:1: listeners.web: unknown key "\u001B[31m")"},
      {with_listener("\"\xc3\xa4\" = 5"), "4:1: listeners.web: unknown key \"\xc3\xa4\""},
      {with_pool("retires = 1"), R"(6:1: pools.web: unknown key "retires", did you mean "retries"?)"},
      {with_pool("helath.type = \"none\""), R"(6:1: pools.web: unknown key "helath", did you mean "health"?)"},
      {with_pool("[pools.web.health]\n  intervall = \"1s\""),
       R"(7:3: pools.web.health: unknown key "intervall", did you mean "interval"?)"},
      {with_pool("[pools.web.hash]\nprefix_v5 = 1"),
       R"(7:1: pools.web.hash: unknown key "prefix_v5", did you mean "prefix_v4"?)"},
      {with_pool("[pools.web.passive]\nfailure = 1"),
       R"(7:1: pools.web.passive: unknown key "failure", did you mean "failures"?)"},
      {with_backends("[{ address = \"10.0.0.1:80\", wieght = 3 }]"),
       R"(5:40: pools.web.backends[0]: unknown key "wieght", did you mean "weight"?)"},
      {with_pool("[defaults.listeners]"), R"(6:11: defaults: unknown key "listeners", did you mean "listener"?)"},
      {with_pool("[defaults.pool]\nretrys = 1"),
       R"(7:1: defaults.pool: unknown key "retrys", did you mean "retries"?)"},
      {with_pool("[defaults.pool.health]\ntime = 1"),
       R"(7:1: defaults.pool.health: unknown key "time", did you mean "timeout"?)"},
  });
}

TEST_CASE("what the contract has and millrace does not yet") {
  check({
      {with_pool("[admin]\nsocket = \"/run/x\""), "6:2: admin is not built yet; remove it"},
      {with_listener("accept_proxy = \"off\""), "4:1: listeners.web.accept_proxy is not built yet; remove it"},
      {with_listener("proxy_trusted = []"), "4:1: listeners.web.proxy_trusted is not built yet; remove it"},
      {with_listener("access_log = \"off\""), "4:1: listeners.web.access_log is not built yet; remove it"},
      {with_listener("routes = []"), "4:1: listeners.web.routes is not built yet; remove it"},
      {with_listener("preread_timeout = \"5s\""), "4:1: listeners.web.preread_timeout is not built yet; remove it"},
      {with_listener("protocol = \"udp\"\naccept_proxy = \"v2\""),
       "5:1: listeners.web.accept_proxy is not built yet; remove it"},
      {with_pool("send_proxy = \"off\""), "6:1: pools.web.send_proxy is not built yet; remove it"},
      {with_pool("transparent = false"), "6:1: pools.web.transparent is not built yet; remove it"},
      {with_pool("slow_start = \"0s\""), "6:1: pools.web.slow_start is not built yet; remove it"},
      {with_pool("on_down = \"keep\""), "6:1: pools.web.on_down is not built yet; remove it"},
      {with_pool("drain_timeout = \"300s\""), "6:1: pools.web.drain_timeout is not built yet; remove it"},
      {with_pool("queue_timeout = \"0s\""), "6:1: pools.web.queue_timeout is not built yet; remove it"},
      {with_pool("balance = \"least_latency\""),
       R"(6:11: pools.web.balance: "least_latency" is not built yet; use another value)"},
      {with_backends("[{ address = \"app.internal:80\" }]"),
       "5:25: pools.web.backends[0].address: host names are not built yet, give an IP address"},
      {with_backends("[\"localhost:80\"]"),
       "5:13: pools.web.backends[0]: host names are not built yet, give an IP address"},
      {with_backends("[{ address = \"_http._tcp.app.internal\", resolve = \"srv\" }]"),
       "5:25: pools.web.backends[0].address: host names are not built yet, give an IP address\n"
       "5:52: pools.web.backends[0].resolve is not built yet; remove it"},
      {with_pool("[defaults.listener]\nroutes = []"), "7:1: defaults.listener.routes is not built yet; remove it"},
  });
}

TEST_CASE("values of the wrong type") {
  check({
      {with_listener("backlog = \"4096\""), "4:11: listeners.web.backlog: expected a whole number, found a string"},
      {with_listener("backlog = 1.5"),
       "4:11: listeners.web.backlog: expected a whole number, found a number with a fraction"},
      {with_listener("keepalive = \"yes\""), "4:13: listeners.web.keepalive: expected true or false, found a string"},
      {with_listener("keepalive = 1"), "4:13: listeners.web.keepalive: expected true or false, found a whole number"},
      {with_listener("protocol = 6"), "4:12: listeners.web.protocol: expected a string, found a whole number"},
      {with_listener("idle_timeout = true"), "4:16: listeners.web.idle_timeout: expected a string, found a boolean"},
      {with_listener("idle_timeout = 1979-05-27"),
       "4:16: listeners.web.idle_timeout: expected a string, found a date or time"},
      {with_listener("max_connections = { a = 1 }"),
       "4:19: listeners.web.max_connections: expected a whole number, found a table"},
      {with_runtime("workers = true"), "7:11: runtime.workers: expected a whole number, found a boolean"},
      {with_runtime("workers = \"many\""), R"(7:11: runtime.workers: expected "auto" or a whole number, found "many")"},
      {with_pool("health = \"none\""), "6:10: pools.web.health: expected a table, found a string"},
      {with_pool("hash.load_factor = \"1.25\""), "6:20: pools.web.hash.load_factor: expected a number, found a string"},
      {with_pool("source = 5"), "6:10: pools.web.source: expected a string or a list of strings, found a whole number"},
      {with_pool("source = [5]"), "6:11: pools.web.source[0]: expected a string, found a whole number"},
      {with_backends("\"10.0.0.1:80\""), "5:12: pools.web.backends: expected a list, found a string"},
      {with_backends("[80]"),
       R"(5:13: pools.web.backends[0]: expected an address or a table, { address = "10.0.0.1:80" }, found a whole number)"},
      {with_pool("[pools.b]\nbackends = { address = \"10.0.0.1:80\" }"),
       "7:12: pools.b.backends: expected a list, found a table"},
      {"listeners = 5\n" + kGoodPool, "1:13: listeners: expected a table, found a whole number"},
      {"[[listeners]]\nbind = \"*:80\"\n" + kGoodPool,
       "1:1: listeners: expected a table, found a list; write [listeners.NAME]"},
      {kGoodListener + "[[pools]]\nname = \"web\"", "4:1: pools: expected a table, found a list; write [pools.NAME]"},
      {kGoodListener + "[pools]\nweb = 5", "5:7: pools.web: expected a table, found a whole number"},
      {"runtime = 5\n" + with_pool(""), "1:11: runtime: expected a table, found a whole number"},
      {"defaults = 5\n" + with_pool(""), "1:12: defaults: expected a table, found a whole number"},
  });
}

TEST_CASE("durations") {
  check({
      {with_listener("idle_timeout = 60"),
       R"(4:16: listeners.web.idle_timeout: a duration is a string with a unit, write "60s")"},
      {with_listener("idle_timeout = 1.5"),
       R"(4:16: listeners.web.idle_timeout: a duration is a string with a unit, write "5s")"},
      {with_listener("idle_timeout = \"60\""), R"(4:16: listeners.web.idle_timeout: "60" has no unit, write "60s")"},
      {with_listener("idle_timeout = \"-1s\""),
       R"(4:16: listeners.web.idle_timeout: "-1s" is negative, a duration cannot be)"},
      {with_listener("idle_timeout = \"\""),
       R"(4:16: listeners.web.idle_timeout: a duration is missing, write for example "5s")"},
      {with_listener("half_close_timeout = \"5us\""),
       R"(4:22: listeners.web.half_close_timeout: unknown unit "us" in "5us", use ms, s, m, h or d)"},
      {with_listener("max_connection_duration = \"99999999999999999999h\""),
       R"(4:27: listeners.web.max_connection_duration: "99999999999999999999h" is too long, the most is 3650d)"},
      {with_pool("connect_timeout = \"0s\""), "6:19: pools.web.connect_timeout: must be longer than 0s"},
      {with_pool("health.interval = \"0ms\""), "6:19: pools.web.health.interval: must be longer than 0s"},
      {with_pool("health.timeout = \"0s\""), "6:18: pools.web.health.timeout: must be longer than 0s"},
      {with_pool("passive.ejection = \"0s\""), "6:20: pools.web.passive.ejection: must be longer than 0s"},
      {with_runtime("shutdown_timeout = 0"),
       R"(7:20: runtime.shutdown_timeout: a duration is a string with a unit, write "0s")"},
  });
}

TEST_CASE("numbers out of range") {
  check({
      {with_runtime("workers = 0"), R"(7:11: runtime.workers: 0 is out of range, use "auto" or 1 to 1024)"},
      {with_runtime("workers = 1025"), "7:11: runtime.workers: 1025 is out of range, use 1 to 1024"},
      {with_runtime("max_connections = 4000001"),
       "7:19: runtime.max_connections: 4000001 is out of range, use 1 to 4000000"},
      {with_runtime("max_connections = -1"), "7:19: runtime.max_connections: -1 is out of range, use 1 to 4000000"},
      {with_listener("backlog = 0"), "4:11: listeners.web.backlog: 0 is out of range, use 1 to 2147483647"},
      {with_listener("backlog = 2147483648"),
       "4:11: listeners.web.backlog: 2147483648 is out of range, use 1 to 2147483647"},
      {with_listener("max_connections = -1"),
       "4:19: listeners.web.max_connections: -1 is out of range, use 0 to 4000000"},
      {with_listener("max_connections_per_ip = 4000001"),
       "4:26: listeners.web.max_connections_per_ip: 4000001 is out of range, use 0 to 4000000"},
      {with_listener("protocol = \"udp\"\nmax_connections_per_ip = -1"),
       "5:26: listeners.web.max_connections_per_ip: -1 is out of range, use 0 to 4000000"},
      {with_listener("connection_rate_per_ip = 100001"),
       "4:26: listeners.web.connection_rate_per_ip: 100001 is out of range, use 0 to 100000"},
      {with_pool("retries = 101"), "6:11: pools.web.retries: 101 is out of range, use 0 to 100"},
      {with_pool("max_connections_per_backend = -1"),
       "6:31: pools.web.max_connections_per_backend: -1 is out of range, use 0 to 4000000"},
      {with_pool("hash.prefix_v4 = 33"), "6:18: pools.web.hash.prefix_v4: 33 is out of range, use 0 to 32"},
      {with_pool("hash.prefix_v6 = 129"), "6:18: pools.web.hash.prefix_v6: 129 is out of range, use 0 to 128"},
      {with_pool("hash.load_factor = 0.99"),
       "6:20: pools.web.hash.load_factor: 0.99 is out of range, use 0.0 or 1.0 to 10.0"},
      {with_pool("hash.load_factor = 10.5"),
       "6:20: pools.web.hash.load_factor: 10.5 is out of range, use 0.0 or 1.0 to 10.0"},
      {with_pool("hash.load_factor = nan"),
       "6:20: pools.web.hash.load_factor: nan is out of range, use 0.0 or 1.0 to 10.0"},
      {with_pool("health.rise = 0"), "6:15: pools.web.health.rise: 0 is out of range, use 1 to 1000000"},
      {with_pool("health.fall = 0"), "6:15: pools.web.health.fall: 0 is out of range, use 1 to 1000000"},
      {with_pool("health.jitter = 1.1"), "6:17: pools.web.health.jitter: 1.1 is out of range, use 0.0 to 1.0"},
      {with_pool("health.port = 65536"), "6:15: pools.web.health.port: 65536 is out of range, use 0 to 65535"},
      {with_pool("passive.failures = -1"), "6:20: pools.web.passive.failures: -1 is out of range, use 0 to 1000000"},
      {with_pool("passive.max_ejected = -inf"),
       "6:23: pools.web.passive.max_ejected: -inf is out of range, use 0.0 to 1.0"},
      {with_pool("health.send = \"" + std::string(4097, 'x') + "\""),
       "6:15: pools.web.health.send: 4097 bytes are too many, the most is 4096"},
      {with_backends("[{ address = \"10.0.0.1:80\", weight = 1001 }]"),
       "5:49: pools.web.backends[0].weight: 1001 is out of range, use 0 to 1000"},
      {with_backends("[{ address = \"10.0.0.1:80\", weight = -1 }]"),
       "5:49: pools.web.backends[0].weight: -1 is out of range, use 0 to 1000"},
  });
}

TEST_CASE("words that are none of the choices") {
  check({
      {with_listener("protocol = \"TCPP\""),
       R"(4:12: listeners.web.protocol: unknown value "TCPP", did you mean "tcp"?)"},
      {with_listener("protocol = \"sctp\""),
       R"(4:12: listeners.web.protocol: unknown value "sctp", use one of: tcp, udp)"},
      {with_listener("protocol = \"quic\""),
       R"(4:12: listeners.web.protocol: unknown value "quic", use one of: tcp, udp)"},
      {with_listener("forwarding = \"spice\""),
       R"(4:14: listeners.web.forwarding: unknown value "spice", did you mean "splice"?)"},
      {with_pool("balance = \"leastconn\""),
       R"(6:11: pools.web.balance: unknown value "leastconn", did you mean "least_conn"?)"},
      {with_pool("balance = \"maglev\""),
       R"(6:11: pools.web.balance: unknown value "maglev", use one of: least_conn, source_hash, round_robin, random_two, first, least_latency)"},
      {with_pool("hash.key = \"source\""),
       R"(6:12: pools.web.hash.key: unknown value "source", did you mean "source_ip"?)"},
      {with_pool("health.type = \"http\""),
       R"(6:15: pools.web.health.type: unknown value "http", use one of: tcp, udp, none)"},
      {with_pool("health.close = \"\""), R"(6:16: pools.web.health.close: unknown value "", use one of: fin, rst)"},
      {with_runtime("log_level = \"trace\""),
       R"(7:13: runtime.log_level: unknown value "trace", use one of: error, warn, info, debug)"},
      {with_runtime("log_level = \"warning\""),
       R"(7:13: runtime.log_level: unknown value "warning", use one of: error, warn, info, debug)"},
      {with_runtime("log_format = \"jsn\""), R"(7:14: runtime.log_format: unknown value "jsn", did you mean "json"?)"},
  });
}

TEST_CASE("addresses") {
  const auto bind = [](const std::string& value) {
    return "[listeners.web]\npool = \"web\"\nbind = " + value + "\n" + kGoodPool;
  };
  check({
      {bind("\"10.0.0.1:70000\""), "3:8: listeners.web.bind: port 70000 is above 65535"},
      {bind("\"\""), "3:8: listeners.web.bind: the address is empty"},
      {bind("80"), "3:8: listeners.web.bind: expected a string or a list of strings, found a whole number"},
      {bind("[]"), R"(3:8: listeners.web.bind: is empty, say where to listen, for example "*:8080")"},
      {bind("[\"*:80\", 81]"), "3:17: listeners.web.bind[1]: expected a string, found a whole number"},
      {bind("[\"*:80\", \"::1:81\"]"), "3:17: listeners.web.bind[1]: an IPv6 address needs brackets: [::1]:80"},
      {bind("\"localhost:8080\""),
       R"(3:8: listeners.web.bind: "localhost:8080" is a host name, give an IP address, or "*:8080" for all of them)"},
      {bind("\"unix:/a\\u001bb\""), "3:8: listeners.web.bind: an address cannot hold control characters"},
      {bind("\"" + std::string(301, 'a') + "\""),
       "3:8: listeners.web.bind: \"" + std::string(80, 'a') + "…\" is too long for an address"},
      {with_backends("[\"*:80\"]"),
       R"(5:13: pools.web.backends[0]: "*:80" is no address to connect to, give an IP address)"},
      {with_backends("[\"0.0.0.0:80\"]"), R"(5:13: pools.web.backends[0]: "0.0.0.0:80" is no address to connect to)"},
      {with_backends("[{ address = \"10.0.0.1:0\" }]"),
       "5:25: pools.web.backends[0].address: port 0 is no port to connect to"},
      {with_backends("[{ address = 80 }]"),
       "5:25: pools.web.backends[0].address: expected a string, found a whole number"},
      {with_backends("[{ weight = 3 }]"), "5:13: pools.web.backends[0]: address is missing"},
      {with_pool("source = \"10.0.0.9:80\""),
       R"(6:10: pools.web.source: "10.0.0.9:80" is no IP address; a source has no port and no brackets)"},
      {with_pool("source = [\"10.0.0.9\", \"\"]"),
       R"(6:23: pools.web.source[1]: "" is no IP address; a source has no port and no brackets)"},
      {with_pool("source = \"10.0.0.9\\u0000\""),
       R"(6:10: pools.web.source: "10.0.0.9\u0000" is no IP address; a source has no port and no brackets)"},
      {with_pool("source = \"fd00::9\""), "6:10: pools.web.source: an IPv6 source, but the pool has no IPv6 backend"},
      {kGoodListener + "[pools.web]\nbackends = [\"[fd00::1]:80\"]\nsource = [\"fd00::9\", \"10.0.0.9\"]",
       "6:22: pools.web.source[1]: an IPv4 source, but the pool has no IPv4 backend"},
  });
}

TEST_CASE("networks") {
  check({
      {with_listener("allow = [\"10.0.0.1/8\"]"),
       R"(4:10: listeners.web.allow[0]: "10.0.0.1/8" has bits beyond its prefix, did you mean "10.0.0.0/8"?)"},
      {with_listener("deny = [\"10.0.0.0/8\", \"10.0.0.0/33\", \"::/0\", \"all\"]"),
       "4:23: listeners.web.deny[1]: prefix 33 is above 32\n"
       R"(4:46: listeners.web.deny[3]: "all" is no IP address; a network is like "10.0.0.0/8")"},
      {with_listener("allow = \"\""), "4:9: listeners.web.allow: the network is empty"},
      {with_listener("allow = [\"\"]"), "4:10: listeners.web.allow[0]: the network is empty"},
      {with_listener("allow = [10]"), "4:10: listeners.web.allow[0]: expected a string, found a whole number"},
      {with_listener("allow = 10"),
       "4:9: listeners.web.allow: expected a string or a list of strings, found a whole number"},
      {with_listener("deny = \"10.0.0.1:80\""), "4:8: listeners.web.deny: a network has no port"},
      {with_listener("deny = \"\\u001b[31m\""),
       "4:8: listeners.web.deny: the network contains a space, a control character or one that is not ASCII"},
      {with_listener("deny = \"" + std::string(301, '1') + "\""),
       "4:8: listeners.web.deny: \"" + std::string(80, '1') + "…\" is too long for a network"},
      {with_pool("[defaults.listener]\nallow = [\"10.0.0.1/8\"]"),
       R"(7:10: defaults.listener.allow[0]: "10.0.0.1/8" has bits beyond its prefix, did you mean "10.0.0.0/8"?)"},
  });
}

TEST_CASE("names") {
  check({
      {kGoodListener + "[pools.web]\nbackends = [\"10.0.0.1:80\"]\n[pools.\"\"]\nbackends = [\"10.0.0.1:80\"]",
       R"(6:8: pools."": a name cannot be empty)"},
      {with_pool("[listeners.'a\"b']\nbind = \"*:81\"\npool = \"web\""),
       R"(6:12: listeners."a\"b": a name is printable ASCII without quotes and backslashes)"},
      {with_pool("[listeners.\"a\\tb\"]\nbind = \"*:81\"\npool = \"web\""),
       R"(6:12: listeners."a\tb": a name is printable ASCII without quotes and backslashes)"},
      {with_pool("[pools." + std::string(65, 'p') + "]\nbackends = [\"10.0.0.1:80\"]"),
       "6:8: pools." + std::string(65, 'p') + ": a name has at most 64 characters, this has 65"},
      {with_backends("[{ name = \"\", address = \"10.0.0.1:80\" }]"),
       "5:22: pools.web.backends[0].name: a name cannot be empty"},
      {with_backends("[{ name = 'a\\b', address = \"10.0.0.1:80\" }]"),
       "5:22: pools.web.backends[0].name: a name is printable ASCII without quotes and backslashes"},
      {with_backends("['unix:/a\"b']"),
       "5:13: pools.web.backends[0]: this address makes no good name, give the backend one: name = \"…\""},
      {with_backends("[\"10.0.0.1:80\", \"10.0.0.2:80\", \"10.0.0.1:80\"]"),
       R"(5:43: pools.web.backends[2]: a backend named "10.0.0.1:80" exists already (line 5), give this one another name)"},
      {with_backends("[\n{ name = \"a\", address = \"10.0.0.1:80\" },\n{ name = \"a\", address = \"10.0.0.2:80\" }]"),
       R"(7:1: pools.web.backends[1]: a backend named "a" exists already (line 6), give this one another name)"},
  });
}

TEST_CASE("what is missing") {
  check({
      {"", "there is no listener, add [listeners.NAME] with a bind and a pool"},
      {kGoodPool, "there is no listener, add [listeners.NAME] with a bind and a pool"},
      {"# only a comment\n[listeners]\n" + kGoodPool,
       "2:1: there is no listener, add [listeners.NAME] with a bind and a pool"},
      {"[listeners.web]\npool = \"web\"\n" + kGoodPool,
       R"(1:1: listeners.web: bind is missing, say where to listen, for example bind = "*:8080")"},
      {"[listeners.web]\nbind = \"*:80\"\n" + kGoodPool,
       "1:1: listeners.web: pool is missing, name the pool that serves it"},
      {kGoodListener + "[pools.web]",
       R"(4:1: pools.web: a pool needs a backend, add backends = [{ address = "IP:PORT" }])"},
      {with_backends("[]"), "5:12: pools.web.backends: a pool needs at least one backend"},
      {with_pool("[defaults.pool]\nbackends = [\"10.0.0.1:80\"]"),
       "7:12: defaults.pool.backends: backends belong to a pool, they have no default"},
  });
}

TEST_CASE("listeners and pools that do not fit") {
  const std::string two_pools = kGoodPool + "[pools.api]\nbackends = [\"10.0.0.2:80\"]\n";
  check({
      {"[listeners.web]\nbind = \"*:80\"\npool = \"wbe\"\n" + kGoodPool,
       R"(3:8: listeners.web.pool: there is no pool "wbe", did you mean "web"?)"},
      {"[listeners.web]\nbind = \"*:80\"\npool = \"db\"\n" + two_pools,
       R"(3:8: listeners.web.pool: there is no pool "db", add [pools.db] or name another)"},
      {kGoodListener, R"(3:8: listeners.web.pool: there is no pool "web", add [pools.web] or name another)"},
      {with_pool("[defaults.listener]\npool = \"x y\""),
       R"(7:8: defaults.listener.pool: there is no pool "x y", add [pools."x y"] or name another)"},
  });
}

TEST_CASE("a bind address is used once") {
  const auto binds = [](const std::string& list) {
    return "[listeners.web]\npool = \"web\"\nbind = " + list + "\n" + kGoodPool;
  };
  check({
      {with_pool("[listeners.b]\nbind = \"*:80\"\npool = \"web\""),
       R"(7:8: listeners.b.bind: "*:80" is already used by "*:80" of listener "web" (line 2))"},
      {with_pool("[listeners.b]\nbind = [\"*:81\", \"0.0.0.0:80\"]\npool = \"web\""),
       R"(7:17: listeners.b.bind[1]: "0.0.0.0:80" is already used by "*:80" of listener "web" (line 2))"},
      {binds("[\"[::]:80\", \"*:80\"]"),
       R"(3:20: listeners.web.bind[1]: "*:80" is already used by "[::]:80" of listener "web" (line 3))"},
      {binds("[\"10.0.0.1:80\", \"10.0.0.1:80\"]"),
       R"(3:24: listeners.web.bind[1]: "10.0.0.1:80" is already used by "10.0.0.1:80" of listener "web" (line 3))"},
      {binds("[\"unix:/a\", \"unix:/b\", \"unix:/a\"]"),
       R"(3:31: listeners.web.bind[2]: "unix:/a" is already used by "unix:/a" of listener "web" (line 3))"},
      {kGoodPool + "[defaults.listener]\nbind = \"*:80\"\npool = \"web\"\n[listeners.a]\n[listeners.b]\n",
       R"(4:8: listeners.b.bind: "*:80" is already used by "*:80" of listener "a" (line 4))"},
      {binds("[\"10.0.0.1:80\", \"nonsense\", \"10.0.0.1:80\"]"),
       "3:24: listeners.web.bind[1]: the port is missing: nonsense:80\n"
       "3:36: listeners.web.bind[2]: \"10.0.0.1:80\" is already used by \"10.0.0.1:80\" of listener \"web\" (line 3)"},
  });
}

TEST_CASE("a bind address is used once by each protocol") {
  const std::string udp = "[listeners.b]\nprotocol = \"udp\"\npool = \"web\"\nbind = ";
  check({
      {with_pool(udp + "[\"*:80\", \"0.0.0.0:80\"]"),
       R"(9:17: listeners.b.bind[1]: "0.0.0.0:80" is already used by "*:80" of listener "b" (line 9))"},
      {with_pool(udp + "\"*:80\"\n[listeners.c]\nprotocol = \"udp\"\npool = \"web\"\nbind = \"[::]:80\""),
       R"(13:8: listeners.c.bind: "[::]:80" is already used by "*:80" of listener "b" (line 9))"},
      {with_pool(udp + "\"*:80\"\n[listeners.c]\nprotocol = \"tcp\"\npool = \"web\"\nbind = \"*:80\""),
       R"(13:8: listeners.c.bind: "*:80" is already used by "*:80" of listener "web" (line 2))"},
  });
}

TEST_CASE("keys of the other protocol") {
  const auto udp = [](const std::string& key) { return with_listener("protocol = \"udp\"\n" + key); };
  check({
      {udp("half_close_timeout = \"5s\""),
       "5:1: listeners.web.half_close_timeout is only for tcp, and this listener is udp; remove it"},
      {udp("backlog = 4096"), "5:1: listeners.web.backlog is only for tcp, and this listener is udp; remove it"},
      {udp("keepalive = true"), "5:1: listeners.web.keepalive is only for tcp, and this listener is udp; remove it"},
      {udp("forwarding = \"auto\""),
       "5:1: listeners.web.forwarding is only for tcp, and this listener is udp; remove it"},
      {with_listener("responses = 0"),
       "4:1: listeners.web.responses is only for udp, and this listener is tcp; remove it"},
      {with_listener("protocol = \"tcp\"\nmax_sessions = \"auto\""),
       "5:1: listeners.web.max_sessions is only for udp, and this listener is tcp; remove it"},
      // The protocol may be inherited.
      {"[defaults.listener]\nprotocol = \"udp\"\n" + with_listener("keepalive = false"),
       "6:1: listeners.web.keepalive is only for tcp, and this listener is udp; remove it"},
      // All of them, in the order of the file.
      {with_listener("backlog = 1\nprotocol = \"udp\"\nforwarding = \"copy\""),
       "4:1: listeners.web.backlog is only for tcp, and this listener is udp; remove it\n"
       "6:1: listeners.web.forwarding is only for tcp, and this listener is udp; remove it"},
  });
}

TEST_CASE("values of udp listeners") {
  const auto udp = [](const std::string& key) { return with_listener("protocol = \"udp\"\n" + key); };
  check({
      {udp("responses = -1"), "5:13: listeners.web.responses: -1 is out of range, use 0 to 1000000"},
      {udp("responses = 1000001"), "5:13: listeners.web.responses: 1000001 is out of range, use 0 to 1000000"},
      {udp("responses = \"1\""), "5:13: listeners.web.responses: expected a whole number, found a string"},
      {udp("responses = 1.0"),
       "5:13: listeners.web.responses: expected a whole number, found a number with a fraction"},
      {udp("max_sessions = 0"), R"(5:16: listeners.web.max_sessions: 0 is out of range, use "auto" or 1 to 4000000)"},
      {udp("max_sessions = 4000001"), "5:16: listeners.web.max_sessions: 4000001 is out of range, use 1 to 4000000"},
      {udp("max_sessions = \"all\""),
       R"(5:16: listeners.web.max_sessions: expected "auto" or a whole number, found "all")"},
      {udp("idle_timeout = 60"),
       R"(5:16: listeners.web.idle_timeout: a duration is a string with a unit, write "60s")"},
      {udp("response = 1"), R"(5:1: listeners.web: unknown key "response", did you mean "responses"?)"},
      {udp("max_session = 1"), R"(5:1: listeners.web: unknown key "max_session", did you mean "max_sessions"?)"},
  });
}

TEST_CASE("unix sockets take no datagrams") {
  const auto listening = [](const std::string& bind) {
    return "[listeners.web]\nprotocol = \"udp\"\npool = \"web\"\nbind = " + bind + "\n" + kGoodPool;
  };
  const auto backends = [](const std::string& list) {
    return "[listeners.web]\nprotocol = \"udp\"\npool = \"web\"\nbind = \"*:80\"\n[pools.web]\nbackends = " + list +
           "\n";
  };
  check({
      {listening("\"unix:/a\""), "4:8: listeners.web.bind: a udp listener cannot listen on a unix socket"},
      {listening("[\"*:80\", \"unix:@a\", \"*:80\"]"),
       "4:17: listeners.web.bind[1]: a udp listener cannot listen on a unix socket\n"
       "4:28: listeners.web.bind[2]: \"*:80\" is already used by \"*:80\" of listener \"web\" (line 4)"},
      {kGoodPool + "[defaults.listener]\nbind = \"unix:/a\"\npool = \"web\"\n[listeners.a]\nprotocol = \"udp\"",
       "4:8: listeners.a.bind: a udp listener cannot listen on a unix socket"},
      {backends("[\"10.0.0.1:80\", \"unix:/a\"]"),
       R"(6:28: pools.web.backends[1]: the udp listener "web" cannot forward to a unix socket)"},
      {backends("[{ name = \"a\", address = \"unix:/a\" }]"),
       R"(6:37: pools.web.backends[0].address: the udp listener "web" cannot forward to a unix socket)"},
      // Of a pool with listeners of both protocols.
      {with_backends("[\"unix:/a\"]\n[listeners.b]\nprotocol = \"udp\"\nbind = \"*:80\"\npool = \"web\""),
       R"(5:13: pools.web.backends[0]: the udp listener "b" cannot forward to a unix socket)"},
      {with_backends("[{ address = \"unix:/a\" }]\nhealth.type = \"udp\""),
       R"(5:25: pools.web.backends[0].address: a probe with health.type = "udp" cannot reach a unix socket)"},
      {with_backends("[\"unix:/a\"]\n[defaults.pool.health]\ntype = \"udp\""),
       R"(5:13: pools.web.backends[0]: a probe with health.type = "udp" cannot reach a unix socket)"},
      {backends("[\"unix:/a\"]\nhealth.type = \"udp\""),
       R"(6:13: pools.web.backends[0]: the udp listener "web" cannot forward to a unix socket)"},
  });
}

TEST_CASE("the timeout of a probe is at most its interval") {
  check({
      {with_pool("health = { interval = \"1s\", timeout = \"2s\" }"),
       "6:39: pools.web.health: a timeout of 2s is longer than the interval of 1s"},
      {with_pool("health.timeout = \"3s\""),
       "6:18: pools.web.health: a timeout of 3s is longer than the interval of 2s"},
      {with_pool("health.interval = \"999ms\""),
       "6:19: pools.web.health: a timeout of 1s is longer than the interval of 999ms"},
      {with_pool("[defaults.pool.health]\ntimeout = \"5s\"\n[pools.b]\nbackends = [\"10.0.0.2:80\"]"),
       "7:11: defaults.pool.health: a timeout of 5s is longer than the interval of 2s"},
      {with_pool("health.interval = \"3s\"\n[defaults.pool.health]\ninterval = \"10s\"\ntimeout = \"5s\""),
       "6:19: pools.web.health: a timeout of 5s is longer than the interval of 3s"},
  });
}

TEST_CASE("one mistake is one diagnostic") {
  check({
      // The pool is there, only wrong: its listener is not.
      {kGoodListener + "[pools.web]\nbackends = 5", "5:12: pools.web.backends: expected a list, found a whole number"},
      {kGoodListener + "[pool.web]\nbackends = [\"10.0.0.1:80\"]",
       R"(4:2: unknown table "pool", did you mean "pools"?)"},
      // Misspelt, hence not missing.
      {"[listeners.web]\nbnid = \"*:80\"\npoll = \"web\"\n" + kGoodPool,
       "2:1: listeners.web: unknown key \"bnid\", did you mean \"bind\"?\n"
       "3:1: listeners.web: unknown key \"poll\", did you mean \"pool\"?"},
      {with_backends("[{ adress = \"10.0.0.1:80\" }]"),
       R"(5:15: pools.web.backends[0]: unknown key "adress", did you mean "address"?)"},
      {kGoodListener + "[pools.web]\nbackend = [\"10.0.0.1:80\"]",
       R"(5:1: pools.web: unknown key "backend", did you mean "backends"?)"},
      {"[listener.web]\nbind = \"*:80\"\npool = \"web\"\n" + kGoodPool,
       R"(1:2: unknown table "listener", did you mean "listeners"?)"},
      // What the protocol would be is not known: no guesses about what is only for the other one.
      {with_listener("protocol = \"upd\"\nresponses = 1\nbacklog = 1"),
       R"(4:12: listeners.web.protocol: unknown value "upd", did you mean "udp"?)"},
      {with_listener("protcol = \"udp\"\nmax_sessions = 1"),
       R"(4:1: listeners.web: unknown key "protcol", did you mean "protocol"?)"},
      {"[defaults.listener]\nprotcol = \"udp\"\n" + with_listener("max_sessions = 1"),
       R"(2:1: defaults.listener: unknown key "protcol", did you mean "protocol"?)"},
      {with_pool("[listeners.b]\nprotocol = \"upd\"\nbind = \"*:80\"\npool = \"web\""),
       R"(7:12: listeners.b.protocol: unknown value "upd", did you mean "udp"?)"},
      {with_listener("max_sessions = 0"),
       R"(4:16: listeners.web.max_sessions: 0 is out of range, use "auto" or 1 to 4000000)"},
      // No guesses about a value that could not be read.
      {with_pool("health = { interval = \"1\", timeout = \"2s\" }"),
       R"(6:23: pools.web.health.interval: "1" has no unit, write "1s")"},
      {kGoodListener + "[pools.web]\nbackends = [\"[::1:80\"]\nsource = \"::1\"",
       "5:13: pools.web.backends[0]: '[' without ']'"},
      {with_backends("[\"nonsense\", \"nonsense\"]"),
       "5:13: pools.web.backends[0]: host names are not built yet, give an IP address\n"
       "5:25: pools.web.backends[1]: host names are not built yet, give an IP address"},
  });
}

TEST_CASE("all problems at once, in the order of the file") {
  const Loaded loaded = parse(
      "[pools.web]\n"
      "retries = -1\n"
      "backends = [{ address = \"10.0.0.1:80\", weight = 5000 }, { address = \"10.0.0.1:80\" }]\n"
      "[runtime]\n"
      "workers = \"x\"\n"
      "zz = 1\n"
      "[listeners.web]\n"
      "pool = \"wbe\"\n"
      "bind = 5\n"
      "accept_proxy = \"v1\"\n");
  CHECK(render(loaded.diagnostics, "m.toml") ==
        "m.toml:2:11: error: pools.web.retries: -1 is out of range, use 0 to 100\n"
        "m.toml:3:49: error: pools.web.backends[0].weight: 5000 is out of range, use 0 to 1000\n"
        "m.toml:3:57: error: pools.web.backends[1]: a backend named \"10.0.0.1:80\" exists already (line 3), give this "
        "one another name\n"
        "m.toml:5:11: error: runtime.workers: expected \"auto\" or a whole number, found \"x\"\n"
        "m.toml:6:1: error: runtime: unknown key \"zz\"\n"
        "m.toml:8:8: error: listeners.web.pool: there is no pool \"wbe\", did you mean \"web\"?\n"
        "m.toml:9:8: error: listeners.web.bind: expected a string or a list of strings, found a whole number\n"
        "m.toml:10:1: error: listeners.web.accept_proxy is not built yet; remove it\n");
}

TEST_CASE("a diagnostic without a position names only the file") {
  CHECK(render({{{}, "cannot open"}}, "x.toml") == "x.toml: error: cannot open\n");
  CHECK(render({}, "x.toml").empty());
}

}  // namespace
}  // namespace millrace::config::test
