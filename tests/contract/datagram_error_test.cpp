// What becomes of ICMP errors: which call hears of them, what the error queue keeps, and what it does not stop.

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "datagrams.hpp"

namespace millrace::io {
namespace {

/// A copy of an error that was kept.
struct Error {
  int error = 0;
  net::IpEndpoint to;
  std::string quote;
};

std::optional<Error> take_error(Driver& driver, const Socket& socket) {
  const std::optional<DatagramError> taken = driver->take_error(socket.fd());
  if (!taken) return std::nullopt;
  const auto* quote = reinterpret_cast<const char*>(taken->quote.data());
  return Error{.error = taken->error, .to = taken->to, .quote = std::string(quote, taken->quote.size())};
}

/// The quote of a refused datagram.
std::string quote_of(Driver& driver, const Socket& socket, const Peer& dead, std::string_view text) {
  REQUIRE(send_to(driver, socket, text, dead.address()) == static_cast<std::int32_t>(text.size()));
  const std::optional<Error> error = take_error(driver, socket);
  REQUIRE(error.has_value());
  CHECK(error->error == ECONNREFUSED);
  CHECK(error->to == dead.address());
  return error->quote;
}

}  // namespace

TEST_CASE("an ICMP error ends the receive of an unconnected socket, and the queue tells destination and quote") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer dead(address);
  dead.refuse();
  const Peer live(address);
  const Socket socket = upstream_socket(driver, address);
  const OpTag receive = receive_on(driver, socket);
  CHECK(send_to(driver, socket, "is anybody there?", dead.address()) == 17);
  const Completion ended = driver.wait(receive);
  CHECK(ended.result == -ECONNREFUSED);
  CHECK_FALSE(ended.more);
  CHECK(ended.buffer == kNoBuffer);
  const std::optional<Error> error = take_error(driver, socket);
  REQUIRE(error.has_value());
  CHECK(error->error == ECONNREFUSED);
  CHECK(error->to == dead.address());
  CHECK(error->quote == "is anybody there?");
  CHECK_FALSE(take_error(driver, socket).has_value());

  // Everything goes on.
  const OpTag again = receive_on(driver, socket);
  CHECK(send_to(driver, socket, "and you?", live.address()) == 8);
  CHECK(live.receive().payload == "and you?");
  live.send("yes", address_of(socket));
  CHECK(take_message(driver, driver.wait(again)).payload == "yes");
}

TEST_CASE("while an error is pending the next send fails once, and is not sent") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer dead(address);
  dead.refuse();
  const Peer live(address);
  const Socket socket = upstream_socket(driver, address);
  CHECK(send_to(driver, socket, "lost", dead.address()) == 4);
  CHECK(send_to(driver, socket, "not sent", live.address()) == -ECONNREFUSED);
  CHECK(live.nothing_waits());
  CHECK(send_to(driver, socket, "sent", live.address()) == 4);
  CHECK(live.receive().payload == "sent");
  const std::optional<Error> error = take_error(driver, socket);
  REQUIRE(error.has_value());
  CHECK(error->to == dead.address());
  CHECK(error->quote == "lost");
}

TEST_CASE("once every error has been taken none is pending") {
  Driver driver(datagram_options());
  const Peer dead;
  dead.refuse();
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  CHECK(send_to(driver, socket, "lost", dead.address()) == 4);
  CHECK(take_error(driver, socket).has_value());
  CHECK_FALSE(take_error(driver, socket).has_value());
  CHECK(send_to(driver, socket, "sent", live.address()) == 4);
  CHECK(live.receive().payload == "sent");
}

TEST_CASE("of several sends in one submission only the one behind the error fails") {
  Driver driver(datagram_options());
  const Peer dead;
  dead.refuse();
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  const OpTag receive = receive_on(driver, socket);
  driver.settle();
  const OpTag lost = submit(driver, socket, "lost", dead.address());
  const OpTag failed = submit(driver, socket, "not sent", live.address());
  const OpTag sent = submit(driver, socket, "sent", live.address());
  CHECK(driver.wait(lost).result == 4);
  CHECK(driver.wait(failed).result == -ECONNREFUSED);
  CHECK(driver.wait(sent).result == 4);
  CHECK(live.receive().payload == "sent");
  CHECK(live.nothing_waits());
  // The error told itself once: the receive does not hear of it, and goes on, although it is in the queue still.
  driver.settle();
  CHECK_FALSE(driver.peek(receive).has_value());
  live.send("answer", address_of(socket));
  CHECK(take_message(driver, driver.wait(receive)).payload == "answer");
  CHECK(take_error(driver, socket)->to == dead.address());
}

