// Which of its addresses a listener was spoken to at, which one an answer leaves from, and which of several listeners
// hears a client.

#include <doctest/doctest.h>
#include <netinet/in.h>

#include <array>
#include <set>
#include <vector>

#include "datagrams.hpp"

namespace millrace::io {
namespace {

net::IpEndpoint at_port(net::IpEndpoint address, std::uint16_t port) {
  address.set_port(port);
  return address;
}

net::IpEndpoint loopback_net(std::uint8_t last, std::uint16_t port = 0) {
  return net::IpEndpoint::ipv4(0x7f000000U + last, port);
}

net::IpEndpoint local_v6(std::uint8_t first, std::uint8_t second, std::uint8_t last, std::uint32_t scope = 0) {
  return net::IpEndpoint::ipv6({first, second, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}, 0, scope);
}

/// A client speaks to two addresses of a listener on the wildcard address, and is answered from each.
void speak_to_both(Driver& driver, const net::Endpoint& wildcard, bool v6_only, const Peer& client,
                   const std::array<net::IpEndpoint, 2>& addresses) {
  const Socket listener = datagram_listener(wildcard, {.v6_only = v6_only});
  const std::uint16_t port = address_of(listener).port();
  const OpTag receive = receive_on(driver, listener);
  for (const net::IpEndpoint& address : addresses) {
    CAPTURE(address.to_string());
    client.send("question", at_port(address, port));
    const Message question = take_message(driver, driver.wait(receive));
    CHECK(question.to == address);
    CHECK(question.from.address() == client.address().address());
    CHECK(question.from.port() == client.address().port());
    CHECK(send_to(driver, listener, "answer", question.from, 0, question.to) == 6);
    const Message answer = client.receive();
    CHECK(answer.payload == "answer");
    CHECK(answer.from == at_port(address, port));
    // Trains too.
    CHECK(send_to(driver, listener, "answer", question.from, 3, question.to) == 6);
    CHECK(client.receive().from == at_port(address, port));
    CHECK(client.receive().payload == "wer");
  }
}

}  // namespace

TEST_CASE("a listener on every IPv4 address says which was spoken to, and answers from it") {
  Driver driver(datagram_options());
  speak_to_both(driver, net::Endpoint::ipv4(0, 0), true, Peer(), {loopback_net(2), loopback_net(3)});
}

TEST_CASE("a listener on every IPv6 address says which was spoken to, and answers from it") {
  const NetworkOfItsOwn network(65'536);
  if (!network.ok()) return;
  const std::array addresses = {local_v6(0xfd, 0, 2), local_v6(0xfd, 0, 3)};
  for (const net::IpEndpoint& address : addresses) {
    if (!network.add_address(address, 128)) return;  // a machine without IPv6
  }
  Driver driver(datagram_options());
  speak_to_both(driver, net::Endpoint::ipv6({}, 0), true, Peer(loopback_v6()), addresses);
}

TEST_CASE("a link-local address, of the client and of the listener, comes with its interface") {
  const NetworkOfItsOwn network(65'536);
  if (!network.ok()) return;
  const std::array addresses = {local_v6(0xfe, 0x80, 2, 1), local_v6(0xfe, 0x80, 3, 1)};
  for (const net::IpEndpoint& address : addresses) {
    if (!network.add_address(address, 64)) return;
  }
  Driver driver(datagram_options());
  const Peer client(addresses[0].to_endpoint());
  CHECK(client.address().scope() == 1);
  speak_to_both(driver, net::Endpoint::ipv6({}, 0), true, client, addresses);
}

TEST_CASE("a listener for both families sees IPv4 as IPv4, and answers from the address that was spoken to") {
  if (either_loopback().family() != net::Family::ipv6) return;
  Driver driver(datagram_options());
  speak_to_both(driver, net::Endpoint::ipv6({}, 0), false, Peer(), {loopback_net(2), loopback_net(3)});
}

TEST_CASE("without a source the kernel chooses one") {
  Driver driver(datagram_options());
  const Socket listener = datagram_listener(net::Endpoint::ipv4(0, 0));
  const Peer client;
  CHECK(send_to(driver, listener, "hello", client.address()) == 5);
  CHECK(client.receive().from == loopback_net(1, address_of(listener).port()));
}

TEST_CASE("a listener on one address does not say which, and answers from it") {
  Driver driver(datagram_options());
  const Socket listener = datagram_listener(loopback_net(2).to_endpoint());
  const OpTag receive = receive_on(driver, listener);
  const Peer client;
  client.send("question", address_of(listener));
  const Message question = take_message(driver, driver.wait(receive));
  CHECK(question.to == net::IpEndpoint());
  CHECK(send_to(driver, listener, "answer", question.from, 0, question.to) == 6);
  CHECK(client.receive().from == address_of(listener));
}

TEST_CASE("an unconnected socket sends from the address it is bound to") {
  Driver driver(datagram_options());
  const Socket socket = upstream_socket(driver, loopback_net(2).to_endpoint());
  CHECK(address_of(socket).port() != 0);
  const Peer backend;
  CHECK(send_to(driver, socket, "hello", backend.address()) == 5);
  CHECK(backend.receive().from == address_of(socket));
}

TEST_CASE("a client's datagrams always reach the same of several listeners on an address") {
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  Driver driver(datagram_options());
  constexpr std::size_t kListeners = 4;
  constexpr std::size_t kClients = 32;  // all to one listener: once in 4^31 runs
  std::vector<Socket> listeners;
  listeners.push_back(datagram_listener(address));
  const net::Endpoint bound = bound_address(listeners[0].fd());
  while (listeners.size() < kListeners) listeners.push_back(datagram_listener(bound));
  std::vector<OpTag> receives;
  receives.reserve(kListeners);
  for (const Socket& listener : listeners) receives.push_back(receive_on(driver, listener));
  std::vector<Peer> clients;
  for (std::size_t i = 0; i < kClients; ++i) clients.emplace_back(address);
  std::vector<std::size_t> heard_by(kClients, kListeners);
  std::set<std::size_t> used;
  for (int round = 0; round < 5; ++round) {
    for (std::size_t i = 0; i < kClients; ++i) {
      CAPTURE(i);
      clients[i].send("hello", net::IpEndpoint::from(bound));
      std::size_t heard = kListeners;
      driver.turn_until([&] {
        for (std::size_t j = 0; j < kListeners; ++j) {
          const std::optional<Completion> completion = driver.peek(receives[j]);
          if (!completion) continue;
          CHECK(take_message(driver, *completion).from == clients[i].address());
          heard = j;
        }
        return heard != kListeners;
      });
      if (round == 0) heard_by[i] = heard;
      CHECK(heard == heard_by[i]);
      used.insert(heard);
    }
  }
  CHECK(used.size() > 1);
}

TEST_CASE("a second listener on an address is refused without reuse_port, and the error names the remedy") {
  const Socket first = datagram_listener(loopback(), {.reuse_port = false});
  const net::Endpoint address = bound_address(first.fd());
  const Result<Fd> second = open_datagram_listener(address, {.reuse_port = false});
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().find(address.to_string()) != std::string::npos);
  CHECK(second.error().find("ss -lntup") != std::string::npos);
}

TEST_CASE("a datagram listener on an address of another machine, or on none, is refused") {
  CHECK_FALSE(open_datagram_listener(net::Endpoint::ipv4(0xc0000201, 0), {}).ok());  // TEST-NET-1
  CHECK_FALSE(open_datagram_listener(net::Endpoint(), {}).ok());
  CHECK_FALSE(open_datagram_listener(unix_endpoint("/tmp/no-such-socket"), {}).ok());
}

TEST_CASE("a datagram socket needs a source of an internet family, and one that this machine has") {
  Driver driver(datagram_options());
  const auto error_of = [&](const net::Endpoint& source) { return driver->open_datagram({source, {}}).error; };
  CHECK(error_of({}) == EAFNOSUPPORT);
  CHECK(error_of(unix_endpoint("/tmp/no-such-socket")) == EAFNOSUPPORT);
  CHECK(error_of(net::Endpoint::ipv4(0xc0000201, 0)) == EADDRNOTAVAIL);
}

TEST_CASE("listeners for each family share a port") {
  if (either_loopback().family() != net::Family::ipv6) return;
  bool shared = false;
  for (int i = 0; i < 20 && !shared; ++i) {  // another program may have the port of IPv4
    const Socket v6 = datagram_listener(net::Endpoint::ipv6({}, 0));
    CHECK(v6.option(IPPROTO_IPV6, IPV6_V6ONLY) == 1);
    const Result<Fd> v4 = open_datagram_listener(net::Endpoint::ipv4(0, address_of(v6).port()), {});
    shared = v4.ok();
    if (shared) close_now(v4.value());
  }
  CHECK(shared);
}

}  // namespace millrace::io
