#include "access.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string_view>
#include <vector>

#include "millrace/net/cidr.hpp"

namespace millrace::worker {

namespace {

using Texts = std::initializer_list<std::string_view>;

const Instant kNow{Nanos(1'000'000'000'000)};

net::IpEndpoint client(std::string_view address) {
  return net::IpEndpoint::from(net::parse_address(address).value().endpoint);
}

net::CidrSet networks(Texts texts) {
  std::vector<net::Cidr> list;
  for (const std::string_view text : texts) list.push_back(net::Cidr::parse(text).value());
  return net::CidrSet(list);
}

pool::Snapshot one_listener(Texts allow, Texts deny) {
  pool::Snapshot snapshot;
  pool::Listener& listener = snapshot.listeners.emplace_back();
  listener.allow = networks(allow);
  listener.deny = networks(deny);
  return snapshot;
}

bool enters(Access& access, const net::IpEndpoint& from) {
  const Access::Entry entry = access.enter(0, from, kNow);
  if (entry.refusal) CHECK(*entry.refusal == Refusal::denied);
  return !entry.refusal.has_value();
}

}  // namespace

TEST_CASE("Access: a listener that asks for nothing need not be asked") {
  pool::Snapshot snapshot = one_listener({}, {});
  snapshot.listeners.push_back(one_listener({}, {"10.0.0.0/8"}).listeners[0]);
  snapshot.listeners.push_back(one_listener({"10.0.0.0/8"}, {}).listeners[0]);
  const Access access(snapshot, nullptr);
  CHECK_FALSE(access.guards(0));
  CHECK(access.guards(1));
  CHECK(access.guards(2));
}

TEST_CASE("Access: allow, deny, both, and clients on unix sockets") {
  const net::IpEndpoint local;
  SUBCASE("deny only") {
    const pool::Snapshot snapshot = one_listener({}, {"10.0.0.0/8"});
    Access access(snapshot, nullptr);
    CHECK_FALSE(enters(access, client("10.0.0.1:1")));
    CHECK_FALSE(enters(access, client("[::ffff:10.0.0.1]:1")));
    CHECK(enters(access, client("11.0.0.1:1")));
    CHECK(enters(access, client("[::1]:1")));
    CHECK(enters(access, local));
  }
  SUBCASE("allow only") {
    const pool::Snapshot snapshot = one_listener({"10.0.0.0/8", "::1"}, {});
    Access access(snapshot, nullptr);
    CHECK(enters(access, client("10.0.0.1:1")));
    CHECK(enters(access, client("[::1]:1")));
    CHECK_FALSE(enters(access, client("11.0.0.1:1")));
    CHECK_FALSE(enters(access, client("[::2]:1")));
    CHECK_FALSE(enters(access, local));
  }
  SUBCASE("both: deny wins, wider or narrower") {
    const pool::Snapshot snapshot = one_listener({"10.0.0.0/8", "192.0.2.1"}, {"10.1.0.0/16", "192.0.2.0/24"});
    Access access(snapshot, nullptr);
    CHECK(enters(access, client("10.0.0.1:1")));
    CHECK_FALSE(enters(access, client("10.1.0.1:1")));
    CHECK_FALSE(enters(access, client("192.0.2.1:1")));
    CHECK_FALSE(enters(access, local));
  }
  SUBCASE("everybody of both families") {
    const pool::Snapshot snapshot = one_listener({"0.0.0.0/0", "::/0"}, {});
    Access access(snapshot, nullptr);
    CHECK(enters(access, client("10.0.0.1:1")));
    CHECK(enters(access, client("[::2]:1")));
    CHECK_FALSE(enters(access, local));
  }
}

TEST_CASE("Access: who is denied is not counted; who is over a limit is told apart") {
  pool::Snapshot snapshot = one_listener({}, {"10.0.0.2"});
  snapshot.listeners[0].max_connections_per_ip = 2;
  snapshot.listeners[0].connection_rate_per_ip = 3;
  const std::vector<SourceLimits::Rule> rules = {{.connections = 2, .rate = 3, .connections_max = 100}};
  SourceLimits limits(rules, 1);
  Access access(snapshot, &limits);
  CHECK(access.guards(0));
  for (int i = 0; i < 5; ++i) CHECK(access.enter(0, client("10.0.0.2:1"), kNow).refusal == Refusal::denied);
  CHECK(limits.counted() == 0);
  const Access::Entry first = access.enter(0, client("10.0.0.1:1"), kNow);
  const Access::Entry second = access.enter(0, client("10.0.0.1:2"), kNow);
  REQUIRE_FALSE(first.refusal.has_value());
  REQUIRE_FALSE(second.refusal.has_value());
  CHECK(access.enter(0, client("10.0.0.1:3"), kNow).refusal == Refusal::source_limit);
  access.leave(0, first.hold);
  const Access::Entry third = access.enter(0, client("10.0.0.1:3"), kNow);
  REQUIRE_FALSE(third.refusal.has_value());
  access.leave(0, second.hold);
  CHECK(access.enter(0, client("10.0.0.1:4"), kNow).refusal == Refusal::rate_limit);
  CHECK(limits.counted() == 1);
  access.leave(0, third.hold);
  CHECK(limits.counted() == 0);
}

}  // namespace millrace::worker
