#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <new>
#include <thread>

#include "driver.hpp"

namespace {
std::atomic<std::size_t> allocations{0};
}  // namespace

// Every allocation of the program, so that a test can say that there are none.
void* operator new(std::size_t bytes) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}

namespace millrace::io {
namespace {

Instant far_from(Instant now) {
  return now + std::chrono::seconds(30);
}

std::sig_atomic_t volatile alarms = 0;

}  // namespace

TEST_CASE("a deadline in the past does not wait") {
  Driver driver;
  CHECK(driver->turn(Instant{}).empty());
  CHECK(driver->turn(driver->now()).empty());
}

TEST_CASE("turn() ends when its deadline has passed, not before") {
  Driver driver;
  const Instant deadline = driver->now() + std::chrono::milliseconds(2);
  CHECK(driver->turn(deadline).empty());
  CHECK(driver->now() >= deadline);
}

TEST_CASE("a wait that gathers ends with its deadline, with a wake-up, and with one completion alone") {
  Driver driver;
  driver->set_gather_time(std::chrono::microseconds(500));
  const Instant deadline = driver->now() + std::chrono::milliseconds(3);
  while (driver->now() < deadline) CHECK(driver->turn(deadline).empty());
  std::thread waker([&driver] { driver->wake(); });
  driver->turn(far_from(driver->now()));
  waker.join();
  CHECK(driver->now() < far_from(deadline));
  driver->set_gather_time(Nanos(0));
  CHECK(driver->turn(driver->now()).empty());
}

TEST_CASE("a wait that looks before it sleeps ends with its deadline, with a wake-up, and with a completion") {
  UringOptions options = small_options();
  SUBCASE("and sleeps") {
    options.busy_poll = std::chrono::microseconds(100);
  }
  SUBCASE("and does not come to sleep") {
    options.busy_poll = std::chrono::hours(1);
  }
  Driver driver(options);
  const Instant deadline = driver->now() + std::chrono::milliseconds(2);
  while (driver->now() < deadline) CHECK(driver->turn(deadline).empty());
  std::thread waker([&driver] { driver->wake(); });
  CHECK(driver->turn(kNever).empty());
  waker.join();
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  std::thread writer([&pair] { pair.far.write("text"); });
  const std::span<const Completion> brought = driver->turn(kNever);
  writer.join();
  REQUIRE(brought.size() == 1);
  CHECK(driver.take_bytes(brought[0]) == "text");
}

TEST_CASE("now() is the time of the last turn") {
  Driver driver;
  driver.turn(driver->now());
  const Instant first = driver->now();
  CHECK(driver->now() == first);
  CHECK(std::chrono::steady_clock::now() >= first);
  driver.turn(first + std::chrono::microseconds(1));
  CHECK(driver->now() > first);
}

TEST_CASE("wake() before turn() ends the next wait, and only that") {
  Driver driver;
  driver->wake();
  driver->wake();
  CHECK(driver->turn(kNever).empty());
  const Instant deadline = driver->now() + std::chrono::milliseconds(1);
  CHECK(driver->turn(deadline).empty());
  CHECK(driver->now() >= deadline);
  driver->wake();
  CHECK(driver->turn(kNever).empty());
}

TEST_CASE("wake() from another thread ends a wait, any number of times") {
  Driver driver;
  std::atomic<int> requested{0};
  std::atomic<int> seen{0};
  constexpr int kRounds = 200;
  std::thread waker([&] {
    for (int i = 1; i <= kRounds; ++i) {
      requested.store(i, std::memory_order_relaxed);
      driver->wake();
      while (seen.load(std::memory_order_relaxed) < i) std::this_thread::yield();
    }
  });
  const Instant limit = far_from(driver->now());
  while (seen.load(std::memory_order_relaxed) < kRounds && driver->now() < limit) {
    driver.turn(limit);
    seen.store(requested.load(std::memory_order_relaxed), std::memory_order_relaxed);
  }
  CHECK(driver->now() < limit);  // else a wake-up was lost
  seen.store(kRounds, std::memory_order_relaxed);
  waker.join();
}

TEST_CASE("a signal does not disturb the loop") {
  Driver driver;
  alarms = 0;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { alarms = alarms + 1; };
  REQUIRE(::sigaction(SIGALRM, &action, &before) == 0);
  const itimerval every{.it_interval = {.tv_sec = 0, .tv_usec = 500}, .it_value = {.tv_sec = 0, .tv_usec = 500}};
  REQUIRE(::setitimer(ITIMER_REAL, &every, nullptr) == 0);
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  driver.turn_until([] { return alarms >= 5; });
  pair.far.write("x");
  CHECK(driver.collect(tag, 1) == "x");
  const itimerval never{};
  REQUIRE(::setitimer(ITIMER_REAL, &never, nullptr) == 0);
  REQUIRE(::sigaction(SIGALRM, &before, nullptr) == 0);
}

TEST_CASE("a batch is bounded, and what does not fit comes with the next") {
  UringOptions options = small_options();
  options.batch = 4;
  Driver driver(options);
  std::vector<Pair> pairs;
  std::vector<OpTag> tags;
  for (int i = 0; i < 50; ++i) {
    pairs.push_back(unix_pair());
    tags.push_back(driver.tag(OpKind::poll_out));
    driver->poll(tags.back(), pairs.back().near.fd(), PollFor::writable);
  }
  std::vector<OpTag> done;
  const Instant limit = far_from(driver->now());
  while (done.size() < tags.size() && driver->now() < limit) {
    const std::span<const Completion> batch = driver->turn(limit);
    CHECK(batch.size() <= 4);
    for (const Completion& completion : batch) done.push_back(completion.tag);
  }
  CHECK(done == tags);  // and in order
}

TEST_CASE("more completions than the completion queue holds are not lost") {
  UringOptions options = small_options();
  options.submission_entries = 4;
  options.completion_entries = 8;
  options.batch = 4;
  Driver driver(options);
  constexpr std::size_t kSockets = 100;
  std::vector<Pair> pairs;
  std::vector<OpTag> tags;
  for (std::size_t i = 0; i < kSockets; ++i) {
    pairs.push_back(unix_pair());
    tags.push_back(driver.tag(OpKind::poll_in));
    driver->poll(tags[i], pairs[i].near.fd(), PollFor::readable);
  }
  driver.settle();
  for (const Pair& pair : pairs) pair.far.write("x");
  for (const OpTag tag : tags) CHECK(driver.wait(tag).result == kPollIn);
}

TEST_CASE("a multishot receive survives an overflow of the completion queue") {
  UringOptions options = small_options();
  options.submission_entries = 4;
  options.completion_entries = 8;
  options.batch = 2;
  options.buffers = {.count = 64, .bytes_per_buffer = 16};
  Driver driver(options);
  const Pair pair = tcp_pair();
  const std::string text = pattern(5'000);
  pair.far.write(text);
  pair.far.finish();
  const OpTag tag = driver.tag(OpKind::recv);
  std::string got;
  std::int32_t last = -ENOBUFS;
  while (last != 0) {
    driver->recv(tag, pair.near.fd());
    std::optional<Completion> end;
    got += driver.collect(tag, text.size() + 1, &end);
    REQUIRE(end.has_value());
    last = end->result;
    REQUIRE((last >= 0 || last == -ENOBUFS));
  }
  CHECK(got == text);
}

TEST_CASE("the loop and its verbs allocate nothing") {
  Driver driver;
  const Pair pair = tcp_pair();
  const Socket listener = listen_on(loopback());
  const net::Endpoint remote = bound_address(listener.fd());
  const std::string text = pattern(100);
  const OpTag receive = driver.tag(OpKind::recv);
  const OpTag send = driver.tag(OpKind::send);
  const OpTag poll = driver.tag(OpKind::watch);
  const OpTag connect = driver.tag(OpKind::connect);
  Io& io = *driver;
  Pipe pipe;
  REQUIRE(io.open_pipe(pipe) == 0);
  const auto round = [&] {
    const FdResult opened = io.open_stream(remote, {});
    const std::array slices = {bytes_of(text), bytes_of(text)};
    io.recv(receive, pair.near.fd());
    io.send(send, pair.near.fd(), slices);
    io.poll(poll, pair.near.fd(), PollFor::hangup);
    io.connect(connect, opened.fd, remote);
    io.splice(driver.tag(OpKind::splice_out), pipe.read_end, pair.near.fd(), 100);
    (void)::send(pair.far.get(), "x", 1, 0);
    int open = 4;
    while (open > 0) {
      for (const Completion& completion : io.turn(far_from(io.now()))) {
        if (completion.buffer != kNoBuffer) io.buffers().give_back(completion.buffer);
        if (completion.tag == connect) io.close(opened.fd, CloseMode::reset);
        if (completion.tag == send) {
          io.cancel(receive);
          io.cancel(poll);
        }
        if (!completion.more && completion.tag.kind() != OpKind::splice_out) --open;
      }
    }
  };
  round();
  const std::size_t before = allocations.load();
  for (int i = 0; i < 20; ++i) round();
  const std::size_t after = allocations.load();
  CHECK(after == before);
  io.close(pipe.read_end, CloseMode::normal);
  io.close(pipe.write_end, CloseMode::normal);
}

TEST_CASE("the fallback without DEFER_TASKRUN keeps the contract") {
  UringFeatures fewer = features();
  fewer.defer_taskrun = false;
  SUBCASE("single issuer") {}
  SUBCASE("any issuer") {
    fewer.single_issuer = false;
  }
  Driver driver(small_options(), fewer);
  const Pair pair = tcp_pair();
  const OpTag tag = driver.tag(OpKind::recv);
  driver->recv(tag, pair.near.fd());
  pair.far.write("hello");
  CHECK(driver.collect(tag, 5) == "hello");
  driver->wake();
  CHECK(driver->turn(kNever).empty());
  driver->cancel(tag);
  CHECK(driver.wait(tag).result == -ECANCELED);
}

TEST_CASE("a kernel without what millrace needs is refused in words") {
  UringFeatures without = features();
  without.multishot_recv = false;
  const Result<std::unique_ptr<Io>> made = make_uring_io(small_options(), without);
  REQUIRE_FALSE(made.ok());
  CHECK(made.error().find("multishot receive") != std::string::npos);
  without.buffer_ring = false;
  CHECK(make_uring_io(small_options(), without).error().find("buffer rings") != std::string::npos);
}

}  // namespace millrace::io
