// Other programs' files, and what comes out of them. The realistic ones are in tests/import, each with the TOML that it
// gives (NAME.expected) and the notes (NAME.notes).

#include "millrace/import/import.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::importer {
namespace {

std::string read(const std::string& name) {
  std::ifstream file(std::string(MILLRACE_IMPORT_DIR) + "/" + name, std::ios::binary);
  REQUIRE(file.is_open());
  return {std::istreambuf_iterator<char>(file), {}};
}

void check_file(Dialect dialect, const std::string& name) {
  CAPTURE(name);
  const Imported imported = translate(dialect, read(name), name);
  CHECK(imported.toml == read(name + ".expected"));
  CHECK(render(imported.notes, name) == read(name + ".notes"));
  CHECK(imported.complete);
  CHECK(config::parse(imported.toml).config.has_value());
}

TEST_CASE("realistic files") {
  check_file(Dialect::haproxy, "haproxy.cfg");
  check_file(Dialect::nginx, "nginx.conf");
  check_file(Dialect::gobetween, "gobetween.toml");
  check_file(Dialect::gobetween, "gobetween.json");
}

config::Config import_good(Dialect dialect, std::string_view text) {
  CAPTURE(text);
  const Imported imported = translate(dialect, text, "f");
  INFO(imported.toml);
  config::Loaded loaded = config::parse(imported.toml);
  REQUIRE(loaded.config.has_value());
  return *std::move(loaded.config);
}

bool has_note(Dialect dialect, std::string_view text, std::uint32_t line, std::string_view words) {
  for (const Note& note : translate(dialect, text, "f").notes) {
    if (note.line == line && note.message.find(words) != std::string::npos) return true;
  }
  return false;
}

TEST_CASE("HAProxy: defaults belong to the sections behind them") {
  const auto config = import_good(Dialect::haproxy,
                                  "defaults\n timeout connect 1s\nlisten a\n bind :1\n server s 10.0.0.1:1\n"
                                  "defaults\n timeout connect 2s\n balance leastconn\n"
                                  "listen b\n bind :2\n server s 10.0.0.1:1\n");
  REQUIRE(config.pools.size() == 2);
  CHECK(config.pools[0].connect_timeout == std::chrono::seconds(1));
  CHECK(config.pools[0].balance == balance::Algorithm::round_robin);
  CHECK(config.pools[1].connect_timeout == std::chrono::seconds(2));
  CHECK(config.pools[1].balance == balance::Algorithm::least_conn);
}

TEST_CASE("HAProxy: servers without a check are not probed, default-server fills in") {
  const std::string head = "listen a\n bind :1\n";
  CHECK(import_good(Dialect::haproxy, head + " server s 10.0.0.1:1\n").pools[0].health.type ==
        config::HealthType::none);
  const auto config = import_good(
      Dialect::haproxy,
      head + " default-server check inter 300 weight 7 backup\n server s 10.0.0.1:1 weight 3\n server t 10.0.0.2:1\n");
  const config::Pool& pool = config.pools[0];
  CHECK(pool.health.type == config::HealthType::tcp);
  CHECK(pool.health.interval == std::chrono::milliseconds(300));
  CHECK(pool.health.timeout == std::chrono::milliseconds(300));
  CHECK(pool.backends[0].weight == 3);
  CHECK(pool.backends[1].weight == 7);
  CHECK(pool.backends[1].backup);
}

TEST_CASE("HAProxy: words with quotes and backslashes") {
  const auto config =
      import_good(Dialect::haproxy,
                  "listen \"my web\"\n bind :1 # comment\n option tcp-check\n tcp-check send a\\ b\\r\\n\n"
                  " tcp-check expect string 'x \\y'\n server s 10.0.0.1:1 check\n");
  CHECK(config.listeners[0].name == "my web");
  CHECK(config.pools[0].health.send == "a b\r\n");
  CHECK(config.pools[0].health.expect == "x \\y");
}

TEST_CASE("HAProxy: what is lost is named with its line") {
  const std::string text =
      "frontend f\n bind :1 ssl crt /x.pem\n use_backend b if { src 10.0.0.1 }\n default_backend b\n"
      "backend b\n balance uri\n option httpchk\n server s 10.0.0.1:1 check cookie x\n"
      "peers p\n peer x 10.0.0.1:1\n";
  CHECK(has_note(Dialect::haproxy, text, 2, "does not end TLS"));
  CHECK(has_note(Dialect::haproxy, text, 3, "use_backend b if"));
  CHECK(has_note(Dialect::haproxy, text, 6, "balance uri"));
  CHECK(has_note(Dialect::haproxy, text, 7, "option httpchk"));
  CHECK(has_note(Dialect::haproxy, text, 8, "cookie x"));
  CHECK(has_note(Dialect::haproxy, text, 9, "section peers"));
}

TEST_CASE("nginx: a part of a stream block, servers of both protocols") {
  const auto config = import_good(Dialect::nginx,
                                  "upstream d { server 10.0.0.1:53; random two least_conn; }\n"
                                  "server { listen 53; listen 53 udp; proxy_pass d; proxy_responses 1; }\n");
  REQUIRE(config.listeners.size() == 2);
  CHECK(config.listeners[0].name == "d");
  CHECK(config.listeners[1].name == "d-udp");
  CHECK(config.listeners[1].responses == 1);
  CHECK(config.pools[0].balance == balance::Algorithm::random_two);
}

TEST_CASE("nginx: allow and deny") {
  const auto access = [](const std::string& rules) {
    return import_good(Dialect::nginx, "server { listen 1; proxy_pass 10.0.0.1:1; " + rules + " }").listeners[0];
  };
  CHECK(access("allow 10.0.0.0/8; deny all;").allow.size() == 1);
  CHECK(access("allow 10.0.0.0/8;").allow.empty());  // nothing else is denied
  CHECK(access("deny 10.0.0.1; allow all;").deny.size() == 1);
  CHECK(has_note(Dialect::nginx, "server { listen 1; proxy_pass 10.0.0.1:1;\n allow 10.0.0.1;\n deny 10.0.0.0/8; }", 3,
                 "deny wins"));
}

TEST_CASE("gobetween: the smallest priority comes first") {
  const auto config = import_good(Dialect::gobetween,
                                  "[servers.a]\nbind = \":1\"\n[servers.a.discovery]\nkind = \"static\"\n"
                                  "static_list = [\"10.0.0.1:1 priority=5\", \"10.0.0.2:1 priority=3\"]\n");
  CHECK(config.pools[0].backends[0].backup);
  CHECK_FALSE(config.pools[0].backends[1].backup);
}

TEST_CASE("a file of which nothing is left says so") {
  for (const Dialect dialect : {Dialect::haproxy, Dialect::nginx, Dialect::gobetween}) {
    for (const char* text :
         {"", "#", "{", "}", "{}", "\"", "\xff\n", "backend\n", "server {}", "[servers]\n", "stream {"}) {
      CAPTURE(text);
      const Imported imported = translate(dialect, text, "f");
      CHECK_FALSE(imported.complete);
      CHECK(has_note(dialect, text, 0, "nothing is left that millrace could listen on and serve"));
    }
  }
}

TEST_CASE("comments and notes hold no control characters, whatever the file and its name hold") {
  const Imported imported = translate(Dialect::haproxy, "global\n log \"\x1b[31m\na = 1\"\n", "x\ny");
  CHECK(imported.toml.find('\x1b') == std::string::npos);
  CHECK(render(imported.notes, "f").find('\x1b') == std::string::npos);
  CHECK(imported.toml.find("\na = 1") == std::string::npos);
}

}  // namespace
}  // namespace millrace::importer
