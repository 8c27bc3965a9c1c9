#include <doctest/doctest.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <string>

#include "driver.hpp"

namespace millrace::io {

TEST_CASE("multishot receive brings data in order, then the end of the stream") {
  Driver driver;
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  const std::string text = pattern(10'000);
  pair.far.write(text.substr(0, 3'000));
  CHECK(driver.collect(tag, 3'000) == text.substr(0, 3'000));
  pair.far.write(text.substr(3'000));
  CHECK(driver.collect(tag, 7'000) == text.substr(3'000));
  pair.far.finish();
  const Completion last = driver.wait(tag);
  CHECK(last.result == 0);
  CHECK(last.buffer == kNoBuffer);
  CHECK_FALSE(last.more);
}

TEST_CASE("receive finds data that came before it was armed") {
  Driver driver;
  const Pair pair = tcp_pair();
  pair.far.write("early");
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  const Completion completion = driver.wait(tag);
  CHECK(completion.more);
  CHECK(driver.take_bytes(completion) == "early");
  driver->cancel(tag);
  CHECK(driver.wait(tag).result == -ECANCELED);
}

TEST_CASE("data and FIN together: first the data, then the end") {
  Driver driver;
  Pair pair = tcp_pair();
  pair.far.write("last words");
  pair.far.close();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  std::optional<Completion> last;
  CHECK(driver.collect(tag, 1'000, &last) == "last words");
  REQUIRE(last.has_value());
  CHECK(last->result == 0);
}

TEST_CASE("a reset ends a receive with ECONNRESET") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  driver.settle();
  pair.far.reset();
  const Completion last = driver.wait(tag);
  CHECK(last.result == -ECONNRESET);
  CHECK_FALSE(last.more);
  CHECK(last.buffer == kNoBuffer);
}

TEST_CASE("data and a reset together: first the data, then the reset") {
  Driver driver;
  Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  SUBCASE("while the receive waits") {
    driver->recv(tag, pair.near.fd());
    driver.settle();
    pair.far.write("last words");
    pair.far.reset();
  }
  SUBCASE("before it is armed") {
    pair.far.write("last words");
    pair.far.reset();
    driver->recv(tag, pair.near.fd());
  }
  std::optional<Completion> last;
  CHECK(driver.collect(tag, 1'000, &last) == "last words");
  REQUIRE(last.has_value());
  CHECK(last->result == -ECONNRESET);
}

TEST_CASE("receive works on a unix socket") {
  Driver driver;
  Pair pair = unix_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  pair.far.write("hello");
  CHECK(driver.collect(tag, 5) == "hello");
  pair.far.close();
  CHECK(driver.wait(tag).result == 0);
}

TEST_CASE("a receive that brings much ends, so that whoever asked may do otherwise; nothing is lost") {
  if (!features().recv_limit) {
    MESSAGE("skipped: this kernel has no limit for a multishot receive (Linux 6.17)");
    return;
  }
  UringOptions options = small_options();
  options.buffers = {.count = 64, .bytes_per_buffer = 16 * 1024};
  Driver driver(options);
  const Pair pair = tcp_pair();
  const std::string text = pattern(200'000);
  pair.far.write(text);
  pair.far.finish();
  const OpTag tag = driver.tag(OpKind::recv);
  std::string got;
  int ended_with_bytes = 0;
  std::size_t most = 0;
  for (std::optional<Completion> last; !last || last->result != 0;) {
    last.reset();
    driver->recv(tag, pair.near.fd());
    std::size_t brought = 0;
    while (!last) {
      const Completion completion = driver.wait(tag);
      if (!completion.more) last = completion;
      if (completion.result <= 0) break;
      brought += static_cast<std::size_t>(completion.result);
      got += driver.take_bytes(completion);
    }
    REQUIRE(last.has_value());
    REQUIRE(last->result >= 0);
    ended_with_bytes += last->result > 0 ? 1 : 0;
    most = std::max(most, brought);
  }
  CHECK(got == text);
  CHECK(ended_with_bytes >= 2);
  CHECK(most < 64 * 1024 + options.buffers.bytes_per_buffer);
}

TEST_CASE("a wider window makes room for what is not read, and a single byte is still told") {
  constexpr std::uint32_t kWindow = 512 * 1024;
  Driver driver;
  Pair pair;
  SUBCASE("TCP") {
    pair = tcp_pair();
    const ReceiveQueue before = driver->receive_queue(pair.near.fd());
    REQUIRE(before.limit > 0);
    REQUIRE(before.limit < kWindow);
    driver->widen_window(pair.near.fd(), kWindow);
    CHECK(driver->receive_queue(pair.near.fd()).limit >= kWindow);
    driver->widen_window(pair.near.fd(), kWindow / 4);
    CHECK(driver->receive_queue(pair.near.fd()).limit >= kWindow);  // it does not narrow
  }
  SUBCASE("a unix socket has none") {
    pair = unix_pair();
    driver->widen_window(pair.near.fd(), kWindow);
  }
  const OpTag tag = driver.tag(OpKind::poll_in);
  driver->poll(tag, pair.near.fd(), PollFor::readable);
  driver.settle();
  CHECK_FALSE(driver.peek(tag).has_value());
  pair.far.write("x");
  CHECK((driver.wait(tag).result & kPollIn) != 0);
}

TEST_CASE("without a free buffer a receive ends with ENOBUFS, and re-arming loses nothing") {
  UringOptions options = small_options();
  options.buffers = {.count = 3, .bytes_per_buffer = 512};
  Driver driver(options);
  const Pair pair = tcp_pair();
  const std::string text = pattern(20'000);
  pair.far.write(text);
  pair.far.finish();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  std::string got;
  std::vector<BufferId> held;
  bool shortage_seen = false;
  for (bool ended = false; !ended;) {
    const Completion completion = driver.wait(tag);
    if (completion.result > 0) {
      const auto* data = reinterpret_cast<const char*>(driver->buffers().data(completion.buffer));
      got.append(data, static_cast<std::size_t>(completion.result));
      held.push_back(completion.buffer);
    }
    if (completion.more) continue;
    ended = completion.result == 0;
    shortage_seen = shortage_seen || completion.result == -ENOBUFS;
    REQUIRE((ended || completion.result == -ENOBUFS || completion.result > 0));
    for (const BufferId id : held) driver->buffers().give_back(id);
    held.clear();
    if (!ended) driver->recv(tag, pair.near.fd());
  }
  CHECK(shortage_seen);
  CHECK(got == text);
}

TEST_CASE("an idle receive holds no buffer of its own, and can be cancelled") {
  Driver driver;
  const Pair pair = tcp_pair();
  driver.settle();
  const std::uint32_t free_before = driver->buffers().free_count();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  driver.settle();
  CHECK(driver->buffers().free_count() == free_before);
  driver->cancel(tag);
  const Completion last = driver.wait(tag);
  CHECK(last.result == -ECANCELED);
  CHECK_FALSE(last.more);
  CHECK(last.buffer == kNoBuffer);
}

TEST_CASE("cancelling a receive with data on the way loses nothing") {
  Driver driver;
  const Pair pair = tcp_pair();
  const std::string text = pattern(40'000);
  std::string got;
  for (std::size_t sent = 0; sent < text.size(); sent += 4'000) {
    const OpTag tag = driver.tag(OpKind::recv);
    driver->recv(tag, pair.near.fd());
    pair.far.write(text.substr(sent, 4'000));
    driver->cancel(tag);
    std::optional<Completion> last;
    got += driver.collect(tag, text.size(), &last);
    REQUIRE(last.has_value());
  }
  pair.far.finish();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  got += driver.collect(tag, text.size());
  CHECK(got == text);
}

TEST_CASE("every buffer comes back after much traffic") {
  Driver driver;
  const Pair pair = tcp_pair();
  driver.settle();
  const std::uint32_t free_before = driver->buffers().free_count();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  for (int i = 0; i < 200; ++i) {
    pair.far.write(pattern(2'000));
    for (std::size_t got = 0; got < 2'000;) {
      std::optional<Completion> last;
      got += driver.collect(tag, 2'000 - got, &last).size();
      if (!last) continue;
      REQUIRE(last->result > 0);  // it ends now and then
      driver->recv(tag, pair.near.fd());
    }
  }
  pair.far.finish();
  CHECK(driver.wait(tag).result == 0);
  driver.settle();
  CHECK(driver->buffers().free_count() == free_before);
}

TEST_CASE("the kernel is lent more buffers when a burst needs them") {
  UringOptions options = small_options();
  options.buffers = {.count = 1024, .bytes_per_buffer = 256};
  options.submission_entries = 512;
  options.completion_entries = 1024;
  options.batch = 512;
  Driver driver(options);
  constexpr std::size_t kSockets = 100;  // more than are lent at first, fewer than ever are
  std::vector<Pair> pairs;
  std::vector<OpTag> tags;
  for (std::size_t i = 0; i < kSockets; ++i) {
    pairs.push_back(unix_pair());
    tags.push_back(driver.tag(OpKind::recv));
  }
  const auto burst = [&] {
    unsigned shortages = 0;
    for (std::size_t i = 0; i < kSockets; ++i) {
      pairs[i].far.write("x");
      driver->recv(tags[i], pairs[i].near.fd());  // all of them in one submission
    }
    for (std::size_t i = 0; i < kSockets; ++i) {
      bool armed = true;
      for (std::string got; got.empty();) {
        const Completion completion = driver.wait(tags[i]);
        got = driver.take_bytes(completion);
        armed = completion.more;
        if (completion.result == -ENOBUFS) ++shortages;
        if (!completion.more && got.empty()) driver->recv(tags[i], pairs[i].near.fd());
      }
      if (!armed) continue;
      driver->cancel(tags[i]);
      CHECK(driver.wait(tags[i]).result < 0);
    }
    return shortages;
  };
  CHECK(burst() > 0);
  unsigned bursts = 1;
  while (burst() > 0) REQUIRE(++bursts < 10);
}

}  // namespace millrace::io
