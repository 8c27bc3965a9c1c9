#include "text.hpp"

#include <doctest/doctest.h>

#include <string>

namespace millrace::config {
namespace {

using namespace std::string_literals;

TEST_CASE("well-formed UTF-8 is told from the rest") {
  for (const auto& good : {""s, "abc"s, "\x7f"s, "\xc2\x80"s, "\xdf\xbf"s, "\xe0\xa0\x80"s, "\xed\x9f\xbf"s,
                           "\xef\xbf\xbf"s, "\xf0\x90\x80\x80"s, "\xf4\x8f\xbf\xbf"s, "a\xc3\xa4z"s, "\0"s}) {
    CAPTURE(good);
    CHECK(is_utf8(good));
  }
  for (const auto& bad :
       {"\x80"s, "\xc0\xaf"s, "\xc1\xbf"s, "\xc3"s, "\xc3("s, "\xe0\x80\x80"s, "\xe2\x82"s, "\xed\xa0\x80"s,
        "\xf0\x80\x80\x80"s, "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "a\xff"s, "\xf0\x90\x80"s}) {
    CHECK_FALSE(is_utf8(bad));
  }
}

TEST_CASE("control characters never come through") {
  CHECK(toml_string("a\"b\\c") == R"("a\"b\\c")");
  CHECK(toml_string("\n\r\t") == R"("\n\r\t")");
  CHECK(toml_string("\x1b[31m\x7f\0"s) == R"("\u001B[31m\u007F\u0000")");
  CHECK(toml_string("\xc2\x9b") == R"("\u009B")");
  CHECK(toml_string("\xc3\xa4") == "\"\xc3\xa4\"");
  CHECK(toml_string("a\xff") == "\"a\xef\xbf\xbd\"");
  CHECK(printable("say \"\x1b\"") == R"(say "\u001B")");
}

TEST_CASE("keys are bare where they can be") {
  CHECK(toml_key("a-B_9") == "a-B_9");
  CHECK(toml_key("") == "\"\"");
  CHECK(toml_key("a.b") == "\"a.b\"");
  CHECK(toml_key("\xc3\xa4") == "\"\xc3\xa4\"");
}

TEST_CASE("long text is cut, between characters") {
  CHECK(quoted(std::string(80, 'a')) == '"' + std::string(80, 'a') + '"');
  CHECK(quoted(std::string(81, 'a')) == '"' + std::string(80, 'a') + "…\"");
  CHECK(quoted(std::string(79, 'a') + "\xc3\xa4" + "b") == '"' + std::string(79, 'a') + "…\"");
}

}  // namespace
}  // namespace millrace::config
