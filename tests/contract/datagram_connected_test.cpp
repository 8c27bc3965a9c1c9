// Connected datagram sockets: the verbs of streams, one datagram each.

#include <doctest/doctest.h>

#include <cerrno>

#include "datagrams.hpp"

namespace millrace::io {

TEST_CASE("a connected datagram socket hears of its own peer only") {
  Driver driver;
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer peer(address);
  const Peer stranger(address);
  const FdResult opened = driver->open_datagram({.source = address, .remote = peer.address().to_endpoint()});
  REQUIRE(opened.error == 0);
  const Socket socket(opened.fd);
  const OpTag receive = driver.tag(OpKind::recv);
  driver->recv(receive, socket.fd());
  CHECK(driver.send(socket.fd(), "question") == 8);
  const Message question = peer.receive();
  CHECK(question.payload == "question");
  CHECK(question.from == address_of(socket));
  stranger.send("noise", question.from);
  peer.send("answer", question.from);
  peer.send("more", question.from);
  Completion completion = driver.wait(receive);
  CHECK(completion.more);
  CHECK(driver.take_bytes(completion) == "answer");  // one datagram each
  completion = driver.wait(receive);
  CHECK(driver.take_bytes(completion) == "more");
  driver->cancel(receive);
  CHECK(driver.wait(receive).result == -ECANCELED);
  CHECK(driver->peer(socket.fd()) == peer.address().to_endpoint());
}

TEST_CASE("an empty datagram looks like the end to the receive of a connected socket, and it can be armed again") {
  Driver driver;
  const Peer peer;
  const Socket socket(driver->open_datagram({.source = loopback(), .remote = peer.address().to_endpoint()}).fd);
  OpTag receive = driver.tag(OpKind::recv);
  driver->recv(receive, socket.fd());
  peer.send("", address_of(socket));
  const Completion completion = driver.wait(receive);
  CHECK(completion.result == 0);
  CHECK(completion.buffer == kNoBuffer);
  CHECK_FALSE(completion.more);
  receive = driver.tag(OpKind::recv);
  driver->recv(receive, socket.fd());
  peer.send("answer", address_of(socket));
  CHECK(driver.collect(receive, 6) == "answer");
}

TEST_CASE("a connected datagram socket whose peer is gone says ECONNREFUSED") {
  Driver driver;
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer peer(address);
  peer.refuse();
  const Socket socket(driver->open_datagram({.source = address, .remote = peer.address().to_endpoint()}).fd);
  // To the receive when one waits …
  OpTag receive = driver.tag(OpKind::recv);
  driver->recv(receive, socket.fd());
  driver.settle();
  CHECK(driver.send(socket.fd(), "hello") == 5);
  const Completion refused = driver.wait(receive);
  CHECK(refused.result == -ECONNREFUSED);
  CHECK_FALSE(refused.more);
  // … or to one that comes later, or to the next send; once.
  CHECK(driver.send(socket.fd(), "hello") == 5);
  receive = driver.tag(OpKind::recv);
  driver->recv(receive, socket.fd());
  CHECK(driver.wait(receive).result == -ECONNREFUSED);
  CHECK(driver.send(socket.fd(), "hello") == 5);
  CHECK(driver.send(socket.fd(), "hello") == -ECONNREFUSED);
  CHECK_FALSE(driver->take_error(socket.fd()).has_value());
}

}  // namespace millrace::io
