#include <doctest/doctest.h>
#include <linux/tcp.h>  // that of netinet/ knows no tcpi_segs_in
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "driver.hpp"

namespace millrace::io {
namespace {

std::sig_atomic_t volatile pipe_signals = 0;

/// Counts SIGPIPE instead of ignoring it.
class CountPipeSignals {
 public:
  CountPipeSignals() {
    pipe_signals = 0;
    before_ = std::signal(SIGPIPE, [](int) { pipe_signals = pipe_signals + 1; });
  }
  ~CountPipeSignals() { (void)std::signal(SIGPIPE, before_); }
  CountPipeSignals(const CountPipeSignals&) = delete;
  CountPipeSignals& operator=(const CountPipeSignals&) = delete;

 private:
  void (*before_)(int);
};

}  // namespace

TEST_CASE("a small send completes with all its bytes") {
  Driver driver;
  const Pair pair = tcp_pair();
  CHECK(driver.send(pair.near.fd(), "hello") == 5);
  CHECK(pair.far.read_all(5) == "hello");
}

TEST_CASE("a send of more than the socket holds completes, whole, once the peer reads") {
  Driver driver;
  const Pair pair = tcp_pair();
  const std::string text = pattern(32'000'000);
  const OpTag tag = driver.tag(OpKind::send);
  SUBCASE("one slice") {
    const std::array slices = {bytes_of(text)};
    driver->send(tag, pair.near.fd(), slices);
  }
  SUBCASE("several slices") {
    const std::string_view view = text;
    const std::array slices = {bytes_of(view.substr(0, 10)), bytes_of(view.substr(10, 20'000'000)),
                               bytes_of(view.substr(20'000'010))};
    driver->send(tag, pair.near.fd(), slices);
  }
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  std::string got;
  driver.turn_until([&] {
    for (std::string piece = pair.far.read_now(1U << 20U); !piece.empty(); piece = pair.far.read_now(1U << 20U)) {
      got += piece;
    }
    return got.size() == text.size();
  });
  CHECK(got == text);
  const Completion completion = driver.wait(tag);
  CHECK(completion.result == static_cast<std::int32_t>(text.size()));
  CHECK_FALSE(completion.more);
}

namespace {

/// Segments with payload, or FIN, that have come in.
std::uint32_t segments_in(const Socket& socket) {
  tcp_info info{};
  socklen_t length = sizeof info;
  REQUIRE(::getsockopt(socket.get(), IPPROTO_TCP, TCP_INFO, &info, &length) == 0);
  return info.tcpi_segs_in;
}

}  // namespace

TEST_CASE("the last send and FIN leave in one segment") {
  Driver driver;
  const Pair pair = tcp_pair();
  std::string_view expected = "the end";
  const OpTag tag = driver.tag(OpKind::send);
  SUBCASE("one slice") {
    driver->send(tag, pair.near.fd(), std::array{bytes_of(expected)});
  }
  SUBCASE("two slices") {
    driver->send(tag, pair.near.fd(), std::array{bytes_of(expected.substr(0, 4)), bytes_of(expected.substr(4))});
  }
  driver->send_is_last(tag);
  const std::uint32_t before = segments_in(pair.far);
  CHECK(driver.wait(tag).result == static_cast<std::int32_t>(expected.size()));
  CHECK(segments_in(pair.far) == before);
  CHECK(driver->shutdown_write(pair.near.fd()) == 0);
  CHECK(pair.far.read_all(expected.size()) == expected);
  CHECK(pair.far.read(1).empty());
  CHECK(segments_in(pair.far) == before + 1);
}

TEST_CASE("bytes that wait for FIN leave at a close, and with the next send") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::send);
  driver->send(tag, pair.near.fd(), std::array{bytes_of("one ")});
  driver->send_is_last(tag);
  CHECK(driver.wait(tag).result == 4);
  SUBCASE("close") {
    driver->close(pair.near.release(), CloseMode::normal);
    CHECK(pair.far.read_all(4) == "one ");
    CHECK(pair.far.read(1).empty());
  }
  SUBCASE("send") {
    CHECK(driver.send(pair.near.fd(), "two") == 3);
    CHECK(pair.far.read_all(7) == "one two");
  }
}

TEST_CASE("to call a send the last one after it was submitted changes nothing") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::send);
  driver->send(tag, pair.near.fd(), std::array{bytes_of("hello")});
  CHECK(driver.wait(tag).result == 5);
  driver->send_is_last(tag);
  CHECK(driver.send(pair.near.fd(), "!") == 1);
  CHECK(pair.far.read_all(6) == "hello!");
}

