#include "millrace/flow/outbox.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "datagram_io.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::flow {
namespace {

constexpr Instant kStart{std::chrono::seconds(1000)};

struct Fixture {
  test::DatagramIo io;
  Outbox outbox{io, 256};
  SessionTable table{8, 1, 1};
  UdpSession& a = open(1);
  UdpSession& b = open(2);
  Way way{.fd = io::Fd{7}, .socket = 3, .to = net::IpEndpoint::ipv4(0x0a000001, 53), .from = {}};

  UdpSession& open(std::uint16_t port) {
    return *table.open({.client = net::IpEndpoint::ipv4(0x7f000001, port), .local = {}, .socket = 0}, 0, kStart);
  }
  bool add(UdpSession& session, std::string_view bytes, std::uint32_t segment = 0,
           Direction direction = Direction::to_backend) {
    const io::BufferId buffer = io.fill(bytes);
    return outbox.add(session, direction, way, buffer, io.bytes_in(buffer, bytes.size()), segment);
  }
  std::size_t flush() {
    const std::size_t before = io.sent.size();
    outbox.flush([](const Outbox::Message&) {});
    return io.sent.size() - before;
  }
  void complete_all() {
    for (const auto& sent : io.sent) {
      outbox.done(outbox.completed({.tag = sent.tag, .result = static_cast<std::int32_t>(sent.bytes.size())}));
    }
    io.sent.clear();
  }
  bool everything_back() { return outbox.idle() && io.buffers().free_count() == io.buffers().count(); }
};

/// The datagrams that the kernel makes of a message.
std::vector<std::string> datagrams_of(const test::DatagramIo::Sent& sent) {
  if (sent.segment_bytes == 0) return {sent.bytes};
  std::vector<std::string> all;
  for (std::size_t at = 0; at < sent.bytes.size(); at += sent.segment_bytes) {
    all.push_back(sent.bytes.substr(at, sent.segment_bytes));
  }
  return all;
}

}  // namespace

TEST_CASE("Outbox: equal datagrams of a session become one message, a shorter one ends it") {
  Fixture f;
  for (const char* bytes : {"aaaa", "bbbb", "cccc", "dd", "eeee"}) CHECK(f.add(f.a, bytes));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes == "aaaabbbbccccdd");
  CHECK(f.io.sent[0].segment_bytes == 4);
  CHECK(f.io.sent[0].slices == 4);
  CHECK(f.io.sent[0].fd == io::Fd{7});
  CHECK(f.io.sent[0].to == f.way.to);
  CHECK(f.io.sent[1].bytes == "eeee");
  CHECK(f.io.sent[1].segment_bytes == 0);
  CHECK_FALSE(f.everything_back());
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: a longer datagram begins a message") {
  Fixture f;
  for (const char* bytes : {"aa", "bb", "cccc"}) CHECK(f.add(f.a, bytes));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes == "aabb");
  CHECK(f.io.sent[1].bytes == "cccc");
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: sessions, directions and ways are apart") {
  Fixture f;
  CHECK(f.add(f.a, "aaaa"));
  CHECK(f.add(f.b, "bbbb"));
  CHECK(f.add(f.a, "cccc", 0, Direction::to_client));
  CHECK(f.add(f.a, "dddd"));
  f.way.to = net::IpEndpoint::ipv4(0x0a000002, 53);  // led to another backend meanwhile
  CHECK(f.add(f.a, "eeee"));
  CHECK(f.flush() == 4);
  CHECK(f.io.sent[0].bytes == "aaaadddd");
  CHECK(f.io.sent[1].bytes == "bbbb");
  CHECK(f.io.sent[2].bytes == "cccc");
  CHECK(f.io.sent[3].bytes == "eeee");
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: an empty datagram goes alone") {
  Fixture f;
  for (const char* bytes : {"aaaa", "", "", "bbbb"}) CHECK(f.add(f.a, bytes));
  CHECK(f.flush() >= 3);
  std::vector<std::string> all;
  for (const auto& sent : f.io.sent) {
    for (const std::string& datagram : datagrams_of(sent)) all.push_back(datagram);
  }
  std::size_t empty = 0;
  for (const std::string& datagram : all) empty += datagram.empty() ? 1U : 0U;
  CHECK(all.size() == 4);
  CHECK(empty == 2);
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: what was flushed is not added to") {
  Fixture f;
  CHECK(f.add(f.a, "aaaa"));
  CHECK(f.flush() == 1);
  CHECK(f.add(f.a, "bbbb"));
  CHECK(f.flush() == 1);
  CHECK(f.io.sent[1].bytes == "bbbb");
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: a received train goes on as a train, and single datagrams join it") {
  Fixture f;
  CHECK(f.add(f.a, "aaaabbbbcccc", 4));
  CHECK(f.add(f.a, "dddd"));
  CHECK(f.add(f.a, "eeeeff", 4));
  CHECK(f.add(f.a, "gggg"));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes == "aaaabbbbccccddddeeeeff");
  CHECK(f.io.sent[0].slices == 3);
  CHECK(f.io.sent[1].bytes == "gggg");
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: a train of shorter datagrams does not join one of longer ones") {
  Fixture f;
  CHECK(f.add(f.a, "aaaaaaaa"));
  CHECK(f.add(f.a, "bbbbcccc", 4));
  CHECK(f.flush() == 2);
  CHECK(datagrams_of(f.io.sent[0]) == std::vector<std::string>{"aaaaaaaa"});
  CHECK(datagrams_of(f.io.sent[1]) == std::vector<std::string>{"bbbb", "cccc"});
  f.complete_all();
}

