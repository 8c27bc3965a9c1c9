#include "suggest.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::config {
namespace {

TEST_CASE("edits are insert, delete, replace and swap") {
  CHECK(edit_distance("", "", 9) == 0);
  CHECK(edit_distance("abc", "abc", 9) == 0);
  CHECK(edit_distance("abc", "", 9) == 3);
  CHECK(edit_distance("abc", "abxc", 9) == 1);
  CHECK(edit_distance("abc", "ac", 9) == 1);
  CHECK(edit_distance("abc", "axc", 9) == 1);
  CHECK(edit_distance("abc", "acb", 9) == 1);
  CHECK(edit_distance("wieght", "weight", 9) == 1);
  CHECK(edit_distance("kitten", "sitting", 9) == 3);
  CHECK(edit_distance("ca", "abc", 9) == 3);  // the restricted distance: what was swapped is not edited again
}

TEST_CASE("a distance above the limit is the limit and one") {
  CHECK(edit_distance("kitten", "sitting", 2) == 3);
  CHECK(edit_distance("abcdef", "uvwxyz", 2) == 3);
  CHECK(edit_distance("a", "abcdefgh", 2) == 3);
}

std::string random_word(Rng& rng) {
  std::string word;
  for (auto left = rng.below(8); left > 0; --left) word += static_cast<char>('a' + rng.below(3));
  return word;
}

TEST_CASE("the distance is symmetric, and 0 only for equals") {
  Rng rng(2);
  for (int i = 0; i < 3000; ++i) {
    const std::string a = random_word(rng);
    const std::string b = random_word(rng);
    CAPTURE(a);
    CAPTURE(b);
    const std::size_t there = edit_distance(a, b, 20);
    CHECK(there == edit_distance(b, a, 20));
    CHECK((there == 0) == (a == b));
    CHECK(edit_distance(a, b, 2) == std::min<std::size_t>(there, 3));
  }
}

TEST_CASE("the nearest candidate is suggested") {
  const std::vector<std::string_view> keys = {"bind", "pool", "max_connections", "max_connections_per_ip", "backlog"};
  CHECK(suggest("bnid", keys) == "bind");
  CHECK(suggest("BIND", keys) == "bind");
  CHECK(suggest("max-connections", keys) == "max_connections");
  CHECK(suggest("max_conections", keys) == "max_connections");
  CHECK(suggest("poool", keys) == "pool");
  CHECK_FALSE(suggest("timeout", keys).has_value());
  CHECK_FALSE(suggest("", keys).has_value());
  CHECK_FALSE(suggest("bind", {}).has_value());
}

TEST_CASE("short words are not stretched to any candidate") {
  CHECK_FALSE(suggest("ab", {"cd"}).has_value());
  CHECK_FALSE(suggest("tls", {"tcp"}).has_value());
  CHECK_FALSE(suggest("http", {"tcp"}).has_value());
  CHECK(suggest("tpc", {"tcp"}) == "tcp");
  CHECK(suggest("rolund_robin", {"round_robin"}) == "round_robin");
  CHECK(suggest("rolund_robbin", {"round_robin"}) == "round_robin");
  CHECK_FALSE(suggest("rolund_robbinn", {"round_robin"}).has_value());
}

TEST_CASE("the beginning of a word is enough") {
  CHECK(suggest("max_conn", {"max_connections_per_ip", "max_connections"}) == "max_connections");
  CHECK(suggest("addr", {"name", "address"}) == "address");
  CHECK(suggest("time", {"type", "timeout"}) == "timeout");
  CHECK_FALSE(suggest("ad", {"name", "address"}).has_value());
}

TEST_CASE("absurdly long words have no suggestion and cost nothing") {
  CHECK_FALSE(suggest(std::string(10'000'000, 'a'), {"address"}).has_value());
}

TEST_CASE("among very many candidates nothing is suggested") {
  CHECK(suggest("pool", std::vector<std::string_view>(1000, "pool1")) == "pool1");
  CHECK_FALSE(suggest("pool", std::vector<std::string_view>(1001, "pool1")).has_value());
}

TEST_CASE("the question is left out when there is none") {
  CHECK(did_you_mean("bind") == ", did you mean \"bind\"?");
  CHECK(did_you_mean(std::nullopt).empty());
}

}  // namespace
}  // namespace millrace::config