TEST_CASE("slices are sent in order, and the list of them may go away at once") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::send);
  std::array<std::span<const std::byte>, Io::kMaxSlices> slices = {
      bytes_of("one "),  bytes_of("two "), bytes_of("three "), bytes_of("four "),
      bytes_of("five "), bytes_of("six "), bytes_of("seven "), bytes_of("eight")};
  driver->send(tag, pair.near.fd(), slices);
  slices.fill({});
  CHECK(driver.wait(tag).result == 39);
  CHECK(pair.far.read_all(39) == "one two three four five six seven eight");
}

TEST_CASE("sending to a peer that has reset is an error, not a signal") {
  const CountPipeSignals counter;
  Driver driver;
  Pair pair = tcp_pair();
  pair.far.reset();
  const std::int32_t first = driver.send(pair.near.fd(), "x");
  CHECK((first == -ECONNRESET || first == -EPIPE));
  CHECK(driver.send(pair.near.fd(), "x") == -EPIPE);
  const OpTag tag = driver.tag(OpKind::send);
  const std::array slices = {bytes_of("a"), bytes_of("b")};
  driver->send(tag, pair.near.fd(), slices);
  CHECK(driver.wait(tag).result == -EPIPE);
  CHECK(pipe_signals == 0);
}

TEST_CASE("a waiting send can be cancelled, and its result says how much went out") {
  Driver driver;
  Pair pair = tcp_pair();
  const std::string text = pattern(32'000'000);
  const OpTag tag = driver.tag(OpKind::send);
  const std::array slices = {bytes_of(text)};
  driver->send(tag, pair.near.fd(), slices);
  driver.settle();
  driver->cancel(tag);
  const Completion completion = driver.wait(tag);
  CHECK_FALSE(completion.more);
  CHECK(completion.result > 0);
  CHECK(completion.result < static_cast<std::int32_t>(text.size()));
  driver->close(pair.near.release(), CloseMode::normal);
  const std::string got = pair.far.read_all(text.size());
  CHECK(got.size() == static_cast<std::size_t>(completion.result));
  CHECK(text.starts_with(got));
}

TEST_CASE("a waiting send ends when the peer resets") {
  Driver driver;
  Pair pair = tcp_pair();
  const std::string text = pattern(32'000'000);
  const OpTag tag = driver.tag(OpKind::send);
  const std::array slices = {bytes_of(text)};
  driver->send(tag, pair.near.fd(), slices);
  driver.settle();
  pair.far.reset();
  const Completion completion = driver.wait(tag);
  CHECK(completion.result < static_cast<std::int32_t>(text.size()));
  CHECK_FALSE(completion.more);
}

TEST_CASE("many more sends in one pass than there are submission entries") {
  UringOptions options = small_options();
  options.submission_entries = 4;
  options.completion_entries = 8;
  Driver driver(options);
  constexpr std::size_t kSockets = 100;
  std::vector<Pair> pairs;
  std::vector<std::string> texts;
  std::vector<OpTag> tags;
  for (std::size_t i = 0; i < kSockets; ++i) {
    pairs.push_back(unix_pair());
    texts.push_back("message " + std::to_string(i));
    tags.push_back(driver.tag(OpKind::send));
  }
  for (std::size_t i = 0; i < kSockets; ++i) {
    const std::array slices = {bytes_of(texts[i])};
    driver->send(tags[i], pairs[i].near.fd(), slices);
  }
  for (std::size_t i = 0; i < kSockets; ++i) {
    CHECK(driver.wait(tags[i]).result == static_cast<std::int32_t>(texts[i].size()));
    CHECK(pairs[i].far.read_now(100) == texts[i]);
  }
}

TEST_CASE("many more multi-slice sends in one pass than there is scratch memory for") {
  UringOptions options = small_options();
  options.submission_entries = 1024;
  options.completion_entries = 2048;
  Driver driver(options);
  constexpr std::size_t kSockets = 300;
  std::vector<Pair> pairs;
  std::vector<std::string> texts;
  std::vector<OpTag> tags;
  for (std::size_t i = 0; i < kSockets; ++i) {
    pairs.push_back(unix_pair());
    texts.push_back(std::to_string(i));
    tags.push_back(driver.tag(OpKind::send));
  }
  for (std::size_t i = 0; i < kSockets; ++i) {
    const std::array slices = {bytes_of(texts[i]), bytes_of("|")};
    driver->send(tags[i], pairs[i].near.fd(), slices);
  }
  for (std::size_t i = 0; i < kSockets; ++i) {
    CHECK(driver.wait(tags[i]).result == static_cast<std::int32_t>(texts[i].size() + 1));
    CHECK(pairs[i].far.read_now(100) == texts[i] + "|");
  }
}

}  // namespace millrace::io