TEST_CASE("Outbox: a message has a limited number of datagrams and of bytes") {
  Fixture f;
  CHECK(f.add(f.a, std::string(100, 'x'), 1));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes.size() == io::kTrainDatagramsMax);
  CHECK(f.io.sent[1].bytes.size() == 100 - io::kTrainDatagramsMax);
  f.complete_all();
  for (int i = 0; i < 3; ++i) CHECK(f.add(f.a, std::string(30000, 'y')));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes.size() == 60000);
  f.complete_all();
  CHECK(f.add(f.a, std::string(65507, 'z')));
  CHECK(f.add(f.a, std::string(65507, 'z')));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].segment_bytes == 0);
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: a refused train is sent datagram by datagram, and no larger one is tried again") {
  Fixture f;
  CHECK(f.add(f.a, "aaaabbbbcc", 4));
  CHECK(f.add(f.a, ""));
  CHECK(f.flush() == 2);
  const auto tag = f.io.sent[0].tag;
  f.io.sent.erase(f.io.sent.begin());
  CHECK(f.outbox.split(f.outbox.completed({.tag = tag, .result = -EINVAL})));
  f.a.train_segment_max[0] = 3;
  CHECK(f.add(f.a, "ddddee", 4));
  CHECK(f.add(f.a, "ggghhh", 3));
  CHECK(f.flush() == 6);
  CHECK(f.io.sent[1].bytes == "aaaa");
  CHECK(f.io.sent[2].bytes == "bbbb");
  CHECK(f.io.sent[3].bytes == "cc");
  CHECK(f.io.sent[4].bytes == "dddd");
  CHECK(f.io.sent[5].bytes == "ee");
  CHECK(f.io.sent[6].bytes == "ggghhh");
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: a message can be sent again another way") {
  Fixture f;
  CHECK(f.add(f.a, "aaaa"));
  CHECK(f.flush() == 1);
  Way other = f.way;
  other.fd = io::Fd{9};
  Outbox::Message& message = f.outbox.completed({.tag = f.io.sent[0].tag, .result = -ECONNREFUSED});
  CHECK(message.attempts == 1);
  f.io.sent.clear();
  f.outbox.again(message, other);
  CHECK(f.add(f.a, "bbbb"));
  CHECK(f.flush() == 2);
  CHECK(f.io.sent[0].bytes == "aaaa");
  CHECK(f.io.sent[0].fd == io::Fd{9});
  f.complete_all();
  CHECK(f.everything_back());
}

TEST_CASE("Outbox: what there is no room for is dropped, and its buffer comes back") {
  test::DatagramIo io;
  Outbox outbox(io, 2);
  SessionTable table(8, 1, 1);
  UdpSession& session =
      *table.open({.client = net::IpEndpoint::ipv4(0x7f000001, 1), .local = {}, .socket = 0}, 0, kStart);
  session.train_segment_max[0] = 0;
  const io::BufferId buffer = io.fill("abc");
  CHECK_FALSE(outbox.add(session, Direction::to_backend, {}, buffer, io.bytes_in(buffer, 3), 1));
  outbox.flush([](const Outbox::Message&) {});
  REQUIRE(io.sent.size() == 2);
  for (const auto& sent : io.sent) outbox.done(outbox.completed({.tag = sent.tag, .result = 1}));
  CHECK(io.buffers().free_count() == io.buffers().count());
}

TEST_CASE("Outbox: boundaries and order of every session are kept, whatever comes") {
  Rng random(5);
  for (int round = 0; round < 300; ++round) {
    Fixture f;
    std::vector<std::string> expected[2];
    for (int i = 0; i < 20; ++i) {
      const std::size_t who = random.below(2);
      UdpSession& session = who == 0 ? f.a : f.b;
      const auto segment = static_cast<std::uint32_t>(1 + random.below(5));
      const std::uint64_t bytes = random.one_in(3) ? random.below(40) : segment;
      std::string payload;
      for (std::uint64_t k = 0; k < bytes; ++k) payload.push_back(static_cast<char>('a' + random.below(26)));
      const bool train = payload.size() > segment;
      if (random.one_in(10)) session.train_segment_max[0] = static_cast<std::uint16_t>(random.below(5));
      CHECK(f.add(session, payload, train ? segment : 0));
      if (payload.empty()) continue;  // an empty datagram has no place in the order
      for (std::size_t at = 0; at < payload.size(); at += train ? segment : payload.size()) {
        expected[who].push_back(payload.substr(at, train ? segment : payload.size()));
      }
    }
    f.flush();
    std::vector<std::string> got[2];
    for (const auto& sent : f.io.sent) {
      const Outbox::Message& message = f.outbox.completed({.tag = sent.tag, .result = 0});
      for (const std::string& datagram : datagrams_of(sent)) {
        if (!datagram.empty()) got[message.session == f.a.id ? 0 : 1].push_back(datagram);
      }
    }
    for (const std::size_t who : {0U, 1U}) REQUIRE(got[who] == expected[who]);
    f.complete_all();
    REQUIRE(f.everything_back());
  }
}

}  // namespace millrace::flow
