#include "millrace/accesslog/line.hpp"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

namespace millrace::accesslog::test {
namespace {

constexpr std::int64_t kTime = 1767323045678;  // 2026-01-02T03:04:05.678Z

Record relayed() {
  Record record;
  record.has_id = true;
  record.worker = 1;
  record.slot = 42;
  record.generation = 7;
  record.backend = 3;
  record.attempts = 2;
  record.path = Path::splice;
  record.close_reason = "client_fin";
  record.duration = std::chrono::milliseconds(61234);
  record.connect = std::chrono::microseconds(99);
  record.first_byte = std::chrono::nanoseconds(1'234'999);
  record.bytes_in = 5;
  record.bytes_out = 18'000'000'000'000'000'000U;
  record.client_leg = {.known = true, .rtt_us = 1500, .retransmits = 4};
  record.backend_leg = {.known = true, .rtt_us = 0, .retransmits = 0};
  record.client = net::Endpoint::ipv4(0x0a000001, 5555);
  record.local = net::Endpoint::ipv6({0x20, 1}, 80);
  record.upstream = net::Endpoint::unix_socket("/run/app.sock").value();
  return record;
}

std::string line(Format format, const Record& record, const RecordNames& names = {"web", "pool", "b"}) {
  std::string out;
  append_line(out, format, record, names, kTime);
  return out;
}

}  // namespace

TEST_CASE("a line as JSON, exactly") {
  CHECK(line(Format::json, relayed()) ==
        R"({"time":"2026-01-02T03:04:05.678Z","id":"1.42.7","listener":"web","pool":"pool","backend":"b",)"
        R"("client":"10.0.0.1:5555","local":"[2001::]:80","upstream":"unix:/run/app.sock","attempts":2,)"
        R"("connect_ms":0.099,"first_byte_ms":1.234,"duration_ms":61234.000,"bytes_in":5,)"
        R"("bytes_out":18000000000000000000,"close_reason":"client_fin","path":"splice","client_rtt_ms":1.500,)"
        R"("client_retransmits":4,"backend_rtt_ms":null,"backend_retransmits":0})"
        "\n");
}

TEST_CASE("a line as text, exactly; what is not known is a dash") {
  Record record;
  record.close_reason = "denied";
  record.client = net::Endpoint::ipv4(0x0a000001, 5555);
  CHECK(line(Format::text, record) ==
        "time=2026-01-02T03:04:05.678Z id=- listener=web pool=pool backend=- client=10.0.0.1:5555 local=- upstream=- "
        "attempts=0 connect_ms=- first_byte_ms=- duration_ms=0.000 bytes_in=0 bytes_out=0 close_reason=denied path=- "
        "client_rtt_ms=- client_retransmits=- backend_rtt_ms=- backend_retransmits=-\n");
}

TEST_CASE("what is not known is null") {
  Record record;
  const auto json = nlohmann::json::parse(line(Format::json, record));
  for (const char* key : {"id", "backend", "client", "local", "upstream", "connect_ms", "first_byte_ms", "path",
                          "client_rtt_ms", "client_retransmits", "backend_rtt_ms", "backend_retransmits"}) {
    CHECK_MESSAGE(json.at(key).is_null(), key);
  }
}

TEST_CASE("hostile names stay what they are, on one line") {
  const std::string hostile = "a\"b\\c\nd\x1b[31m\xff =,{}\xc2\x9b";
  for (const std::string& name : {hostile, std::string(300, '"'), std::string("\0x", 2), std::string()}) {
    const std::string json = line(Format::json, relayed(), {name, name, name});
    CHECK(json.find('\n') == json.size() - 1);
    CHECK(json.find('\x1b') == std::string::npos);
    const auto parsed = nlohmann::json::parse(json);  // throws for bytes that are not UTF-8
    CHECK(parsed.size() == 20);
    if (name.find('\xff') == std::string::npos) CHECK(parsed.at("listener") == name);
    const std::string text = line(Format::text, relayed(), {name, name, name});
    CHECK(text.find('\n') == text.size() - 1);
    CHECK(text.find('\x1b') == std::string::npos);
  }
  CHECK(line(Format::text, relayed(), {"two words", "p", "b"}).find(" listener=\"two words\" pool=p ") !=
        std::string::npos);
}

TEST_CASE("the id of a session") {
  Record record = relayed();
  record.udp = true;
  CHECK(nlohmann::json::parse(line(Format::json, record)).at("id") == "u1.42.7");
}

}  // namespace millrace::accesslog::test