TEST_CASE("errors that nobody takes do not stop a receive, also when it is armed behind them") {
  Driver driver(datagram_options());
  const Peer dead;
  dead.refuse();
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  for (int i = 0; i < 3; ++i) {
    CHECK(send_to(driver, socket, "lost", dead.address()) == 4);
    CHECK(send_to(driver, socket, "not sent", live.address()) == -ECONNREFUSED);
  }
  const OpTag receive = receive_on(driver, socket);
  driver.settle();
  CHECK_FALSE(driver.peek(receive).has_value());
  for (int i = 0; i < 3; ++i) {
    live.send("answer", address_of(socket));
    const Completion completion = driver.wait(receive);
    CHECK(completion.more);
    CHECK(take_message(driver, completion).payload == "answer");
  }
}

TEST_CASE("with two dead backends on one socket each error names its own, in order") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer one(address);
  const Peer two(address);
  one.refuse();
  two.refuse();
  const Peer live(address);
  const Socket socket = upstream_socket(driver, address);
  // One is pending at a time: the receive takes it, and is armed again.
  OpTag receive = receive_on(driver, socket);
  for (const auto& [peer, text] : {std::pair{&one, "first"}, std::pair{&two, "second"}, std::pair{&one, "third"}}) {
    CHECK(send_to(driver, socket, text, peer->address()) > 0);
    CHECK(driver.wait(receive).result == -ECONNREFUSED);
    receive = receive_on(driver, socket);
  }
  for (const auto& [peer, text] : {std::pair{&one, "first"}, std::pair{&two, "second"}, std::pair{&one, "third"}}) {
    const std::optional<Error> error = take_error(driver, socket);
    REQUIRE(error.has_value());
    CHECK(error->to == peer->address());
    CHECK(error->quote == text);
  }
  CHECK_FALSE(take_error(driver, socket).has_value());
  CHECK(send_to(driver, socket, "hello", live.address()) == 5);
}

TEST_CASE("taking one of two errors makes the other pending again") {
  Driver driver(datagram_options());
  const Peer dead;
  dead.refuse();
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  for (int i = 0; i < 2; ++i) {
    CHECK(send_to(driver, socket, "lost", dead.address()) == 4);
    CHECK(send_to(driver, socket, "not sent", live.address()) == -ECONNREFUSED);
  }
  CHECK(take_error(driver, socket).has_value());
  CHECK(send_to(driver, socket, "not sent", live.address()) == -ECONNREFUSED);
  CHECK(take_error(driver, socket).has_value());
  CHECK(send_to(driver, socket, "sent", live.address()) == 4);
}

TEST_CASE("an error comes before the datagrams that wait, and they stay") {
  Driver driver(datagram_options());
  const Peer dead;
  dead.refuse();
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  live.send("early", address_of(socket));
  CHECK(send_to(driver, socket, "lost", dead.address()) == 4);
  CHECK(driver.wait(receive_on(driver, socket)).result == -ECONNREFUSED);
  CHECK(take_message(driver, driver.wait(receive_on(driver, socket))).payload == "early");
}

TEST_CASE("datagrams of up to 500 bytes are quoted whole, longer ones are cut somewhere") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer dead(address);
  dead.refuse();
  const Socket socket = upstream_socket(driver, address);
  for (const std::size_t bytes : {0U, 1U, 8U, 100U, 499U, 500U}) {
    CAPTURE(bytes);
    CHECK(quote_of(driver, socket, dead, pattern(bytes)) == pattern(bytes));
  }
  for (const std::size_t bytes : {501U, 2'000U, 60'000U}) {
    CAPTURE(bytes);
    const std::string quote = quote_of(driver, socket, dead, pattern(bytes));
    CHECK(quote.size() >= 500);
    CHECK(quote.size() < 2'000);
    CHECK(pattern(bytes).starts_with(quote));
  }
}

