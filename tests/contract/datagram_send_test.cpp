// Sends of single datagrams: their order, their arguments, and what happens when there is no room. Trains have a file
// of their own.

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "datagrams.hpp"

namespace millrace::io {

TEST_CASE("datagrams of one submission leave a socket in their order") {
  UringOptions options = datagram_options();
  options.submission_entries = 512;
  options.completion_entries = 1024;
  Driver driver(options);
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer peer(address);
  const Socket socket = upstream_socket(driver, address);
  constexpr std::size_t kSent = 200;
  std::vector<std::string> texts;
  std::vector<OpTag> tags;
  texts.reserve(kSent);
  tags.reserve(kSent);
  for (std::size_t i = 0; i < kSent; ++i) texts.push_back("datagram " + std::to_string(i));
  for (const std::string& text : texts) tags.push_back(submit(driver, socket, text, peer.address()));
  for (std::size_t i = 0; i < kSent; ++i) {
    CHECK(driver.wait(tags[i]).result == static_cast<std::int32_t>(texts[i].size()));
    const Message message = peer.receive();
    CHECK(message.payload == texts[i]);
    CHECK(message.from == address_of(socket));
  }
}

TEST_CASE("an empty datagram can be sent") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket socket = upstream_socket(driver, loopback());
  CHECK(send_to(driver, socket, "", peer.address()) == 0);
  const Message message = peer.receive();
  CHECK(message.payload.empty());
  CHECK(message.from == address_of(socket));
}

TEST_CASE("the slices of a datagram are joined, and all arguments may go away at once") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket socket = datagram_listener(net::Endpoint::ipv4(0, 0));
  std::array slices = {bytes_of("one "), bytes_of(""), bytes_of("two "), bytes_of("three")};
  DatagramsToSend message{
      .to = peer.address(), .from = net::IpEndpoint::ipv4(0x7f000002, 0), .slices = slices, .segment_bytes = 0};
  const OpTag tag = driver.tag(OpKind::send_datagrams);
  driver->send_datagrams(tag, socket.fd(), message);
  slices.fill({});
  message = {};
  CHECK(driver.wait(tag).result == 13);
  const Message received = peer.receive();
  CHECK(received.payload == "one two three");
  CHECK(received.from == net::IpEndpoint::ipv4(0x7f000002, address_of(socket).port()));
}

// The kernel copies header and address of a message when it is submitted, but reads the control messages when it sends.
// Here the memory of the first sends is used again for later ones before the turn has ended.
TEST_CASE("many more datagrams in one turn than there is scratch memory for") {
  std::uint32_t entries = 0;
  SUBCASE("more than the submission queue holds") {
    entries = 32;
  }
  SUBCASE("all in one submission but for the lack of scratch memory") {
    entries = 1024;
  }
  UringOptions options = datagram_options();
  options.submission_entries = entries;
  options.completion_entries = 2048;
  Driver driver(options);
  const std::array<Peer, 3> peers;
  for (const Peer& peer : peers) peer.take_trains();
  const Socket socket = datagram_listener(net::Endpoint::ipv4(0, 0));
  constexpr std::uint32_t kSent = 600;
  struct Expected {
    net::IpEndpoint from;
    std::string text;
    std::uint32_t segment_bytes = 0;
  };
  std::vector<Expected> expected;
  std::vector<OpTag> tags;
  expected.reserve(kSent);
  tags.reserve(kSent);
  for (std::uint32_t i = 0; i < kSent; ++i) {
    expected.push_back({.from = net::IpEndpoint::ipv4(0x7f000100 + i, 0),
                        .text = std::to_string(i) + pattern(100),
                        .segment_bytes = i % 2 == 0 ? 0 : 10 + i % 50});
  }
  for (std::uint32_t i = 0; i < kSent; ++i) {
    const Expected& message = expected[i];
    tags.push_back(submit(driver, socket, message.text, peers[i % 3].address(), message.segment_bytes, message.from));
  }
  for (std::uint32_t i = 0; i < kSent; ++i) {
    CAPTURE(i);
    CHECK(driver.wait(tags[i]).result == static_cast<std::int32_t>(expected[i].text.size()));
    const Message message = peers[i % 3].receive();
    CHECK(message.payload == expected[i].text);
    CHECK(message.from.address() == expected[i].from.address());
    CHECK(message.segment_bytes == expected[i].segment_bytes);
  }
}

