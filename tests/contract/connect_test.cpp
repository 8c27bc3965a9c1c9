#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "driver.hpp"

namespace millrace::io {
namespace {

Socket open(Driver& driver, const net::Endpoint& remote, const net::Endpoint& source = {}) {
  const FdResult result = driver->open_stream(remote, source);
  REQUIRE(result.error == 0);
  REQUIRE(result.fd != Fd::none);
  return Socket(result.fd);
}

/// A listener whose queue is full, so that a further connect gets no answer.
struct FullListener {
  FullListener() : listener(listen_on(loopback(), {.backlog = 0})), address(bound_address(listener.fd())) {
    queued = connect_to(address);
  }
  Socket listener;
  net::Endpoint address;
  Socket queued;
};

}  // namespace

TEST_CASE("connect completes, and both ends agree on the addresses") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  net::Endpoint remote = bound_address(listener.fd());
  const Socket socket = open(driver, remote);
  const OpTag tag = driver.tag(OpKind::connect);
  driver->connect(tag, socket.fd(), remote);
  remote.set_port(1);  // the verb has its own copy
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == 0);
  CHECK_FALSE(completion.more);
  const Socket accepted(driver.accept_one(listener.fd()).result);
  CHECK(driver->peer(socket.fd()) == bound_address(listener.fd()));
  CHECK(driver->local(socket.fd()) == driver->peer(accepted.fd()));
  CHECK(driver->local(accepted.fd()) == driver->peer(socket.fd()));
}

TEST_CASE("a stream socket has the options of a backend connection") {
  Driver driver;
  const Socket socket = open(driver, loopback(9));
  CHECK((::fcntl(socket.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(socket.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(socket.option(IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK(socket.option(SOL_SOCKET, SO_KEEPALIVE) == 0);
  driver->set_keepalive(socket.fd());
  CHECK(socket.option(SOL_SOCKET, SO_KEEPALIVE) != 0);
  CHECK(socket.option(IPPROTO_TCP, TCP_KEEPIDLE) == 60);
  CHECK(socket.option(IPPROTO_TCP, TCP_KEEPINTVL) == 10);
  CHECK(socket.option(IPPROTO_TCP, TCP_KEEPCNT) == 6);
  CHECK(socket.option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 120'000);
}

TEST_CASE("a refused connect says so") {
  Driver driver;
  Socket listener = listen_on(loopback());
  const net::Endpoint remote = bound_address(listener.fd());
  listener.close();
  const Socket socket = open(driver, remote);
  CHECK(driver.connect(socket.fd(), remote) == -ECONNREFUSED);
}

TEST_CASE("an unanswered connect waits, and can be cancelled") {
  Driver driver;
  const FullListener full;
  const Socket socket = open(driver, full.address);
  const OpTag tag = driver.tag(OpKind::connect);
  driver->connect(tag, socket.fd(), full.address);
  driver.settle();
  REQUIRE_FALSE(driver.peek(tag).has_value());
  driver->cancel(tag);
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == -ECANCELED);
  CHECK_FALSE(completion.more);
}

TEST_CASE("connecting from a given source address") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  const net::Endpoint remote = bound_address(listener.fd());
  const net::Endpoint source = net::Endpoint::ipv4(0x7f000002, 0);
  const Socket socket = open(driver, remote, source);
  CHECK(bound_address(socket.fd()).port() == 0);  // no port is reserved before the destination is known
  REQUIRE(driver.connect(socket.fd(), remote) == 0);
  const Socket accepted(driver.accept_one(listener.fd()).result);
  CHECK(driver->peer(accepted.fd()).address_bytes() == source.address_bytes());
}

TEST_CASE("a source address that this machine does not have is an error, and leaks nothing") {
  Driver driver;
  const Socket before(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  const FdResult result = driver->open_stream(loopback(9), net::Endpoint::ipv4(0xc0000201, 0));
  CHECK(result.fd == Fd::none);
  CHECK(result.error == EADDRNOTAVAIL);
  const Socket after(::fcntl(0, F_DUPFD_CLOEXEC, 0));
  CHECK(after.get() == before.get() + 1);
}

TEST_CASE("connecting to a unix socket") {
  Driver driver;
  const TemporaryDirectory directory;
  const net::Endpoint remote = unix_endpoint(directory.file("app.sock"));
  const Socket early = open(driver, remote);
  CHECK(driver.connect(early.fd(), remote) == -ENOENT);
  Socket listener = listen_on(remote);
  const Socket socket = open(driver, remote);
  CHECK(driver.connect(socket.fd(), remote) == 0);
  const Socket accepted(driver.accept_one(listener.fd()).result);
  CHECK(driver.send(socket.fd(), "hello") == 5);
  CHECK(driver->peer(socket.fd()) == remote);
  CHECK(driver->peer(accepted.fd()).is_unix());
  listener.close();
  const Socket late = open(driver, remote);
  CHECK(driver.connect(late.fd(), remote) == -ECONNREFUSED);
}

TEST_CASE("connecting to a unix socket with a full queue ends with EAGAIN") {
  Driver driver;
  const TemporaryDirectory directory;
  const net::Endpoint remote = unix_endpoint(directory.file("full.sock"));
  const Socket listener = listen_on(remote, {.backlog = 0});
  const Socket queued = connect_to(remote);
  const Socket socket = open(driver, remote);
  CHECK(driver.connect(socket.fd(), remote) == -EAGAIN);
}

TEST_CASE("more connects in one pass than there is scratch memory for") {
  UringOptions options = small_options();
  options.submission_entries = 1024;
  options.completion_entries = 2048;
  Driver driver(options);
  const Socket listener = listen_on(loopback(), {.backlog = 1024});
  const net::Endpoint remote = bound_address(listener.fd());
  std::vector<Socket> sockets;
  std::vector<OpTag> tags;
  for (int i = 0; i < 300; ++i) {
    sockets.push_back(open(driver, remote));
    tags.push_back(driver.tag(OpKind::connect));
    driver->connect(tags.back(), sockets.back().fd(), remote);
  }
  for (const OpTag tag : tags) CHECK(driver.wait(tag).result == 0);
}

TEST_CASE("the peer of a socket that is not connected is none") {
  Driver driver;
  const Socket socket = open(driver, loopback(9));
  CHECK(driver->peer(socket.fd()).family() == net::Family::none);
}

}  // namespace millrace::io
