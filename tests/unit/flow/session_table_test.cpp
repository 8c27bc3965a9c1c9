#include "millrace/flow/session_table.hpp"

#include <doctest/doctest.h>

#include <map>
#include <string>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::flow {
namespace {

using std::chrono::seconds;

constexpr Instant kStart{seconds(1000)};

ClientKey client(std::uint32_t number, std::uint32_t socket = 0) {
  return {.client = net::IpEndpoint::ipv4(0x0a000000U + number / 60000, static_cast<std::uint16_t>(number % 60000)),
          .local = {},
          .socket = socket};
}

net::IpEndpoint backend(std::uint32_t number) {
  return net::IpEndpoint::ipv4(0x0a010000U + number, 53);
}

}  // namespace

TEST_CASE("SessionTable: a session is found by every part of its key, and by nothing else") {
  SessionTable table(16, 1, 7);
  ClientKey key = client(1);
  key.local = net::IpEndpoint::ipv4(0x7f000001, 0);
  UdpSession* session = table.open(key, 0, kStart);
  REQUIRE(session != nullptr);
  CHECK(table.find(key) == session);
  CHECK(table.find(session->id) == session);
  ClientKey other = key;
  other.local = net::IpEndpoint::ipv4(0x7f000002, 0);
  CHECK(table.find(other) == nullptr);
  other = key;
  other.local = {};
  CHECK(table.find(other) == nullptr);
  other = key;
  other.socket = 1;
  CHECK(table.find(other) == nullptr);
  other = key;
  other.client.set_port(2);
  CHECK(table.find(other) == nullptr);
  const SlotId id = session->id;
  table.close(*session);
  CHECK(table.find(key) == nullptr);
  CHECK(table.find(id) == nullptr);
  CHECK(table.size() == 0);
}

TEST_CASE("SessionTable: a reply is found by socket and backend") {
  SessionTable table(16, 1, 7);
  UdpSession* a = table.open(client(1), 0, kStart);
  UdpSession* b = table.open(client(2), 0, kStart);
  table.route(*a, 5, backend(1));
  table.route(*b, 5, backend(2));
  CHECK(table.find(5, backend(1)) == a);
  CHECK(table.find(5, backend(2)) == b);
  CHECK(table.find(6, backend(1)) == nullptr);
  table.unroute(*a);
  CHECK_FALSE(a->routed());
  CHECK(table.find(5, backend(1)) == nullptr);
  table.route(*a, 6, backend(1));
  CHECK(table.find(6, backend(1)) == a);
  table.unroute(*a);
  table.unroute(*b);
}

TEST_CASE("SessionTable: it holds no more than its capacity") {
  SessionTable table(3, 1, 7);
  for (std::uint32_t i = 0; i < 3; ++i) CHECK(table.open(client(i), 0, kStart) != nullptr);
  CHECK(table.open(client(3), 0, kStart) == nullptr);
  CHECK(table.find(client(3)) == nullptr);
  table.close(*table.find(client(1)));
  CHECK(table.open(client(3), 0, kStart) != nullptr);
}

TEST_CASE("SessionTable: sessions are idle in the order of their last activity, and never too early") {
  SessionTable table(16, 2, 7);
  const Nanos timeout = seconds(60);
  CHECK(table.next_idle(0, timeout) == kNever);
  UdpSession* first = table.open(client(1), 0, kStart);
  UdpSession* second = table.open(client(2), 0, kStart + seconds(1));
  CHECK(table.next_idle(0, timeout) == kStart + timeout);
  CHECK(table.next_idle(1, timeout) == kNever);
  CHECK(table.next_idle(0, Nanos(0)) == kNever);
  table.note_reply(*first, 1, kStart + seconds(30));
  CHECK(table.idle(0, timeout, kStart + seconds(60)) == nullptr);
  CHECK(table.idle(0, timeout, kStart + seconds(61)) == second);
  CHECK(table.idle(1, timeout, kStart + seconds(61)) == nullptr);
  table.close(*second);
  CHECK(table.idle(0, timeout, kStart + seconds(89)) == nullptr);
  CHECK(table.idle(0, timeout, kStart + seconds(90)) == first);
  CHECK(table.idle(0, Nanos(0), kStart + seconds(9999)) == nullptr);
}

