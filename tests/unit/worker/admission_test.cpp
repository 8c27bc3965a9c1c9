#include "millrace/worker/admission.hpp"

#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <thread>
#include <vector>

namespace millrace::worker {

namespace {

/// An Io of which only wake() is used: it counts.
class WakeCounter final : public io::Io {
 public:
  std::atomic<std::uint32_t> wakes{0};

  void wake() override { ++wakes; }

  void accept(io::OpTag, io::Fd, io::AcceptMode) override {}
  void connect(io::OpTag, io::Fd, const net::Endpoint&) override {}
  void recv(io::OpTag, io::Fd) override {}
  void send(io::OpTag, io::Fd, std::span<const std::span<const std::byte>>) override {}
  void splice(io::OpTag, io::Fd, io::Fd, std::size_t) override {}
  void poll(io::OpTag, io::Fd, io::PollFor) override {}
  void recv_datagrams(io::OpTag, io::Fd) override {}
  void send_datagrams(io::OpTag, io::Fd, const io::DatagramsToSend&) override {}
  void cancel(io::OpTag) override {}
  void close(io::Fd, io::CloseMode) override {}
  io::FdResult open_stream(const net::Endpoint&, const net::Endpoint&) override { return {}; }
  io::FdResult open_datagram(const io::DatagramSocketOptions&) override { return {}; }
  io::ReceivedDatagrams received(io::BufferId) override { return {}; }
  std::optional<io::DatagramError> take_error(io::Fd) override { return {}; }
  int open_pipe(io::Pipe&) override { return 0; }
  int shutdown_write(io::Fd) override { return 0; }
  void set_keepalive(io::Fd) override {}
  io::FdResult accept_now(io::Fd) override { return {}; }
  void set_refusing(io::Fd, bool) override {}
  io::ReceiveQueue receive_queue(io::Fd) override { return {}; }
  io::TcpInfo tcp_info(io::Fd) override { return {}; }
  std::uint32_t bytes_unsent(io::Fd) override { return 0; }
  net::Endpoint peer(io::Fd) override { return {}; }
  net::Endpoint local(io::Fd) override { return {}; }
  io::BufferGroup& buffers() override { return buffers_; }
  io::BufferGroup& datagram_buffers() override { return buffers_; }
  std::span<const io::Completion> turn(Instant) override { return {}; }
  [[nodiscard]] Instant now() const override { return {}; }

