#include "values.hpp"

#include <doctest/doctest.h>

namespace millrace::importer {
namespace {

TEST_CASE("durations of other programs") {
  CHECK(parse_duration("5s", 1) == "\"5s\"");
  CHECK(parse_duration("5000", 1) == "\"5s\"");
  CHECK(parse_duration("10", 1000) == "\"10s\"");
  CHECK(parse_duration("1m30s", 1) == "\"90s\"");
  CHECK(parse_duration("1h 30m", 1000) == "\"90m\"");
  CHECK(parse_duration("1.5s", 1) == "\"1500ms\"");
  CHECK(parse_duration("500us", 1) == "\"1ms\"");
  CHECK(parse_duration("1d", 1) == "\"24h\"");
  CHECK(parse_duration("0", 1) == "\"0s\"");
  for (const char* text : {"", "s", "5x", "5 parsecs", "-1s", "1..5s", "99999999d", "999999999999999999999s"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_duration(text, 1).has_value());
  }
}

TEST_CASE("addresses to listen on") {
  CHECK(listen_address("80", "0.0.0.0") == "0.0.0.0:80");
  CHECK(listen_address(":80", "*") == "*:80");
  CHECK(listen_address("*:80", "0.0.0.0") == "0.0.0.0:80");
  CHECK(listen_address("/run/x", "*") == "unix:/run/x");
  CHECK(listen_address("[::1]:80", "*") == "[::1]:80");
}

TEST_CASE("text in quotes is TOML whatever it is") {
  CHECK(toml_quoted("a\"b\\c\n\xff") == "\"a\\\"b\\\\c\\u000A?\"");
  CHECK(toml_key("a-b_1") == "a-b_1");
  CHECK(toml_key("a.b") == "\"a.b\"");
}

}  // namespace
}  // namespace millrace::importer
