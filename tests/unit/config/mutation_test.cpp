// Whatever is done to a good file: parse() gives a configuration that reads back, or diagnostics, and never dies.

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"
#include "random_config.hpp"
#include "text.hpp"

namespace millrace::config::test {
namespace {

constexpr std::array<std::string_view, 24> kPieces = {"\"",
                                                      "'",
                                                      "[",
                                                      "]",
                                                      "{",
                                                      "}",
                                                      "=",
                                                      ".",
                                                      ",",
                                                      "\n",
                                                      "#",
                                                      "\\",
                                                      "0",
                                                      "-",
                                                      "\xff",
                                                      "\"\"\"",
                                                      "[[",
                                                      "]]",
                                                      "inf",
                                                      "1979-05-27",
                                                      "[defaults.pool]\n",
                                                      "[listeners.x]\n",
                                                      "protocol = \"udp\"\n",
                                                      "health.type = \"udp\"\n"};

void mutate(std::string& text, Rng& rng) {
  const std::size_t at = rng.below(text.size() + 1);
  const std::size_t length = rng.below(text.size() - at + 1);
  switch (rng.below(6)) {
    case 0:  // one byte changed
      if (at < text.size()) text[at] = static_cast<char>(rng.next());
      break;
    case 1:  // something inserted
      text.insert(at, kPieces[rng.below(kPieces.size())]);
      break;
    case 2:  // a few bytes taken out
      text.erase(at, rng.below(12));
      break;
    case 3:  // a part twice
      text.insert(rng.below(text.size() + 1), text.substr(at, length % 200));
      break;
    case 4:  // two letters swapped, as fingers do
      if (at + 1 < text.size()) std::swap(text[at], text[at + 1]);
      break;
    default:  // cut off, sometimes
      if (rng.one_in(8)) text.resize(at);
      break;
  }
}

void check_outcome(const Loaded& loaded) {
  CHECK(loaded.config.has_value() == loaded.diagnostics.empty());
  for (const Diagnostic& d : loaded.diagnostics) {
    CHECK_FALSE(d.message.empty());
    CHECK(printable(d.message) == d.message);  // nothing that a terminal would obey
    CHECK((d.position.line == 0) == (d.position.column == 0));
  }
  for (std::size_t i = 1; i < loaded.diagnostics.size(); ++i) {
    const Position& a = loaded.diagnostics[i - 1].position;
    const Position& b = loaded.diagnostics[i].position;
    CHECK((a.line < b.line || (a.line == b.line && a.column <= b.column)));
    CHECK_FALSE(loaded.diagnostics[i - 1] == loaded.diagnostics[i]);
  }
  if (!loaded.config) return;
  const Loaded again = parse(to_toml(*loaded.config));
  REQUIRE(again.config.has_value());
  CHECK(*again.config == *loaded.config);
}

TEST_CASE("mutations of good files") {
  for (std::uint64_t seed = 1; seed <= 1500; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    std::string text = to_toml(random_config(rng));
    for (auto left = 1 + rng.below(4); left > 0; --left) mutate(text, rng);
    CAPTURE(text);
    check_outcome(parse(text));
  }
}

TEST_CASE("quick forms of any bytes") {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    QuickForm quick{{"*:80"}, {"10.0.0.1:80,weight=3,name=a,backup=true"}, "first"};
    mutate(quick.listen[0], rng);
    mutate(quick.backends[0], rng);
    if (rng.one_in(3)) mutate(quick.balance, rng);
    quick.udp = rng.one_in(2);
    check_outcome(from_quick_form(quick));
  }
}

}  // namespace
}  // namespace millrace::config::test