 private:
  io::BufferGroup buffers_{{.count = 1, .bytes_per_buffer = 1}};
};

std::uint32_t admit_all(Admission& admission, std::uint32_t listener) {
  std::uint32_t admitted = 0;
  while (admission.admit(listener)) ++admitted;
  return admitted;
}

}  // namespace

TEST_CASE("Admission: the global limit holds over all listeners") {
  Admission admission(5, {0, 0}, 1);
  CHECK(admission.room(0) == 5);
  CHECK(admission.admit(0));
  CHECK(admission.admit(1));
  CHECK(admission.room(0) == 3);
  CHECK(admission.room(1) == 3);
  CHECK(admit_all(admission, 0) == 3);
  CHECK_FALSE(admission.admit(1));
  CHECK(admission.room(1) == 0);
  CHECK(admission.connections() == 5);  // what was refused is not counted
  admission.release(1);
  CHECK(admission.room(0) == 1);
  CHECK(admission.admit(0));
  CHECK_FALSE(admission.admit(0));
}

TEST_CASE("Admission: a listener's own limit, within the global one") {
  Admission admission(10, {3, 0, 100}, 1);
  CHECK(admission.room(0) == 3);
  CHECK(admission.room(2) == 10);
  CHECK(admit_all(admission, 0) == 3);
  CHECK(admission.room(0) == 0);
  CHECK(admission.connections() == 3);  // a refusal by the listener's limit gives the global place back
  CHECK(admit_all(admission, 1) == 7);
  CHECK_FALSE(admission.admit(2));
  admission.release(0);
  CHECK(admission.room(0) == 1);
  CHECK(admission.room(2) == 1);
  CHECK(admission.admit(2));  // the global place is anyone's
  CHECK(admission.room(0) == 0);
  CHECK_FALSE(admission.admit(0));
  admission.release(1);
  CHECK(admission.admit(0));
}

TEST_CASE("Admission: everything released: all room is back") {
  Admission admission(7, {2, 0}, 1);
  for (int round = 0; round < 3; ++round) {
    CHECK(admit_all(admission, 0) == 2);
    CHECK(admit_all(admission, 1) == 5);
    for (int i = 0; i < 2; ++i) admission.release(0);
    for (int i = 0; i < 5; ++i) admission.release(1);
    CHECK(admission.connections() == 0);
    CHECK(admission.room(0) == 2);
    CHECK(admission.room(1) == 7);
  }
}

TEST_CASE("Admission: a release wakes those who wait, once, and nobody else") {
  Admission admission(3, {0}, 3);
  std::array<WakeCounter, 3> ios;
  for (std::uint32_t i = 0; i < 3; ++i) admission.set_waker(i, &ios[i]);
  const auto woken = [&] { return std::array{ios[0].wakes.load(), ios[1].wakes.load(), ios[2].wakes.load()}; };
  using Wakes = std::array<std::uint32_t, 3>;
  REQUIRE(admit_all(admission, 0) == 3);
  admission.release(0);
  CHECK(woken() == Wakes{0, 0, 0});  // nobody waits
  REQUIRE(admission.admit(0));
  admission.wait_for_room(0);
  admission.wait_for_room(2);
  CHECK(woken() == Wakes{0, 0, 0});
  admission.release(0);
  CHECK(woken() == Wakes{1, 0, 1});
  admission.release(0);
  CHECK(woken() == Wakes{1, 0, 1});  // they must say again that they wait
  admission.wait_for_room(2);
  admission.wait_for_room(2);
  admission.release(0);
  CHECK(woken() == Wakes{1, 0, 2});
}

TEST_CASE("Admission: a connection of any listener wakes, as the global limit is everyone's") {
  Admission admission(2, {1, 0}, 1);
  WakeCounter io;
  admission.set_waker(0, &io);
  REQUIRE(admission.admit(0));
  REQUIRE(admission.admit(1));
  admission.wait_for_room(0);
  admission.release(1);
  CHECK(io.wakes == 1);
  admission.wait_for_room(0);
  admission.release(0);
  CHECK(io.wakes == 2);
}

TEST_CASE("Admission: a waiter without a waker is no harm") {
  Admission admission(1, {0}, 1);
  REQUIRE(admission.admit(0));
  admission.wait_for_room(0);
  admission.release(0);
  CHECK(admission.admit(0));
}

TEST_CASE("Admission: threads never hold more than the limits, and all places come back") {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kLimit = 5;
  constexpr std::uint32_t kListenerLimit = 2;
  Admission admission(kLimit, {kListenerLimit, 0}, kThreads);
  std::atomic<std::uint32_t> held{0};
  std::atomic<std::uint32_t> held_of_first{0};
  std::atomic<std::uint32_t> above{0};
  const auto work = [&](std::uint32_t seed) {
    std::vector<std::uint32_t> mine;
    for (std::uint32_t i = 0; i < 5'000; ++i) {
      const std::uint32_t listener = (i + seed) % 2;
      if (admission.admit(listener)) {
        if (held.fetch_add(1) + 1 > kLimit) ++above;
        if (listener == 0 && held_of_first.fetch_add(1) + 1 > kListenerLimit) ++above;
        mine.push_back(listener);
      }
      if (mine.size() < 1 + (i + seed) % 3) continue;
      if (mine.back() == 0) held_of_first.fetch_sub(1);
      held.fetch_sub(1);
      admission.release(mine.back());
      mine.pop_back();
    }
    for (const std::uint32_t listener : mine) {
      held.fetch_sub(1);
      if (listener == 0) held_of_first.fetch_sub(1);
      admission.release(listener);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  CHECK(above == 0);
  CHECK(admission.connections() == 0);
  CHECK(admission.room(0) == kListenerLimit);
  CHECK(admission.room(1) == kLimit);
}

TEST_CASE("Admission: a waiter that looks once more afterwards misses no release") {
  // One thread takes the only place and ends it; the other, as a worker does, says that it waits and then looks again.
  // Either it sees the room or it is woken: with neither it would sleep for ever.
  constexpr std::uint32_t kRounds = 2'000;
  Admission admission(1, {0}, 1);
  WakeCounter io;
  admission.set_waker(0, &io);
  std::atomic<std::uint32_t> taken{0};
  std::atomic<std::uint32_t> seen{0};
  std::thread other([&] {
    for (std::uint32_t round = 1; round <= kRounds; ++round) {
      while (!admission.admit(0)) std::this_thread::yield();
      taken.store(round);
      if (round % 2 == 0) std::this_thread::yield();
      admission.release(0);
      while (seen.load() < round) std::this_thread::yield();
    }
  });
  constexpr std::uint32_t kPatience = 20'000'000;  // looks; only a lost wake-up uses them up
  std::uint32_t missed = 0;
  for (std::uint32_t round = 1; round <= kRounds && missed == 0; ++round) {
    while (taken.load() < round) std::this_thread::yield();
    const std::uint32_t before = io.wakes.load();
    admission.wait_for_room(0);
    if (admission.room(0) == 0) {
      std::uint32_t looks = 0;
      while (io.wakes.load() == before && ++looks < kPatience) std::this_thread::yield();
      if (looks == kPatience) ++missed;
    }
    seen.store(missed == 0 ? round : kRounds);
  }
  other.join();
  CHECK(missed == 0);
  CHECK(admission.room(0) == 1);
}

}  // namespace millrace::worker
