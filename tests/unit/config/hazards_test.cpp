#include "hazards.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {
namespace {

TEST_CASE("keys of up to eight parts pass") {
  for (const char* text :
       {"", "a = 1", "[a.b.c.d.e.f.g.h]\na.b.c.d.e.f.g.h = 1", "x = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5]",
        "x = \"1.2.3.4.5.6.7.8.9.10\"", "# 1.2.3.4.5.6.7.8.9.10\nx = 1", "x = '''\n1.2.3.4.5.6.7.8.9.10'''",
        "x = \"\\\".1.2.3.4.5.6.7.8.9.10\"", "x = \"\"\"1.2.3.4.5.6.7.8.9\"\"\"\"\"\ny = 1",
        "x = '\\'\na.b = 1 # 'a.b.c.d.e.f.g.h.i"}) {
    CAPTURE(text);
    CHECK_FALSE(find_hazard(text).has_value());
  }
}

Position too_deep_at(std::string_view text) {
  const auto hazard = find_hazard(text);
  REQUIRE(hazard.has_value());
  CHECK(hazard->message == "this key has more than 8 parts");
  return hazard->position;
}

TEST_CASE("longer ones are found where they become too long") {
  CHECK(too_deep_at("a.b.c.d.e.f.g.h.i = 1") == Position{1, 16});
  CHECK(too_deep_at("x = 1\n[a.b.c.d.e.f.g.h.i]") == Position{2, 17});
  CHECK(too_deep_at("x = { a . b . c . d . e . f . g . h . i = 1 }") == Position{1, 37});
  CHECK(too_deep_at("\"=\".\",\".\"[\".'{'.'#'.f.g.h.i = 1") == Position{1, 26});
  CHECK(too_deep_at("'\xc3\xa4'.b.c.d.e.f.g.h.i = 1") == Position{1, 18});
  CHECK(too_deep_at("x = \"a\\\\\"\na.b.c.d.e.f.g.h.i = 1") == Position{2, 16});
}

TEST_CASE("characters beyond ASCII belong in strings and comments") {
  for (const char* text : {"x = \"\xc3\xa4\"", "x = '\xef\xbb\x8a'", "# \xc3\xa4\nx = 1", "x = \"\"\"\n\xc3\xa4\"\"\"",
                           "'\xc3\xa4' = 1", "\xef\xbb\xbfx = 1"}) {
    CAPTURE(text);
    CHECK_FALSE(find_hazard(text).has_value());
  }
  const auto check_problem = [](const char* text, Position position, const std::string& message) {
    CAPTURE(text);
    const auto hazard = find_hazard(text);
    REQUIRE(hazard.has_value());
    CHECK(hazard->position == position);
    CHECK(hazard->message == "syntax error: " + message);
  };
  const auto check_stray = [&](const char* text, Position position, const char* character) {
    check_problem(text, position, "\"" + std::string(character) + "\" stands outside of quotes (plain ones, \" or ')");
  };
  check_stray("b\xc3\xa4nd = 1", {1, 2}, "\xc3\xa4");
  check_stray("x = 1\nbind = \xe2\x80\x9c*:80\xe2\x80\x9d", {2, 8}, "\xe2\x80\x9c");  // from a word processor
  check_stray("x = 1\xef\xbb\x8a", {1, 6}, "\xef\xbb\x8a");
  check_stray("\xef\xbb\xbfx = \xc3\xa4", {1, 5}, "\xc3\xa4");
  check_problem("x = 1 \xef\xbb\xbf", {1, 7},
                "U+FEFF (a byte order mark) stands outside of quotes; remove it, or write a plain space");
  check_problem("x =\xc2\xa0 1", {1, 4},
                "U+00A0 (a no-break space) stands outside of quotes; remove it, or write a plain space");
  check_problem("x = \xff", {1, 5}, "the byte 0xFF is not UTF-8, save the file as UTF-8");
  check_problem("# x\n# \xe2\x82", {2, 3}, "the byte 0xE2 is not UTF-8, save the file as UTF-8");
}

std::string repeated(const char* part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

TEST_CASE("what would overrun the stack of the library is refused") {
  CHECK(parse("[a" + repeated(".a", 500'000) + "]").diagnostics.size() == 1);
  CHECK(parse("a" + repeated(".a", 500'000) + " = 1").diagnostics.size() == 1);
  CHECK(parse("a = " + repeated("[", 500'000)).diagnostics.size() == 1);
  CHECK(parse("a = " + repeated("{a.a.a.a.a.a.a.a = ", 100'000)).diagnostics.size() == 1);
  const std::string deepest =  // as deep as the library and the guard together allow
      "a = " + repeated("{a.a.a.a.a.a.a.a = ", 250) + "1" + repeated("}", 250);
  CHECK_FALSE(parse(deepest).diagnostics.empty());
}

}  // namespace
}  // namespace millrace::config
