#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "driver.hpp"

namespace millrace::io {
namespace {

/// The lowest file limit at which nothing more can be opened, restored at the end of the scope.
class NoFilesLeft {
 public:
  NoFilesLeft() {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    const Socket lowest_free(::fcntl(0, F_DUPFD_CLOEXEC, 0));
    rlimit limit = before_;
    limit.rlim_cur = static_cast<rlim_t>(lowest_free.get());
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  }
  ~NoFilesLeft() { (void)::setrlimit(RLIMIT_NOFILE, &before_); }
  NoFilesLeft(const NoFilesLeft&) = delete;
  NoFilesLeft& operator=(const NoFilesLeft&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("multishot accept brings several descriptors and ends when cancelled") {
  Driver driver;
  if (!features().multishot_accept) return;
  const Socket listener = listen_on(loopback());
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), AcceptMode::multishot);
  std::set<int> seen;
  std::vector<Socket> sockets;
  for (int i = 0; i < 5; ++i) {
    sockets.push_back(connect_to(bound_address(listener.fd())));
    const Completion completion = driver.wait(tag);
    REQUIRE(completion.result >= 0);
    CHECK(completion.more);
    CHECK(completion.buffer == kNoBuffer);
    seen.insert(completion.result);
    sockets.emplace_back(completion.result);
  }
  CHECK(seen.size() == 5);
  driver->cancel(tag);
  const Completion last = driver.wait(tag);
  CHECK(last.result == -ECANCELED);
  CHECK_FALSE(last.more);
}

TEST_CASE("multishot accept takes a burst that waited in the backlog") {
  Driver driver;
  if (!features().multishot_accept) return;
  const Socket listener = listen_on(loopback());
  std::vector<Socket> sockets;
  for (int i = 0; i < 20; ++i) sockets.push_back(connect_to(bound_address(listener.fd())));
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), AcceptMode::multishot);
  for (int i = 0; i < 20; ++i) {
    const Completion completion = driver.wait(tag);
    REQUIRE(completion.result >= 0);
    sockets.emplace_back(completion.result);
  }
  driver->cancel(tag);
  CHECK(driver.wait(tag).result == -ECANCELED);
}

TEST_CASE("single accept brings one descriptor, the next connection waits") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  const Socket first = connect_to(bound_address(listener.fd()));
  const Socket second = connect_to(bound_address(listener.fd()));
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), AcceptMode::single);
  const Completion completion = driver.wait(tag);
  CHECK_FALSE(completion.more);
  const Socket accepted(completion.result);
  CHECK(driver->peer(accepted.fd()) == bound_address(first.fd()));
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  const Socket next(driver.accept_one(listener.fd()).result);
  CHECK(driver->peer(next.fd()) == bound_address(second.fd()));
}

TEST_CASE("where multishot accept is unsafe, it serves one connection at a time") {
  UringFeatures without = features();
  without.multishot_accept = false;
  Driver driver(small_options(), without);
  const Socket listener = listen_on(loopback());
  const Socket peer = connect_to(bound_address(listener.fd()));
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), AcceptMode::multishot);
  const Completion completion = driver.wait(tag);
  const Socket accepted(completion.result);
  CHECK(accepted.get() >= 0);
  CHECK_FALSE(completion.more);
}

TEST_CASE("a waiting accept can be cancelled") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), AcceptMode::single);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  driver->cancel(tag);
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == -ECANCELED);
  CHECK_FALSE(completion.more);
}

TEST_CASE("accepted sockets are non-blocking, close on exec, and inherit the listener's options") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  const Socket peer = connect_to(bound_address(listener.fd()));
  AcceptMode mode = AcceptMode::single;
  SUBCASE("single") {
    mode = AcceptMode::single;
  }
  SUBCASE("multishot") {
    mode = AcceptMode::multishot;
  }
  const OpTag tag = driver.tag(OpKind::accept);
  driver->accept(tag, listener.fd(), mode);
  const Socket accepted(driver.wait(tag).result);
  CHECK((::fcntl(accepted.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(accepted.option(IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK(accepted.option(SOL_SOCKET, SO_KEEPALIVE) != 0);
  CHECK(accepted.option(IPPROTO_TCP, TCP_KEEPIDLE) == 60);
  CHECK(accepted.option(IPPROTO_TCP, TCP_KEEPINTVL) == 10);
  CHECK(accepted.option(IPPROTO_TCP, TCP_KEEPCNT) == 6);
  CHECK(accepted.option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 120'000);
}

TEST_CASE("keepalive that is turned off on the listener is off on accepted sockets") {
  Driver driver;
  const Socket listener = listen_on(loopback(), {.keepalive = false});
  const Socket peer = connect_to(bound_address(listener.fd()));
  const Socket accepted(driver.accept_one(listener.fd()).result);
  CHECK(accepted.option(IPPROTO_TCP, TCP_NODELAY) != 0);
  CHECK(accepted.option(SOL_SOCKET, SO_KEEPALIVE) == 0);
  CHECK(accepted.option(IPPROTO_TCP, TCP_USER_TIMEOUT) == 0);
}

TEST_CASE("without a free descriptor accept ends with EMFILE, and the connection is not lost") {
  Driver driver;
  const Socket listener = listen_on(loopback());
  const Socket peer = connect_to(bound_address(listener.fd()));
  const OpTag tag = driver.tag(OpKind::accept);
  {
    const NoFilesLeft none;
    driver->accept(tag, listener.fd(), AcceptMode::multishot);
    const Completion completion = driver.wait(tag);
    CHECK(completion.result == -EMFILE);
    CHECK_FALSE(completion.more);
  }
  const Socket accepted(driver.accept_one(listener.fd()).result);
  CHECK(driver->peer(accepted.fd()) == bound_address(peer.fd()));
}

}  // namespace millrace::io