TEST_CASE("where there is no room, a datagram is dropped at once, and the next may go") {
  const NetworkOfItsOwn network(65'536);
  if (!network.ok()) return;
  // What is sent to 192.0.2.2 waits for an answer to ARP that nobody gives, and takes up the socket's buffer.
  const bool made = network.run({"ip", "link", "add", "near0", "type", "veth", "peer", "name", "far0"}) &&
                    network.run({"ip", "link", "set", "near0", "up"}) &&
                    network.run({"ip", "link", "set", "far0", "up"}) &&
                    network.run({"ip", "addr", "add", "192.0.2.1/24", "dev", "near0"});
  if (!made) {
    MESSAGE("left out: no pair of interfaces");
    return;
  }
  Driver driver(datagram_options());
  const Socket socket = upstream_socket(driver, net::Endpoint::ipv4(0, 0));
  const int bytes = 1;  // the least possible
  REQUIRE(::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
  const net::IpEndpoint nobody = net::IpEndpoint::ipv4(0xc0000202, 80);
  const std::string text = pattern(1'000);
  std::array<std::int32_t, 100> results{};
  for (std::int32_t& result : results) result = send_to(driver, socket, text, nobody);
  CHECK(results.front() == 1'000);
  CHECK(results.back() == -EAGAIN);
  CHECK(std::all_of(results.begin(), results.end(), [](std::int32_t r) { return r == 1'000 || r == -EAGAIN; }));
}

TEST_CASE("a queue that drops is told to sockets towards backends as ENOBUFS, to listeners not at all") {
  const NetworkOfItsOwn network(65'536);
  if (!network.ok()) return;
  if (!network.run({"tc", "qdisc", "add", "dev", "lo", "root", "bfifo", "limit", "1"})) {
    MESSAGE("left out: no queue on the loopback device");
    return;
  }
  Driver driver(datagram_options());
  const Peer peer;
  const Socket upstream = upstream_socket(driver, loopback());
  const Socket listener = datagram_listener(loopback());
  CHECK(send_to(driver, upstream, "dropped", peer.address()) == -ENOBUFS);
  CHECK(send_to(driver, listener, "dropped", peer.address()) == 7);
  CHECK(peer.nothing_waits());
  CHECK_FALSE(driver->take_error(upstream.fd()).has_value());
}

// Rule 31 of the proxies before: a path with a smaller MTU must not swallow what is forwarded.
TEST_CASE("datagrams leave without the DF bit") {
  const NetworkOfItsOwn network(1'500);
  if (!network.ok()) return;
  const Socket wire(::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_UDP));  // sees all UDP, with IP's header
  if (wire.get() < 0) return;
  give_up_after_a_while(wire.get());
  Driver driver(datagram_options());
  const Peer peer;
  const auto has_df = [&] {
    const std::string packet = wire.read(2'000);
    REQUIRE(packet.size() >= 20);
    return (static_cast<unsigned char>(packet[6]) & 0x40U) != 0;
  };
  const Socket upstream = upstream_socket(driver, loopback());
  const Socket listener = datagram_listener(loopback());
  CHECK(send_to(driver, upstream, "hello", peer.address()) == 5);
  CHECK_FALSE(has_df());
  CHECK(send_to(driver, listener, "hello", peer.address()) == 5);
  CHECK_FALSE(has_df());
  Peer().send("hello", peer.address());
  CHECK(has_df());  // else this test sees nothing
}

TEST_CASE("a datagram that is larger than the MTU is sent in fragments") {
  const NetworkOfItsOwn network(1'500);
  if (!network.ok()) return;
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  Driver driver(datagram_options());
  const Peer peer(address);
  const Socket socket = upstream_socket(driver, address);
  for (const std::size_t bytes : {1'400U, 1'472U, 1'473U, 9'000U, 65'507U}) {
    CAPTURE(bytes);
    CHECK(send_to(driver, socket, pattern(bytes), peer.address()) == static_cast<std::int32_t>(bytes));
    CHECK(peer.receive().payload == pattern(bytes));
  }
  CHECK_FALSE(driver->take_error(socket.fd()).has_value());
}

}  // namespace millrace::io
