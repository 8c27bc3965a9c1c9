#include "duration.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "millrace/base/rng.hpp"

namespace millrace::config {
namespace {

using namespace std::chrono_literals;

void check_value(const char* text, Nanos expected) {
  CAPTURE(text);
  const Result<Nanos> parsed = parse_duration(text);
  REQUIRE(parsed.ok());
  CHECK(parsed.value() == expected);
}

void check_error(const char* text, const char* expected) {
  CAPTURE(text);
  const Result<Nanos> parsed = parse_duration(text);
  REQUIRE_FALSE(parsed.ok());
  CHECK(parsed.error() == expected);
}

TEST_CASE("durations have a unit") {
  check_value("250ms", 250ms);
  check_value("0s", 0s);
  check_value("0ms", 0s);
  check_value("2s", 2s);
  check_value("5m", 5min);
  check_value("1h", 1h);
  check_value("7d", 168h);
  check_value("007s", 7s);
}

TEST_CASE("durations may have several units, from large to small") {
  check_value("1m30s", 90s);
  check_value("1d2h3m4s5ms", 26h + 3min + 4s + 5ms);
  check_value("1h1ms", 1h + 1ms);
  check_value("90m", 90min);
  check_error("1s1m", "the units of \"1s1m\" must go from large to small, each once");
  check_error("1s1s", "the units of \"1s1s\" must go from large to small, each once");
}

TEST_CASE("what is no duration says why") {
  check_error("", "a duration is missing, write for example \"5s\"");
  check_error("5", "\"5\" has no unit, write \"5s\"");
  check_error("1m30", "\"1m30\" has no unit, write \"1m30s\"");
  check_error("-5s", "\"-5s\" is negative, a duration cannot be");
  check_error("1.5s", "\"1.5s\" has a fraction, use whole numbers: \"1500ms\"");
  check_error("5S", "unknown unit \"S\" in \"5S\", write \"s\"");
  check_error("5us", "unknown unit \"us\" in \"5us\", use ms, s, m, h or d");
  check_error("5sec", "unknown unit \"sec\" in \"5sec\", write \"s\"");
  check_error("5min", "unknown unit \"min\" in \"5min\", write \"m\"");
  check_error("5M", "unknown unit \"M\" in \"5M\", use ms, s, m, h or d");
  check_error("5 s", "\"5 s\" has a space, remove it");
  check_error(" 5s", "\" 5s\" has a space, remove it");
  check_error("5s ", "\"5s \" has a space, remove it");
  for (const char* text : {"s", "ms5", "+5s", "5s;", "\xc2\xb5s", "5\xc2\xb5s", "5s\n"}) {
    CAPTURE(text);
    const Result<Nanos> parsed = parse_duration(text);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error().find("is not a duration") != std::string::npos);
  }
}

TEST_CASE("durations never overflow") {
  check_value("3650d", kDurationMax);
  check_value("315360000000ms", kDurationMax);
  check_value("3649d24h", kDurationMax);
  check_error("3651d", "\"3651d\" is too long, the most is 3650d");
  check_error("3650d1ms", "\"3650d1ms\" is too long, the most is 3650d");
  check_error("315360000001ms", "\"315360000001ms\" is too long, the most is 3650d");
  check_error("9223372036854775807ms", "\"9223372036854775807ms\" is too long, the most is 3650d");
  check_error("18446744073709551617d", "\"18446744073709551617d\" is too long, the most is 3650d");
  check_error("99999999999999999999999999999999h",
              "\"99999999999999999999999999999999h\" is too long, the most is 3650d");
  // Long enough to overflow anything, and too long to repeat.
  const std::string digits(100'000, '9');
  CHECK(parse_duration(digits + "s").error().size() < 200);
  CHECK(parse_duration(digits).error().size() < 300);
}

TEST_CASE("durations are written in the largest unit without a rest") {
  CHECK(format_duration(Nanos(0)) == "0s");
  CHECK(format_duration(1500ms) == "1500ms");
  CHECK(format_duration(90s) == "90s");
  CHECK(format_duration(60s) == "1m");
  CHECK(format_duration(1h) == "1h");
  CHECK(format_duration(48h) == "2d");
  CHECK(format_duration(25h) == "25h");
  CHECK(format_duration(kDurationMax) == "3650d");
}

TEST_CASE("every duration reads back as written") {
  Rng rng(1);
  constexpr std::uint64_t kMost = kDurationMax / std::chrono::milliseconds(1);
  for (int i = 0; i < 2000; ++i) {
    const std::uint64_t bound = 1 + (kMost >> rng.below(38));
    const Nanos duration = std::chrono::milliseconds(static_cast<std::int64_t>(rng.below(bound)));
    check_value(format_duration(duration).c_str(), duration);
  }
}

}  // namespace
}  // namespace millrace::config
