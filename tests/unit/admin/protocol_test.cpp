#include "millrace/admin/protocol.hpp"

#include <doctest/doctest.h>

#include <string>

#include "millrace/admin/json.hpp"
#include "millrace/config/config.hpp"

namespace millrace::admin {

namespace {

/// Two listeners over two pools, and no worker.
class Desk {
 public:
  Desk() : table_(5), desk_(directory(table_), table_, {}, {{"127.0.0.1:80"}, {}}, {}) {}

  nlohmann::json ask(const std::string& line) {
    const std::string answered = answer(line, desk_);
    CHECK(answered.back() == '\n');
    CHECK(answered.find('\n') == answered.size() - 1);
    return nlohmann::json::parse(answered);
  }
  std::string code(const std::string& line) {
    const nlohmann::json answered = ask(line);
    CHECK(answered["ok"] == false);
    return answered["error"]["code"];
  }
  nlohmann::json result(const std::string& arguments) {
    const nlohmann::json answered = ask(R"({"version":1,)" + arguments + "}");
    REQUIRE(answered["ok"] == true);
    CHECK(answered["version"] == 1);
    return answered["result"];
  }
  std::string problem(const std::string& arguments) {
    const nlohmann::json answered = ask(R"({"version":1,)" + arguments + "}");
    REQUIRE(answered["ok"] == false);
    return answered["error"]["message"];
  }
  pool::BackendTable& table() { return table_; }

  Operator& desk() { return desk_; }

 private:
  static pool::Directory directory(const pool::BackendTable& table) {
    pool::Directory directory;
    REQUIRE(directory.update(config(), table).ok());
    return directory;
  }
  static config::Config config() {
    const config::Loaded loaded = config::parse(R"(
      [listeners.web]
      bind = "127.0.0.1:80"
      pool = "web"
      deny = ["192.0.2.0/24"]
      [listeners.dns]
      bind = "127.0.0.1:53"
      protocol = "udp"
      pool = "dns"
      [pools.web]
      balance = "source_hash"
      backends = [{ name = "a", address = "10.0.0.1:80" }, { name = "b", address = "10.0.0.2:80" },
                  { name = "c", address = "10.0.0.3:80", backup = true }]
      [pools.dns]
      backends = [{ name = "a", address = "10.0.1.1:53" }, { name = "b", address = "10.0.1.2:53" }])");
    REQUIRE(loaded.config);
    return *loaded.config;
  }

