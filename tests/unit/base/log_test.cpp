#include "millrace/base/log.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace log = millrace::log;
using log::Format;
using log::Level;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kTime = 1767323045678;  // 2026-01-02T03:04:05.678Z

std::string text_value(log::Field::Value value) {
  log::Field field("k", "");
  field.value = value;
  const std::string line = log::render(Format::text, Level::info, 0, "e", {field});
  return line.substr(line.find("k=") + 2);
}

std::string json_value(log::Field::Value value) {
  log::Field field("k", "");
  field.value = value;
  const std::string line = log::render(Format::json, Level::info, 0, "e", {field});
  const std::size_t start = line.find("\"k\":") + 4;
  return line.substr(start, line.size() - start - 1);
}

/// Puts a pipe in the place of stderr.
class StderrPipe {
 public:
  StderrPipe() : saved_(::dup(STDERR_FILENO)) {
    std::array<int, 2> ends{};
    REQUIRE(saved_ >= 0);
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    read_end_ = ends[0];
    REQUIRE(::dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    ::close(ends[1]);
  }
  ~StderrPipe() {
    restore();
    close_read_end();
  }
  StderrPipe(const StderrPipe&) = delete;
  StderrPipe& operator=(const StderrPipe&) = delete;

  /// Ends the pipe for the reader.
  void restore() {
    if (saved_ < 0) return;
    ::dup2(saved_, STDERR_FILENO);
    ::close(saved_);
    saved_ = -1;
  }
  void close_read_end() {
    if (read_end_ >= 0) ::close(read_end_);
    read_end_ = -1;
  }
  /// All lines up to the end of the pipe.
  std::vector<std::string> read_lines() {
    std::vector<std::string> lines(1);
    std::array<char, 4096> buffer{};
    ssize_t got = 0;
    while ((got = ::read(read_end_, buffer.data(), buffer.size())) > 0) {
      for (const char c : std::string_view(buffer.data(), static_cast<std::size_t>(got))) {
        if (c == '\n') {
          lines.emplace_back();
        } else {
          lines.back() += c;
        }
      }
    }
    CHECK(lines.back().empty());  // every line is a whole one
    lines.pop_back();
    return lines;
  }

 private:
  int saved_;
  int read_end_ = -1;
};

std::uint64_t number_after(const std::string& line, std::string_view key) {
  const std::size_t at = line.find(key);
  return at == std::string::npos ? 0 : std::stoull(line.substr(at + key.size()));
}

}  // namespace

TEST_CASE("log: a line of text") {
  CHECK(log::render(Format::text, Level::info, kTime, "ready", {{"workers", 2}, {"address", "*:80"}}) ==
        R"(2026-01-02T03:04:05.678Z info ready workers=2 address="*:80")");
  CHECK(log::render(Format::text, Level::error, kTime, "stopped", {}) == "2026-01-02T03:04:05.678Z error stopped");
}

TEST_CASE("log: a line of JSON") {
  CHECK(log::render(Format::json, Level::info, kTime, "ready", {{"workers", 2}, {"address", "*:80"}}) ==
        R"({"time":"2026-01-02T03:04:05.678Z","level":"info","event":"ready","workers":2,"address":"*:80"})");
  CHECK(log::render(Format::json, Level::warn, kTime, "x", {}) ==
        R"({"time":"2026-01-02T03:04:05.678Z","level":"warn","event":"x"})");
}

TEST_CASE("log: times are UTC with milliseconds") {
  const auto time_of = [](std::int64_t unix_ms) {
    return log::render(Format::text, Level::debug, unix_ms, "e", {}).substr(0, 24);
  };
  CHECK(time_of(0) == "1970-01-01T00:00:00.000Z");
  CHECK(time_of(-1) == "1969-12-31T23:59:59.999Z");
  CHECK(time_of(951782399999) == "2000-02-28T23:59:59.999Z");
  CHECK(time_of(951782400000) == "2000-02-29T00:00:00.000Z");
  CHECK(time_of(4102444800007) == "2100-01-01T00:00:00.007Z");
}

TEST_CASE("log: levels by name") {
  const auto level_of = [](Level level) { return log::render(Format::text, level, 0, "e", {}).substr(25); };
  CHECK(level_of(Level::error) == "error e");
  CHECK(level_of(Level::warn) == "warn e");
  CHECK(level_of(Level::info) == "info e");
  CHECK(level_of(Level::debug) == "debug e");
}

