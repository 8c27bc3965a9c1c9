#include <doctest/doctest.h>

#include <string>

#include "millrace/config/config.hpp"

namespace millrace::config {
namespace {

std::string problems(const QuickForm& quick) {
  const Loaded loaded = from_quick_form(quick);
  CHECK_FALSE(loaded.config.has_value());
  std::string out;
  for (const Diagnostic& d : loaded.diagnostics) {
    CHECK(d.position == Position{});
    out += d.message + "\n";
  }
  return out;
}

std::string backend_problems(const std::string& backend) {
  return problems({{"*:80"}, {backend}, ""});
}

TEST_CASE("the quick form is one listener and one pool, both named main") {
  const Loaded loaded = from_quick_form(
      {{"*:80", "[::1]:81"}, {"10.0.0.1:80", "10.0.0.2:80,weight=3,name=7,backup=true,max_connections=5"}, "first"});
  REQUIRE(loaded.config.has_value());
  CHECK(loaded.diagnostics.empty());
  const Config& config = *loaded.config;
  REQUIRE(config.listeners.size() == 1);
  CHECK(config.listeners[0].name == "main");
  CHECK(config.listeners[0].pool == "main");
  CHECK(config.listeners[0].bind.size() == 2);
  REQUIRE(config.pools.size() == 1);
  CHECK(config.pools[0].name == "main");
  CHECK(config.pools[0].balance == balance::Algorithm::first);
  REQUIRE(config.pools[0].backends.size() == 2);
  CHECK(config.pools[0].backends[0] == Backend{"10.0.0.1:80", net::Endpoint::ipv4(0x0a000001, 80), 1, false, 0});
  CHECK(config.pools[0].backends[1] == Backend{"7", net::Endpoint::ipv4(0x0a000002, 80), 3, true, 5});
}

TEST_CASE("the quick form equals the file with the same values") {
  const Loaded quick = from_quick_form({{"*:80"}, {"10.0.0.1:80,weight=2"}, ""});
  const Loaded file = parse(
      "[admin]\nhttp = \"\"\n"
      "[listeners.main]\nbind = \"*:80\"\npool = \"main\"\n"
      "[pools.main]\nbackends = [{ address = \"10.0.0.1:80\", weight = 2 }]\n");
  REQUIRE(quick.config.has_value());
  REQUIRE(file.config.has_value());
  CHECK(*quick.config == *file.config);
}

TEST_CASE("the quick form for UDP equals the file with the same values") {
  const Loaded quick = from_quick_form({{"*:53"}, {"10.0.0.1:53"}, "source_hash", true});
  const Loaded file = parse(
      "[admin]\nhttp = \"\"\n"
      "[listeners.main]\nprotocol = \"udp\"\nbind = \"*:53\"\npool = \"main\"\n"
      "[pools.main]\nbackends = [\"10.0.0.1:53\"]\nbalance = \"source_hash\"\n");
  REQUIRE(quick.config.has_value());
  REQUIRE(file.config.has_value());
  CHECK(*quick.config == *file.config);
  CHECK(quick.config->listeners[0].protocol == Protocol::udp);
  CHECK(quick.config->listeners[0].idle_timeout == kUdpIdleTimeout);
  CHECK(quick.config->pools[0].health.type == HealthType::none);
  CHECK(quick.config->pools[0].health.unasked);
}

TEST_CASE("unix sockets take no datagrams") {
  CHECK(problems({{"unix:/a"}, {"10.0.0.1:53", "unix:/b,weight=2"}, "", true}) ==
        "--listen unix:/a: a udp listener cannot listen on a unix socket\n"
        "--backend unix:/b,weight=2: the udp listener \"main\" cannot forward to a unix socket\n");
}

TEST_CASE("messages name the option") {
  CHECK(backend_problems("10.0.0.1:80,wieght=3") ==
        "--backend 10.0.0.1:80,wieght=3: unknown key \"wieght\", did you mean \"weight\"?\n");
  CHECK(backend_problems("10.0.0.1:80,weight=2000") ==
        "--backend 10.0.0.1:80,weight=2000: weight: 2000 is out of range, use 0 to 1000\n");
  CHECK(backend_problems("10.0.0.1:80,weight=x") ==
        "--backend 10.0.0.1:80,weight=x: weight: expected a whole number, found a string\n");
  CHECK(backend_problems("10.0.0.1:80,backup=1") ==
        "--backend 10.0.0.1:80,backup=1: backup: expected true or false, found a whole number\n");
  CHECK(backend_problems("10.0.0.1:80,resolve=all") ==
        "--backend 10.0.0.1:80,resolve=all: resolve is not built yet; remove it\n");
  CHECK(backend_problems("10.0.0.1:80,backup") ==
        "--backend 10.0.0.1:80,backup: expected key=value after the comma, found \"backup\"\n");
  CHECK(backend_problems("10.0.0.1:80,") == "--backend 10.0.0.1:80,: expected key=value after the comma, found \"\"\n");
  CHECK(backend_problems("10.0.0.1:80,weight=1,weight=2") ==
        "--backend 10.0.0.1:80,weight=1,weight=2: \"weight\" is given twice\n");
  CHECK(backend_problems("10.0.0.1:80,address=10.0.0.2:80") ==
        "--backend 10.0.0.1:80,address=10.0.0.2:80: \"address\" is given twice\n");
  CHECK(backend_problems("app.internal:80") ==
        "--backend app.internal:80: host names are not built yet, give an IP address\n");
  CHECK(backend_problems("10.0.0.1") == "--backend 10.0.0.1: the port is missing: 10.0.0.1:80\n");
  CHECK(backend_problems("10.0.0.1:80,name=") == "--backend 10.0.0.1:80,name=: name: a name cannot be empty\n");
  CHECK(backend_problems("10.0.0.1:80,weight=") ==
        "--backend 10.0.0.1:80,weight=: weight: expected a whole number, found a string\n");
  CHECK(problems({{"localhost:80"}, {"10.0.0.1:80"}, ""}) ==
        "--listen localhost:80: \"localhost:80\" is a host name, give an IP address, or \"*:80\" for all of them\n");
  CHECK(problems({{"*:80"}, {"10.0.0.1:80"}, "lest_conn"}) ==
        "--balance lest_conn: unknown value \"lest_conn\", did you mean \"least_conn\"?\n");
}

TEST_CASE("all problems at once") {
  CHECK(problems({{"*:80", "*:80"}, {"10.0.0.1:80", "10.0.0.1:80", "x,y"}, "x"}) ==
        "--backend x,y: expected key=value after the comma, found \"y\"\n"
        "--balance x: unknown value \"x\", use one of: least_conn, source_hash, round_robin, random_two, first\n"
        "--backend x,y: host names are not built yet, give an IP address\n"
        "--listen *:80: \"*:80\" is already used by \"*:80\" of listener \"main\"\n"
        "--backend 10.0.0.1:80: a backend named \"10.0.0.1:80\" exists already, give this one another name\n");
}

TEST_CASE("both options are needed") {
  CHECK(problems({}) ==
        "--listen is missing, say where to listen, for example --listen *:8080\n"
        "--backend is missing, for example --backend 10.0.0.1:80\n");
  CHECK(problems({{"*:80"}, {}, ""}) == "--backend is missing, for example --backend 10.0.0.1:80\n");
}

TEST_CASE("bytes that a file could not hold are refused") {
  CHECK(problems({{"unix:/a\xff"}, {"10.0.0.1:80"}, ""}) == "--listen unix:/a\xef\xbf\xbd: an address must be UTF-8\n");
  CHECK(backend_problems("unix:/a\x1b[0m") ==
        "--backend unix:/a\\u001B[0m: an address cannot hold control characters\n");
}

}  // namespace
}  // namespace millrace::config
