#include <doctest/doctest.h>
#include <unistd.h>

#include <cerrno>

#include "driver.hpp"

namespace millrace::io {

TEST_CASE("a poll for reading completes once, when data is there") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.near.fd(), PollFor::readable);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.write("x");
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == kPollIn);
  CHECK_FALSE(completion.more);
  pair.far.write("y");
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
}

TEST_CASE("a poll for reading completes at the end of the stream") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.near.fd(), PollFor::readable);
  pair.far.finish();
  CHECK((driver.wait(tag).result & kPollIn) != 0);
}

TEST_CASE("a poll for reading sees a reset") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.near.fd(), PollFor::readable);
  pair.far.reset();
  CHECK((driver.wait(tag).result & kPollError) != 0);
}

TEST_CASE("a poll for writing completes when the peer has made room") {
  Driver driver;
  const Pair pair = unix_pair();
  const std::string block = pattern(4096);
  while (::write(pair.near.get(), block.data(), block.size()) > 0) {
  }
  const OpTag tag = driver.tag(OpKind::poll_out);
  driver->poll(tag, pair.near.fd(), PollFor::writable);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  driver.turn_until([&] { return pair.far.read_now(1U << 20U).empty(); });
  CHECK(driver.wait(tag).result == kPollOut);
}

TEST_CASE("a poll for hang-up sees a reset, but neither data nor FIN") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::watch);
  driver->poll(tag, pair.near.fd(), PollFor::hangup);
  pair.far.write("data");
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.finish();
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.reset();
  const Completion completion = driver.wait(tag);
  CHECK((completion.result & (kPollError | kPollHangup)) != 0);
  CHECK_FALSE(completion.more);
}

TEST_CASE("a poll for hang-up that is armed after the FIN still sees the reset, once") {
  Driver driver;
  Pair pair = tcp_pair();
  pair.far.finish();
  const OpTag tag = driver.tag(OpKind::watch);
  driver->poll(tag, pair.near.fd(), PollFor::hangup);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.reset();
  CHECK((driver.wait(tag).result & kPollError) != 0);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
}

TEST_CASE("a poll for hang-up that is armed after the reset completes, again and again") {
  Driver driver;
  Pair pair = tcp_pair();
  pair.far.reset();
  const OpTag tag = driver.tag(OpKind::watch);
  for (int i = 0; i < 5; ++i) {
    driver->poll(tag, pair.near.fd(), PollFor::hangup);
    const Completion completion = driver.wait(tag);
    CHECK((completion.result & (kPollError | kPollHangup)) != 0);
    CHECK_FALSE(completion.more);
  }
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
}

TEST_CASE("a poll for hang-up sees that both directions have ended") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::watch);
  driver->poll(tag, pair.near.fd(), PollFor::hangup);
  CHECK(driver->shutdown_write(pair.near.fd()) == 0);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.finish();
  CHECK(driver.wait(tag).result == kPollHangup);
}

TEST_CASE("a poll for hang-up that is cancelled while the reset comes has one completion") {
  Driver driver;
  for (int turns_between = 0; turns_between < 4; ++turns_between) {
    CAPTURE(turns_between);
    Pair pair = tcp_pair();
    const OpTag tag = driver.tag(OpKind::watch);
    driver->poll(tag, pair.near.fd(), PollFor::hangup);
    driver.settle();
    pair.far.reset();
    for (int i = 0; i < turns_between; ++i) driver.turn(driver->now());
    driver->cancel(tag);
    const Completion completion = driver.wait(tag);
    CHECK((completion.result == -ECANCELED || (completion.result & kPollError) != 0));
    CHECK_FALSE(completion.more);
    driver.settle();
    CHECK_FALSE(driver.peek(tag).has_value());
  }
}

TEST_CASE("a poll that waits can be cancelled") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::watch);
  driver->poll(tag, pair.near.fd(), PollFor::hangup);
  driver->cancel(tag);
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == -ECANCELED);
  CHECK_FALSE(completion.more);
}

TEST_CASE("cancelling what is not there is harmless, and has no completion") {
  Driver driver;
  const OpTag tag = driver.tag(OpKind::recv);
  driver->cancel(tag);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
}

}  // namespace millrace::io