TEST_CASE("log: numbers and truth") {
  using limits = std::numeric_limits<std::int64_t>;
  for (const auto& value_of : {text_value, json_value}) {
    CHECK(value_of(limits::min()) == "-9223372036854775808");
    CHECK(value_of(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
    CHECK(value_of(true) == "true");
    CHECK(value_of(false) == "false");
    CHECK(value_of(0.1) == "0.1");
    CHECK(value_of(123456.789) == "123456.789");
    CHECK(value_of(1.0) == "1");
    CHECK(value_of(-std::numeric_limits<double>::max()) == "-1.7976931348623157e+308");
    CHECK(value_of(-2.5e-9) == "-2.5e-09");
  }
  CHECK(text_value(std::numeric_limits<double>::infinity()) == "inf");
  CHECK(json_value(std::numeric_limits<double>::infinity()) == "null");
  CHECK(json_value(std::numeric_limits<double>::quiet_NaN()) == "null");
}

TEST_CASE("log: fields keep the kind of their argument") {
  const std::string line = log::render(Format::json, Level::info, 0, "e",
                                       {{"a", static_cast<short>(-1)},
                                        {"b", static_cast<unsigned char>(200)},
                                        {"c", std::string("s")},
                                        {"d", "literal"},
                                        {"e", true},
                                        {"f", 1.5}});
  CHECK(line.substr(line.find("\"a\"")) == R"("a":-1,"b":200,"c":"s","d":"literal","e":true,"f":1.5})");
}

TEST_CASE("log: text values are quoted only when they need it") {
  CHECK(text_value("10.0.0.1:80") == "10.0.0.1:80");
  CHECK(text_value("/run/app_1.sock") == "/run/app_1.sock");
  CHECK(text_value("*:80") == R"("*:80")");
  CHECK(text_value("") == R"("")");
  CHECK(text_value("two words") == R"("two words")");
  CHECK(text_value("a=b") == R"("a=b")");
  CHECK(text_value("say \"no\"") == R"("say \"no\"")");
  CHECK(text_value("a\\b") == R"("a\\b")");
  CHECK(text_value("line\nbreak") == R"("line\nbreak")");
  CHECK(text_value("\x1b[31mred") == R"("\u001b[31mred")");
  CHECK(text_value("\xc3\xbc") == "\"\xc3\xbc\"");
}

TEST_CASE("log: JSON strings are escaped") {
  CHECK(json_value("plain") == R"("plain")");
  CHECK(json_value("\"\\/") == R"("\"\\/")");
  CHECK(json_value("\b\f\n\r\t") == R"("\b\f\n\r\t")");
  CHECK(json_value(std::string_view("\0\x01\x1f\x7f", 4)) == R"("\u0000\u0001\u001f\u007f")");
  CHECK(json_value("\xc2\x9b") == R"("\u009b")");  // CSI as one character
  CHECK(json_value("\xc2\xa0") == "\"\xc2\xa0\"");
  CHECK(log::render(Format::json, Level::info, 0, "a\"b", {{"k\n", 1}}).substr(50) == R"("event":"a\"b","k\n":1})");
}

TEST_CASE("log: UTF-8 passes, anything else becomes U+FFFD") {
  const std::string bad = "\xef\xbf\xbd";
  const auto quoted = [](const std::string& inner) { return '"' + inner + '"'; };
  // Shortest and longest of each length, around the surrogates, and the last character of all.
  for (const char* good : {"\xc2\xa9", "\xdf\xbf", "\xe0\xa0\x80", "\xe2\x82\xac", "\xed\x9f\xbf", "\xee\x80\x80",
                           "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(json_value(good) == quoted(good));
  }
  CHECK(json_value("a\xff"
                   "b") == quoted("a" + bad + "b"));
  CHECK(json_value("\x80") == quoted(bad));
  CHECK(json_value("\xc0\xaf") == quoted(bad + bad));                      // overlong '/'
  CHECK(json_value("\xe0\x80\xaf") == quoted(bad + bad + bad));            // overlong
  CHECK(json_value("\xed\xa0\x80") == quoted(bad + bad + bad));            // surrogate
  CHECK(json_value("\xf4\x90\x80\x80") == quoted(bad + bad + bad + bad));  // above U+10FFFF
  CHECK(json_value("\xf5\x80") == quoted(bad + bad));
  CHECK(json_value("\xe2\x82") == quoted(bad));  // cut off at the end
  CHECK(json_value("\xf0\x9f\x98") == quoted(bad));
  CHECK(json_value("\xe2\x82\"") == quoted(bad + "\\\""));  // cut off before a quote, which stays
  CHECK(json_value("\xc3\x0a") == quoted(bad + "\\n"));
}

TEST_CASE("log: before start, lines are written at once, as text at level info") {
  StderrPipe pipe;
  CHECK(log::enabled(Level::info));
  CHECK_FALSE(log::enabled(Level::debug));
  log::info("early", {{"n", 1}});
  log::debug("unwanted");
  pipe.restore();
  const std::vector<std::string> lines = pipe.read_lines();
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].substr(24) == " info early n=1");
}

TEST_CASE("log: stop writes out what is queued; later lines are written at once") {
  StderrPipe pipe;
  log::start(Level::warn, Format::text);
  for (int i = 0; i < 100; ++i) log::warn("line", {{"n", i}});
  log::info("unwanted");
  log::stop();
  log::error("late");
  log::stop();  // nothing to stop
  pipe.restore();
  const std::vector<std::string> lines = pipe.read_lines();
  REQUIRE(lines.size() == 101);
  for (std::size_t i = 0; i < 100; ++i) CHECK(lines[i].substr(24) == " warn line n=" + std::to_string(i));
  CHECK(lines[100].substr(24) == " error late");
}

TEST_CASE("log: several threads at once, no line lost or torn") {
  StderrPipe pipe;
  log::start(Level::debug, Format::json);
  std::vector<std::string> lines;
  std::thread reader([&] { lines = pipe.read_lines(); });
  std::vector<std::thread> writers;
  for (int who = 0; who < 4; ++who) {
    writers.emplace_back([who] {
      for (int i = 0; i < 500; ++i) log::debug("line", {{"who", who}, {"n", i}});
    });
  }
  for (std::thread& each : writers) each.join();
  log::stop(1min);
  pipe.restore();
  reader.join();
  CHECK(lines.size() == 2000);
  std::array<std::uint64_t, 4> next{};
  for (const std::string& line : lines) {
    REQUIRE(line.front() == '{');
    REQUIRE(line.back() == '}');
    const std::uint64_t who = number_after(line, "\"who\":");
    REQUIRE(who < next.size());
    CHECK(number_after(line, "\"n\":") == next[who]++);
  }
}

TEST_CASE("log: a reader that does not read blocks nobody, and what was dropped is told") {
  constexpr std::uint64_t kLines = 20000;
  StderrPipe pipe;
  log::start(Level::error, Format::text);
  for (std::uint64_t i = 0; i < kLines; ++i) log::error("line", {{"n", i}});
  std::vector<std::string> lines;
  std::thread reader([&] { lines = pipe.read_lines(); });
  log::stop(1min);
  pipe.restore();
  reader.join();

  std::uint64_t written = 0;
  std::uint64_t dropped = 0;
  std::uint64_t next = 0;
  for (const std::string& line : lines) {
    if (line.find(" warn log_lines_dropped ") != std::string::npos) {
      dropped += number_after(line, "count=");
      continue;
    }
    ++written;
    const std::uint64_t n = number_after(line, "n=");
    CHECK(n >= next);
    next = n + 1;
  }
  CHECK(dropped > 0);
  CHECK(written + dropped == kLines);
  CHECK(next == kLines);  // the newest are kept
}

TEST_CASE("log: stop does not wait for a reader that never comes") {
  StderrPipe pipe;
  log::start(Level::info, Format::text);
  for (int i = 0; i < 10000; ++i) log::info("line", {{"n", i}});
  log::stop(0ms);
}

TEST_CASE("log: a reader that has gone away does no harm") {
  StderrPipe pipe;
  log::start(Level::info, Format::text);
  pipe.close_read_end();
  for (int i = 0; i < 10; ++i) log::info("line", {{"n", i}});
  log::stop();
}
