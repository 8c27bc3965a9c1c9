#include "key_depth.hpp"

#include <doctest/doctest.h>

#include <string>

#include "millrace/config/config.hpp"

namespace millrace::config {
namespace {

TEST_CASE("keys of up to eight parts pass") {
  for (const char* text : {"", "a = 1", "[a.b.c.d.e.f.g.h]\na.b.c.d.e.f.g.h = 1",
                           "x = [1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, "
                           "8.5, 9.5]",
                           "x = \"1.2.3.4.5.6.7.8.9.10\"", "# 1.2.3.4.5.6.7.8.9.10\nx = 1",
                           "x = '''\n1.2.3.4.5.6.7.8.9.10'''", "x = \"\\\".1.2.3.4.5.6.7.8.9.10\"",
                           "x = \"\"\"1.2.3.4.5.6.7.8.9\"\"\"\"\"\ny = 1", "x = '\\'\na.b = 1 # 'a.b.c.d.e.f.g.h.i"}) {
    CAPTURE(text);
    CHECK_FALSE(find_too_deep_key(text).has_value());
  }
}

TEST_CASE("longer ones are found where they become too long") {
  CHECK(find_too_deep_key("a.b.c.d.e.f.g.h.i = 1") == Position{1, 16});
  CHECK(find_too_deep_key("x = 1\n[a.b.c.d.e.f.g.h.i]") == Position{2, 17});
  CHECK(find_too_deep_key("x = { a . b . c . d . e . f . g . h . i = 1 }") == Position{1, 37});
  CHECK(find_too_deep_key("\"=\".\",\".\"[\".'{'.'#'.f.g.h.i = 1") == Position{1, 26});
  CHECK(find_too_deep_key("'\xc3\xa4'.b.c.d.e.f.g.h.i = 1") == Position{1, 18});
  CHECK(find_too_deep_key("x = \"a\\\\\"\na.b.c.d.e.f.g.h.i = 1") == Position{2, 16});
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
