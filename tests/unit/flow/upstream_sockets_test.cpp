#include "millrace/flow/upstream_sockets.hpp"

#include <doctest/doctest.h>

#include <set>
#include <vector>

#include "datagram_io.hpp"

namespace millrace::flow {
namespace {

using std::chrono::seconds;
using Taken = UpstreamSockets::Taken;

constexpr Instant kStart{seconds(1000)};
constexpr std::uint32_t kNone = UpstreamSockets::kNone;

struct Fixture {
  test::DatagramIo io;
  UpstreamSockets sockets{io, 1, 3};
  std::uint32_t group = sockets.add_group(net::Endpoint::ipv4(0, 0), 2);
};

}  // namespace

TEST_CASE("UpstreamSockets: sessions of different targets share a socket, sessions of one target do not") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  const Taken b = f.sockets.take(f.group, 1, kStart);
  CHECK(a.socket == b.socket);
  CHECK(f.io.opened == 1);
  REQUIRE(f.io.receiving.size() == 1);
  CHECK(f.io.receiving[0].side() == 1);
  CHECK(f.io.receiving[0].slot() == a.socket);
  const Taken c = f.sockets.take(f.group, 0, kStart);
  CHECK(c.socket != a.socket);
  CHECK(f.sockets.open() == 2);
  CHECK(f.sockets.fd(c.socket) != f.sockets.fd(a.socket));
}

TEST_CASE("UpstreamSockets: groups do not share") {
  Fixture f;
  const std::uint32_t other = f.sockets.add_group(net::Endpoint::ipv4(0x7f000001, 0), 1);
  CHECK(f.sockets.take(f.group, 0, kStart).socket != f.sockets.take(other, 0, kStart).socket);
}

TEST_CASE("UpstreamSockets: a place rests before it is taken again") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  f.sockets.give_back(f.group, 0, a.place, kStart);
  const Taken b = f.sockets.take(f.group, 0, kStart + UpstreamSockets::kRest - seconds(1));
  CHECK(b.socket != a.socket);
  const Taken c = f.sockets.take(f.group, 0, kStart + UpstreamSockets::kRest);
  CHECK(c.socket == a.socket);
  CHECK(f.io.opened == 2);
}

TEST_CASE("UpstreamSockets: at the limit a place rests shorter; without one there is nothing") {
  Fixture f;
  std::vector<Taken> taken;
  for (int i = 0; i < 3; ++i) taken.push_back(f.sockets.take(f.group, 0, kStart));
  CHECK(std::set{taken[0].socket, taken[1].socket, taken[2].socket}.size() == 3);
  const Taken none = f.sockets.take(f.group, 0, kStart);
  CHECK(none.socket == kNone);
  CHECK(none.error == EMFILE);
  f.sockets.give_back(f.group, 0, taken[1].place, kStart);
  f.sockets.give_back(f.group, 0, taken[0].place, kStart);
  CHECK(f.sockets.take(f.group, 0, kStart).socket == taken[1].socket);  // the one that has rested longest
  CHECK(f.sockets.take(f.group, 1, kStart).socket != kNone);            // the other target has all its places
}

TEST_CASE("UpstreamSockets: an open that fails is told, and tried again later") {
  Fixture f;
  f.io.open_error = ENOBUFS;
  CHECK(f.sockets.take(f.group, 0, kStart).error == ENOBUFS);
  CHECK(f.sockets.take(f.group, 0, kStart).socket == kNone);
  f.io.open_error = 0;
  CHECK(f.sockets.take(f.group, 0, kStart).socket != kNone);
  CHECK(f.sockets.open() == 1);
}

TEST_CASE("UpstreamSockets: a socket that nobody uses is closed, its receive first") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  CHECK(f.sockets.trim(kStart + seconds(100)) == kNever);  // it is in use
  f.sockets.give_back(f.group, 0, a.place, kStart + seconds(100));
  CHECK(f.sockets.trim(kStart + seconds(101)) < kNever);
  CHECK(f.io.cancelled.empty());
  const Instant later = kStart + seconds(101) + UpstreamSockets::kCloseAfter;
  (void)f.sockets.trim(later);
  REQUIRE(f.io.cancelled.size() == 1);
  CHECK(f.io.closed.empty());
  f.sockets.receive_ended(a.socket, false);
  CHECK(f.io.closed.size() == 1);
  CHECK(f.sockets.open() == 0);
  CHECK(f.sockets.trim(later) == kNever);
  const Taken again = f.sockets.take(f.group, 0, later);
  CHECK(again.socket == a.socket);  // the place lasts, with a new descriptor
  CHECK(f.io.opened == 2);
}

TEST_CASE("UpstreamSockets: a socket waits for its sends before it is closed") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  f.sockets.send_begun(a.socket);
  f.sockets.give_back(f.group, 0, a.place, kStart);
  f.sockets.close_all();
  f.sockets.receive_ended(a.socket, false);
  CHECK(f.io.closed.empty());
  f.sockets.send_ended(a.socket);
  CHECK(f.io.closed.size() == 1);
}

TEST_CASE("UpstreamSockets: one that is being closed is kept when a session wants it") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  f.sockets.give_back(f.group, 0, a.place, kStart);
  const Instant later = kStart + seconds(1) + UpstreamSockets::kCloseAfter;
  (void)f.sockets.trim(later);
  (void)f.sockets.trim(later + seconds(2));
  REQUIRE(f.io.cancelled.size() == 1);
  CHECK(f.sockets.take(f.group, 0, later + seconds(2)).socket == a.socket);
  f.sockets.receive_ended(a.socket, false);
  CHECK(f.io.closed.empty());
  CHECK(f.io.receiving.size() == 2);
  CHECK(f.io.opened == 1);
}

TEST_CASE("UpstreamSockets: after a lack of buffers a receive waits for resume()") {
  Fixture f;
  const Taken a = f.sockets.take(f.group, 0, kStart);
  f.sockets.receive_ended(a.socket, true);
  CHECK(f.io.receiving.size() == 1);
  f.sockets.resume();
  CHECK(f.io.receiving.size() == 2);
  f.sockets.resume();
  CHECK(f.io.receiving.size() == 2);
}

}  // namespace millrace::flow
