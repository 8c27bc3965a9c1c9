#include <doctest/doctest.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "driver.hpp"

namespace millrace::io {

TEST_CASE("an ordinary close sends FIN after what was sent") {
  Driver driver;
  Pair pair = tcp_pair();
  CHECK(driver.send(pair.near.fd(), "bye") == 3);
  driver->close(pair.near.release(), CloseMode::normal);
  driver.turn(driver->now());
  CHECK(pair.far.read_all(3) == "bye");
  int error = -1;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == 0);
}

TEST_CASE("an ordinary close with unread data resets") {
  Driver driver;
  Pair pair = tcp_pair();
  pair.far.write("never read");
  driver->close(pair.near.release(), CloseMode::normal);
  driver.turn(driver->now());
  int error = 0;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == ECONNRESET);
}

TEST_CASE("TCP_INFO: known while the descriptor is open, even after a reset; not of a unix socket") {
  Driver driver;
  Pair pair = tcp_pair();
  const TcpInfo open = driver->tcp_info(pair.near.fd());
  CHECK(open.known);
  CHECK(open.rtt_us > 0);  // from the handshake
  pair.far.reset();
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.near.fd(), PollFor::readable);
  CHECK((driver.wait(tag).result & kPollError) != 0);
  const TcpInfo ended = driver->tcp_info(pair.near.fd());
  CHECK(ended.known);
  CHECK(ended.rtt_us == open.rtt_us);
  CHECK_FALSE(driver->tcp_info(unix_pair().near.fd()).known);
}

TEST_CASE("a close by reset is seen as ECONNRESET") {
  Driver driver;
  Pair pair = tcp_pair();
  driver->close(pair.near.release(), CloseMode::reset);
  driver.turn(driver->now());
  int error = 0;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == ECONNRESET);
}

TEST_CASE("a close takes effect before turn() waits") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.far.fd(), PollFor::readable);
  driver.settle();
  driver->close(pair.near.release(), CloseMode::normal);
  CHECK((driver.wait(tag).result & kPollIn) != 0);  // waits in turn() for the FIN
}

TEST_CASE("a close after a cancelled receive sends FIN: nothing holds the socket any more") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  driver.settle();
  driver->cancel(tag);
  CHECK(driver.wait(tag).result == -ECANCELED);
  driver->close(pair.near.release(), CloseMode::normal);
  driver.turn(driver->now());
  int error = -1;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == 0);
}

TEST_CASE("a close just before the ring goes away is not lost") {
  Pair pair = tcp_pair();
  {
    Driver driver;
    driver->close(pair.near.release(), CloseMode::normal);
  }
  int error = -1;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == 0);
}

TEST_CASE("once the ring is gone, nothing of it holds a socket open") {
  Pair pair = tcp_pair();
  {
    Driver driver;
    driver->recv(driver.tag(OpKind::recv), pair.near.fd());
    driver->poll(driver.tag(OpKind::watch), pair.near.fd(), PollFor::hangup);
    driver.settle();
  }
  pair.near.close();
  char byte = 0;
  CHECK(::recv(pair.far.get(), &byte, 1, MSG_DONTWAIT) == 0);  // FIN is there already
}

TEST_CASE("shutting down one direction leaves the other open") {
  Driver driver;
  Pair pair = tcp_pair();
  CHECK(driver->shutdown_write(pair.near.fd()) == 0);
  int error = -1;
  CHECK(pair.far.read(10, &error).empty());
  CHECK(error == 0);
  pair.far.write("still here");
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  CHECK(driver.collect(tag, 10) == "still here");
  pair.far.close();
  CHECK(driver.wait(tag).result == 0);
}

TEST_CASE("shutting down after a reset says ENOTCONN") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  pair.far.reset();
  CHECK(driver.wait(tag).result == -ECONNRESET);
  CHECK(driver->shutdown_write(pair.near.fd()) == ENOTCONN);
}

TEST_CASE("unsent bytes are counted until the peer has them") {
  Driver driver;
  Pair pair = tcp_pair();
  CHECK(driver->bytes_unsent(pair.near.fd()) == 0);
  const std::string text = pattern(32'000'000);
  const OpTag tag = driver.tag(OpKind::send);
  const std::array slices = {bytes_of(text)};
  driver->send(tag, pair.near.fd(), slices);
  driver.settle();
  CHECK(driver->bytes_unsent(pair.near.fd()) > 0);
  driver.turn_until([&] {
    (void)pair.far.read_now(1U << 20U);
    return driver->bytes_unsent(pair.near.fd()) == 0;
  });
  CHECK(driver.wait(tag).result == static_cast<std::int32_t>(text.size()));
}

}  // namespace millrace::io