  pool::BackendTable table_;
  Operator desk_;
};

}  // namespace

TEST_CASE("protocol: what is no request is refused by name") {
  Desk desk;
  for (const char* line :
       {"", "hello", "{", "[]", "1", "null", "\"status\"", "{\"version\":1}{", "\xff\xfe", "{\"a\":\"\xff\"}"}) {
    CAPTURE(line);
    CHECK(desk.code(line) == "bad_request");
  }
  CHECK(desk.code("{}") == "bad_version");
  CHECK(desk.code(R"({"version":2,"command":"status"})") == "bad_version");
  CHECK(desk.code(R"({"version":"1","command":"status"})") == "bad_version");
  CHECK(desk.code(R"({"version":1})") == "unknown_command");
  CHECK(desk.code(R"({"version":1,"command":"halt"})") == "unknown_command");
  CHECK(desk.code(R"({"version":1,"command":7})") == "unknown_command");
  CHECK(desk.code(std::string(16'000, '[')) == "bad_request");
}

TEST_CASE("protocol: arguments are checked by name and type") {
  Desk desk;
  CHECK(desk.problem(R"("command":"backend")") == "action is missing");
  CHECK(desk.problem(R"("command":"backend","pool":1,"backend":"a","action":"drain")") == "pool must be a string");
  CHECK(desk.problem(R"("command":"backend","pool":"web","backend":"a","action":"explode")") ==
        "action must be drain, enable, disable or weight");
  CHECK(desk.problem(R"("command":"backend","pool":"web","backend":"a","action":"weight")") == "weight is missing");
  for (const char* weight : {"-1", "1.5", "\"3\"", "4294967296", "null"}) {
    CAPTURE(weight);
    CHECK(desk.problem(R"("command":"backend","pool":"web","backend":"a","action":"weight","weight":)" +
                       std::string(weight)) == "weight must be a whole number from 0");
  }
  CHECK(desk.problem(R"("command":"backend","pool":"web","backend":"a","action":"weight","weight":1001)") ==
        "weight 1001 is out of range, use 0 to 1000");
  CHECK(desk.problem(R"("command":"kill","id":"x")") ==
        "x is no id of a connection; `millrace connections` lists them");
  CHECK(desk.problem(R"("command":"kill","id":"0.1.2")") == "connection 0.1.2 is not there: there are 0 workers");
  CHECK(desk.problem(R"("command":"connections","after":"x")").starts_with("after: x is no place"));
}

TEST_CASE("protocol: what is not there is named with what is") {
  Desk desk;
  CHECK(desk.problem(R"("command":"backend","pool":"wbe","backend":"a","action":"drain")") ==
        "there is no pool wbe; there are: web, dns");
  CHECK(desk.problem(R"("command":"backend","pool":"web","backend":"x","action":"drain")") ==
        "pool web has no backend x; it has: a, b, c");
  CHECK(desk.problem(R"("command":"why","client":"10.0.0.1","listener":"x")") ==
        "there is no listener x; there are: web, dns");
}

TEST_CASE("protocol: a backend is drained, disabled and enabled") {
  Desk desk;
  const pool::BackendId dns_b{4};
  const std::string which = R"("command":"backend","pool":"dns","backend":"b","action":)";
  CHECK(desk.result(which + R"("drain")")["state"] == "draining");
  CHECK(desk.table().barred(dns_b));
  CHECK(desk.result(which + R"("disable")")["state"] == "disabled");
  CHECK(desk.table().barred(dns_b));
  const nlohmann::json status = desk.result(R"("command":"status")");
  CHECK(status["pools"][1]["backends"][1]["state"] == "disabled");
  CHECK(status["pools"][1]["backends"][1]["health"] == "up");
  CHECK(status["pools"][1]["backends"][0]["state"] == "up");
  CHECK(desk.result(which + R"("enable")")["state"] == "up");
  CHECK_FALSE(desk.table().barred(dns_b));
}

TEST_CASE("protocol: why follows drains, weights and access lists") {
  Desk desk;
  const auto chosen = [&] {
    return desk.result(R"("command":"why","client":"10.9.8.7:1234","listener":"web")")[0]["backend"].get<std::string>();
  };
  const std::string home = chosen();
  REQUIRE((home == "a" || home == "b"));
  const std::string other = home == "a" ? "b" : "a";
  const auto order = [&](const std::string& backend, const std::string& action) {
    static_cast<void>(
        desk.result(R"("command":"backend","pool":"web","backend":")" + backend + R"(","action":)" + action));
  };
  order(home, R"("drain")");
  CHECK(chosen() == other);
  order(other, R"("weight","weight":0)");
  CHECK(chosen() == "c");
  order(home, R"("enable")");
  CHECK(chosen() == home);
  const nlohmann::json denied = desk.result(R"("command":"why","client":"192.0.2.9","listener":"web")")[0];
  CHECK(denied["admitted"] == false);
  CHECK(denied["backend"] == "");
  CHECK(desk.result(R"("command":"why","client":"2001:db8::1")").size() == 2);
  CHECK(desk.result(R"("command":"why","client":"[2001:db8::1]:5")").size() == 2);
  CHECK(desk.problem(R"("command":"why","client":"example.com")").starts_with("example.com is no client"));
  CHECK(desk.problem(R"("command":"why","client":"")").find("is no client") != std::string::npos);
}

}  // namespace millrace::admin