TEST_CASE("SessionTable: only sessions whose client has sent one datagram can be evicted, the oldest first") {
  SessionTable table(16, 2, 7);
  UdpSession* talker = table.open(client(1), 0, kStart);
  table.note_request(*talker, 1, kStart);
  UdpSession* old = table.open(client(2), 0, kStart + seconds(1));
  table.note_request(*old, 1, kStart + seconds(1));
  UdpSession* young = table.open(client(3), 0, kStart + seconds(2));
  table.note_request(*young, 1, kStart + seconds(2));
  CHECK(table.evictable(0) == talker);
  table.note_request(*talker, 1, kStart + seconds(3));
  CHECK(table.evictable(0) == old);
  table.note_reply(*old, 1, kStart + seconds(4));  // younger by that
  CHECK(table.evictable(0) == young);
  CHECK(table.evictable(1) == nullptr);
  table.close(*young);
  table.close(*old);
  CHECK(table.evictable(0) == nullptr);
}

TEST_CASE("SessionTable: a client that comes with two datagrams at once is not a fresh one") {
  SessionTable table(16, 1, 7);
  table.note_request(*table.open(client(1), 0, kStart), 2, kStart);
  CHECK(table.evictable(0) == nullptr);
}

TEST_CASE("SessionTable: a reply ends the wait, and the count of failures") {
  SessionTable table(4, 1, 7);
  UdpSession* session = table.open(client(1), 0, kStart);
  table.note_request(*session, 3, kStart);
  CHECK(session->awaits_reply);
  session->failures = 2;
  table.note_reply(*session, 1, kStart);
  CHECK_FALSE(session->awaits_reply);
  CHECK(session->failures == 0);
  CHECK(session->requests == 3);
  CHECK(session->replies == 1);
}

TEST_CASE("SessionTable: against a simple model, at random") {
  constexpr std::uint32_t kClients = 40;
  Rng random(3);
  SessionTable table(24, 2, 11);
  std::map<std::uint32_t, SlotId> open;  // by client
  Instant now = kStart;
  for (int step = 0; step < 20000; ++step) {
    now += std::chrono::milliseconds(random.below(50));
    const auto number = static_cast<std::uint32_t>(random.below(kClients));
    UdpSession* session = table.find(client(number, number % 2));
    REQUIRE((session != nullptr) == open.contains(number));
    if (session == nullptr) {
      session = table.open(client(number, number % 2), number % 2, now);
      REQUIRE((session == nullptr) == (open.size() == 24));
      if (session != nullptr) {
        open[number] = session->id;
        table.route(*session, number, backend(number % 3));
      }
    } else if (random.one_in(6)) {
      table.unroute(*session);
      table.close(*session);
      open.erase(number);
    } else if (random.one_in(2)) {
      table.note_request(*session, 1 + random.below(2), now);
    } else {
      table.note_reply(*session, 1, now);
    }
    REQUIRE(table.size() == open.size());
    if (open.contains(number)) REQUIRE(table.find(number, backend(number % 3)) == table.find(open[number]));
    if (UdpSession* victim = table.evictable(number % 2)) REQUIRE(victim->requests < 2);
    UdpSession* idle = table.idle(number % 2, seconds(1), now);
    if (idle != nullptr) REQUIRE(now - idle->last_activity >= seconds(1));
  }
  // Everybody is found idle in the end.
  now += seconds(100);
  std::size_t ended = 0;
  for (std::uint32_t listener = 0; listener < 2; ++listener) {
    while (UdpSession* idle = table.idle(listener, seconds(1), now)) {
      table.unroute(*idle);
      table.close(*idle);
      ++ended;
    }
  }
  CHECK(ended == open.size());
  CHECK(table.size() == 0);
}

TEST_CASE("SessionTable: a session takes at most 392 bytes") {
  CHECK(SessionTable::session_bytes() <= 392);
}

}  // namespace millrace::flow