TEST_CASE("a train that is refused on this machine is one error, whose quote has no boundaries") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer dead(address);
  dead.refuse();
  const Socket socket = upstream_socket(driver, address);
  CHECK(send_to(driver, socket, pattern(400), dead.address(), 40) == 400);
  const std::optional<Error> error = take_error(driver, socket);
  REQUIRE(error.has_value());
  CHECK(error->to == dead.address());
  CHECK(error->quote == pattern(400));
  CHECK_FALSE(take_error(driver, socket).has_value());
}

TEST_CASE("a datagram that is too large leaves an error without a quote, which no call hears of") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer live(address);
  const Socket socket = upstream_socket(driver, address);
  const OpTag receive = receive_on(driver, socket);
  CHECK(send_to(driver, socket, pattern(65'535), live.address()) == -EMSGSIZE);
  CHECK(send_to(driver, socket, "sent", live.address()) == 4);
  CHECK(live.receive().payload == "sent");
  driver.settle();
  CHECK_FALSE(driver.peek(receive).has_value());
  const std::optional<Error> error = take_error(driver, socket);
  REQUIRE(error.has_value());
  CHECK(error->error == EMSGSIZE);
  CHECK(error->to.address() == live.address().address());  // of an IPv4 address without the port
  CHECK(error->quote.empty());
  CHECK_FALSE(take_error(driver, socket).has_value());
}

TEST_CASE("errors that nobody takes use up the room for datagrams") {
  Driver driver(datagram_options());
  const Peer live;
  const Socket socket = upstream_socket(driver, loopback());
  // So that it is soon full.
  const int bytes = 8'192;
  REQUIRE(::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
  const std::string too_large = pattern(65'535);
  for (int i = 0; i < 64; ++i) CHECK(send_to(driver, socket, too_large, live.address()) == -EMSGSIZE);
  live.send("not heard", address_of(socket));
  const OpTag receive = receive_on(driver, socket);
  driver.settle();
  CHECK_FALSE(driver.peek(receive).has_value());
  int errors = 0;
  while (take_error(driver, socket)) ++errors;
  CHECK(errors > 0);
  CHECK(errors < 64);
  live.send("heard", address_of(socket));
  CHECK(take_message(driver, driver.wait(receive)).payload == "heard");
}

TEST_CASE("where there is no way, or no such source, the send says so and leaves no error") {
  const NetworkOfItsOwn network(65'536);
  if (!network.ok()) return;
  Driver driver(datagram_options());
  const Peer live;
  const Socket socket = upstream_socket(driver, net::Endpoint::ipv4(0, 0));
  const net::IpEndpoint elsewhere = net::IpEndpoint::ipv4(0xc0000201, 80);  // TEST-NET-1
  CHECK(send_to(driver, socket, "x", elsewhere) == -ENETUNREACH);
  const std::int32_t from_elsewhere = send_to(driver, socket, "x", live.address(), 0, elsewhere);
  CHECK((from_elsewhere == -ENETUNREACH || from_elsewhere == -EINVAL));
  CHECK_FALSE(take_error(driver, socket).has_value());
  CHECK(send_to(driver, socket, "sent", live.address()) == 4);
  CHECK(live.receive().payload == "sent");
}

TEST_CASE("a listener does not hear of clients that are gone") {
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  for (const net::Endpoint& bound : {address, wildcard_like(address)}) {
    CAPTURE(bound.to_string());
    Driver driver(datagram_options());
    const Peer dead(address);
    dead.refuse();
    const Peer live(address);
    const Socket listener = datagram_listener(bound);
    const OpTag receive = receive_on(driver, listener);
    for (int i = 0; i < 3; ++i) CHECK(send_to(driver, listener, "lost", dead.address()) == 4);
    CHECK(send_to(driver, listener, "sent", live.address()) == 4);
    CHECK(live.receive().payload == "sent");
    driver.settle();
    CHECK_FALSE(driver.peek(receive).has_value());
    CHECK_FALSE(take_error(driver, listener).has_value());
  }
}

}  // namespace millrace::io
