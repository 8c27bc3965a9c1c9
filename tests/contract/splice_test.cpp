// Every test runs with both ways of issuing a splice: the contract is the same.

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "driver.hpp"

namespace millrace::io {
namespace {

UringOptions with(SpliceIssue issue) {
  UringOptions options = small_options();
  options.splice = issue;
  return options;
}

struct SpliceTest {
  explicit SpliceTest(SpliceIssue issue) : driver(with(issue)) {
    Pipe pipe;
    REQUIRE(driver->open_pipe(pipe) == 0);
    read_end = Socket(pipe.read_end);
    write_end = Socket(pipe.write_end);
  }
  Driver driver;
  Socket read_end;
  Socket write_end;
};

}  // namespace

#define EACH_ISSUE(issue)        \
  SpliceIssue issue{};           \
  SUBCASE("direct") {            \
    issue = SpliceIssue::direct; \
  }                              \
  SUBCASE("ring") {              \
    issue = SpliceIssue::ring;   \
  }

TEST_CASE("splicing moves bytes from a socket through a pipe to a socket, in order") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair in = tcp_pair();
  const Pair out = tcp_pair();
  const std::string text = pattern(100'000);
  in.far.write(text);
  in.far.finish();
  std::string got;
  std::size_t moved = 0;
  test.driver.turn_until([&] {
    const std::int32_t taken = test.driver.splice(in.near.fd(), test.write_end.fd(), 1U << 20U);
    REQUIRE((taken >= 0 || taken == -EAGAIN));
    for (std::int32_t left = taken; left > 0;) {
      const std::int32_t given = test.driver.splice(test.read_end.fd(), out.near.fd(), 1U << 20U);
      REQUIRE((given > 0 || given == -EAGAIN));
      if (given > 0) left -= given;
      got += out.far.read_now(1U << 20U);
    }
    moved += static_cast<std::size_t>(std::max(taken, 0));
    return taken == 0;
  });
  CHECK(moved == text.size());
  got += out.far.read_all(text.size() - got.size());
  CHECK(got == text);
}

TEST_CASE("a splice from a socket without data says EAGAIN, at the end of the stream 0") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == -EAGAIN);
  pair.far.write("abc");
  pair.far.finish();
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == 3);
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == 0);
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == 0);
}

TEST_CASE("a splice from an empty pipe says EAGAIN") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  CHECK(test.driver.splice(test.read_end.fd(), pair.near.fd(), 4096) == -EAGAIN);
}

TEST_CASE("a splice into a full pipe says EAGAIN") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  while (::write(test.write_end.get(), "x", 1) == 1) {
  }
  pair.far.write("abc");
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == -EAGAIN);
}

TEST_CASE("a splice into a socket without room says EAGAIN, and the bytes stay in the pipe") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  const std::string block = pattern(65'536);
  const auto fill = [&] {
    while (::write(test.write_end.get(), block.data(), block.size()) > 0) {
    }
  };
  std::size_t sent = 0;
  std::int32_t result = 1;
  while (result > 0) {
    fill();
    result = test.driver.splice(test.read_end.fd(), pair.near.fd(), 1U << 20U);
    if (result > 0) sent += static_cast<std::size_t>(result);
    REQUIRE(sent < 1U << 28U);
  }
  CHECK(result == -EAGAIN);
  CHECK(pair.far.read_all(sent).size() == sent);
  test.driver.turn_until([&] { return test.driver.splice(test.read_end.fd(), pair.near.fd(), 1U << 20U) > 0; });
}

TEST_CASE("a splice to a peer that has reset is an error") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  Pair pair = tcp_pair();
  pair.far.reset();
  REQUIRE(::write(test.write_end.get(), "abc", 3) == 3);
  const std::int32_t first = test.driver.splice(test.read_end.fd(), pair.near.fd(), 4096);
  CHECK((first == -EPIPE || first == -ECONNRESET));
}

TEST_CASE("a splice from a peer that has reset is ECONNRESET") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  Pair pair = tcp_pair();
  pair.far.reset();
  CHECK(test.driver.splice(pair.near.fd(), test.write_end.fd(), 4096) == -ECONNRESET);
}

TEST_CASE("cancelling a splice leaves exactly one completion") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  const OpTag tag = test.driver.tag(OpKind::splice_in);
  test.driver->splice(tag, pair.near.fd(), test.write_end.fd(), 4096);
  test.driver->cancel(tag);
  const std::int32_t result = test.driver.wait(tag).result;
  CHECK((result == -EAGAIN || result == -ECANCELED));
  test.driver.settle();
  CHECK_FALSE(test.driver.peek(tag).has_value());
}

TEST_CASE("more splices at once than the queue holds all complete") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair pair = tcp_pair();
  std::vector<OpTag> tags;
  for (int i = 0; i < 5'000; ++i) {
    tags.push_back(test.driver.tag(OpKind::splice_in));
    // Many on one socket is for this test only; it has no data.
    test.driver->splice(tags.back(), pair.near.fd(), test.write_end.fd(), 4096);
  }
  std::size_t done = 0;
  for (const OpTag tag : tags) {
    if (test.driver.wait(tag).result == -EAGAIN) ++done;
  }
  CHECK(done == tags.size());
}

TEST_CASE("a stream of splices does not starve other operations") {
  EACH_ISSUE(issue)
  SpliceTest test(issue);
  const Pair busy = tcp_pair();
  const Pair other = tcp_pair();
  const OpTag receive = test.driver.tag(OpKind::recv);
  test.driver->recv(receive, other.near.fd());
  test.driver.settle();
  other.far.write("x");
  const OpTag splice = test.driver.tag(OpKind::splice_in);
  test.driver->splice(splice, busy.near.fd(), test.write_end.fd(), 4096);
  std::optional<Completion> received;
  for (int i = 0; i < 100'000 && !received.has_value(); ++i) {
    test.driver.turn(kNever);  // a splice is always at hand, so this never waits for long
    if (test.driver.peek(splice)) test.driver->splice(splice, busy.near.fd(), test.write_end.fd(), 4096);
    received = test.driver.peek(receive);
  }
  REQUIRE(received.has_value());
  CHECK(test.driver.take_bytes(*received) == "x");
}

TEST_CASE("a pipe is non-blocking, of the size asked for, or smaller where that is not allowed") {
  UringOptions options = small_options();
  options.pipe_bytes = 256 * 1024;
  Driver driver(options);
  Pipe pipe;
  REQUIRE(driver->open_pipe(pipe) == 0);
  const Socket read_end(pipe.read_end);
  const Socket write_end(pipe.write_end);
  CHECK((::fcntl(read_end.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(write_end.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(read_end.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK(::fcntl(write_end.get(), F_GETPIPE_SZ) >= 4096);
  options.pipe_bytes = 0xffffffffU;  // never possible
  Driver greedy(options);
  REQUIRE(greedy->open_pipe(pipe) == 0);
  const Socket small_read_end(pipe.read_end);
  const Socket small_write_end(pipe.write_end);
  CHECK(::fcntl(small_write_end.get(), F_GETPIPE_SZ) >= 4096);
}

}  // namespace millrace::io
