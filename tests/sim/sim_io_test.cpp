// SimIo itself: that it behaves like the kernel where a proxy would notice, and that it catches a broken contract.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "sim_io.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <vector>

namespace millrace::sim {
namespace {

using io::AcceptMode;
using io::CloseMode;
using io::Fd;
using io::OpKind;
using io::OpTag;
using io::PollFor;

const net::Endpoint kListen = net::Endpoint::ipv4(0x0a000001, 80);
const net::Endpoint kBackend = net::Endpoint::ipv4(0x0a020000, 9000);

constexpr OpTag tag(OpKind kind, std::uint32_t slot = 0) {
  return OpTag(kind, 0, 1, slot);
}

/// A SimIo without faults, and one accepted connection whose other end the test holds.
struct Fixture : Remote {
  explicit Fixture(QueueSizes server = {.send = 100, .receive = 100}, std::uint32_t buffers = 8)
      : io(kernel, {.buffers = {.count = buffers, .bytes_per_buffer = 32}, .pipe_bytes = 64, .backend_queues = {}}) {
    kernel.remote = this;
    listener = kernel.open_listener(kListen, 4, 0);
    client.local = net::Endpoint::ipv4(0x0a010001, 5000);
    REQUIRE(kernel.knock(client, kListen, server) == Kernel::Knock::accepted);
    io.accept(tag(OpKind::accept), listener, AcceptMode::single);
    fd = Fd{complete(OpKind::accept).result};
  }
  void connecting(Socket& socket, const net::Endpoint&) override { connects.push_back(&socket); }

  /// Lets virtual time pass; nothing may complete meanwhile.
  void settle() { CHECK(turn().empty()); }
  std::vector<io::Completion> turn(Nanos wait = std::chrono::seconds(1)) {
    const auto batch = io.turn(context.clock.now() + wait);
    return {batch.begin(), batch.end()};
  }
  io::Completion complete(OpKind kind) {
    const auto batch = turn();
    REQUIRE(batch.size() == 1);
    CHECK(batch.front().tag == tag(kind));
    return batch.front();
  }
  void client_sends(const std::string& text) {
    REQUIRE(kernel.network.write(client, std::as_bytes(std::span(text))) == static_cast<std::int64_t>(text.size()));
  }
  std::string client_reads() {
    std::string text(1000, '\0');
    const std::int64_t count = kernel.network.read(client, std::as_writable_bytes(std::span(text)));
    text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
    return text;
  }
  void send(const std::string& text) {
    const std::array<std::span<const std::byte>, 1> slices = {std::as_bytes(std::span(text))};
    io.send(tag(OpKind::send), fd, slices);
  }
  std::string bytes(const io::Completion& completion) {
    const std::string text(reinterpret_cast<const char*>(io.buffers().data(completion.buffer)),
                           static_cast<std::size_t>(completion.result));
    io.buffers().give_back(completion.buffer);
    return text;
  }
  /// The oracle that `action` violates; empty when it violates none.
  template <class Action>
  std::string violated(Action action) {
    try {
      action();
    } catch (const Violation& violation) {
      return violation.oracle;
    }
    return {};
  }

  Context context{1};
  Kernel kernel{context};
  SimIo io;
  Socket& client = kernel.network.create({.send = 10'000, .receive = 10'000});
  Fd listener{};
  Fd fd{};
  std::vector<Socket*> connects;
};

}  // namespace

TEST_CASE("accept brings the connection and its addresses") {
  Fixture f;
  CHECK(f.io.peer(f.fd) == f.client.local);
  CHECK(f.io.local(f.fd) == kListen);
  CHECK(f.io.in_flight() == 0);
}

TEST_CASE("a multishot receive delivers buffer after buffer, then the end") {
  Fixture f;
  f.client_sends(std::string(32, 'a') + "tail");
  f.io.recv(tag(OpKind::recv), f.fd);
  auto batch = f.turn();
  REQUIRE(batch.size() == 2);
  CHECK(f.bytes(batch[0]) == std::string(32, 'a'));
  CHECK(f.bytes(batch[1]) == "tail");
  CHECK(batch[1].more);
  f.kernel.network.shutdown_write(f.client);
  const io::Completion end = f.complete(OpKind::recv);
  CHECK(end.result == 0);
  CHECK_FALSE(end.more);
  CHECK(f.io.buffers().free_count() == 8);
}

TEST_CASE("without a buffer a receive ends with ENOBUFS and loses nothing") {
  Fixture f({.send = 100, .receive = 100}, 1);
  const io::BufferId held = f.io.buffers().take();
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.complete(OpKind::recv).result == -ENOBUFS);
  f.client_sends("kept");
  f.io.recv(tag(OpKind::recv), f.fd);
  const io::Completion again = f.complete(OpKind::recv);
  CHECK(again.result == -ENOBUFS);
  CHECK_FALSE(again.more);
  f.io.buffers().give_back(held);
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.bytes(f.complete(OpKind::recv)) == "kept");
}

TEST_CASE("a send waits for room and completes whole") {
  Fixture f;
  f.client.capacity.receive = 50;
  const std::string text(400, 'x');
  f.send(text);
  f.settle();
  std::string got;
  for (int i = 0; i < 20 && got.size() < text.size(); ++i) {
    got += f.client_reads();
    for (const io::Completion& completion : f.turn()) CHECK(completion.result == 400);
  }
  CHECK(got == text);
  CHECK(f.io.in_flight() == 0);
  CHECK(f.io.bytes_unsent(f.fd) == 0);
}

TEST_CASE("a reset is told once: receive first") {
  Fixture f;
  f.client_sends("before");
  static_cast<void>(f.turn());
  f.kernel.network.close(f.client, CloseMode::reset);
  static_cast<void>(f.turn());
  f.io.recv(tag(OpKind::recv), f.fd);
  const auto batch = f.turn();
  REQUIRE(batch.size() == 2);
  CHECK(f.bytes(batch[0]) == "before");
  CHECK(batch[1].result == -ECONNRESET);
  const std::string text = "late";
  f.send(text);
  CHECK(f.complete(OpKind::send).result == -EPIPE);
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.complete(OpKind::recv).result == 0);
  CHECK(f.io.shutdown_write(f.fd) == ENOTCONN);
  CHECK(f.io.peer(f.fd).family() == net::Family::none);
}

TEST_CASE("a reset is told once: send first") {
  Fixture f;
  f.kernel.network.close(f.client, CloseMode::reset);
  static_cast<void>(f.turn());
  const std::string text = "late";
  f.send(text);
  CHECK(f.complete(OpKind::send).result == -ECONNRESET);
  f.send(text);
  CHECK(f.complete(OpKind::send).result == -EPIPE);
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.complete(OpKind::recv).result == 0);
}

TEST_CASE("a send that was half done swallows the reset") {
  Fixture f;
  f.client.capacity.receive = 50;
  const std::string text(400, 'x');
  f.send(text);
  f.settle();
  f.kernel.network.close(f.client, CloseMode::reset);
  const io::Completion completion = f.complete(OpKind::send);
  CHECK(completion.result > 0);
  CHECK(completion.result < 400);
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.complete(OpKind::recv).result == 0);
}

TEST_CASE("after a FIN a reset is EPIPE for writers and the end for readers") {
  Fixture f;
  f.kernel.network.shutdown_write(f.client);
  static_cast<void>(f.turn());
  f.kernel.network.close(f.client, CloseMode::reset);
  static_cast<void>(f.turn());
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.complete(OpKind::recv).result == 0);
  const std::string text = "late";
  f.send(text);
  CHECK(f.complete(OpKind::send).result == -EPIPE);
}

TEST_CASE("closing with unread bytes resets, closing otherwise sends a FIN") {
  for (const bool unread : {false, true}) {
    Fixture f;
    if (unread) f.client_sends("unread");
    static_cast<void>(f.turn());
    f.io.close(f.fd, CloseMode::normal);
    static_cast<void>(f.turn());
    CHECK(f.client.fin_arrived == !unread);
    CHECK(f.client.reset_arrived == unread);
  }
}

TEST_CASE("what is unsent at an orderly close is still delivered, unless bytes arrive for the closed socket") {
  for (const bool late : {false, true}) {
    Fixture f({.send = 1000, .receive = 100});
    f.client.capacity.receive = 50;
    const std::string text(300, 'x');
    f.send(text);
    CHECK(f.complete(OpKind::send).result == 300);
    f.io.close(f.fd, CloseMode::normal);
    static_cast<void>(f.turn());
    if (late) f.client_sends("late");
    std::string got;
    for (int i = 0; i < 20; ++i) {
      static_cast<void>(f.turn());
      got += f.client_reads();
    }
    CHECK((got == text) == !late);
    CHECK(f.client.fin_arrived == !late);
  }
}

TEST_CASE("an abortive close drops what is unsent") {
  Fixture f({.send = 1000, .receive = 100});
  f.client.capacity.receive = 50;
  const std::string text(300, 'x');
  f.send(text);
  CHECK(f.complete(OpKind::send).result == 300);
  static_cast<void>(f.turn());
  CHECK(f.io.bytes_unsent(f.fd) == 250);
  f.io.close(f.fd, CloseMode::reset);
  static_cast<void>(f.turn());
  CHECK(f.client_reads().size() == 50);
  std::array<std::byte, 1> byte{};
  CHECK(f.kernel.network.read(f.client, byte) == -ECONNRESET);
}

TEST_CASE("splice moves through a pipe and never waits") {
  Fixture f;
  io::Pipe pipe;
  REQUIRE(f.io.open_pipe(pipe) == 0);
  f.io.splice(tag(OpKind::splice_in), f.fd, pipe.write_end, 1000);
  CHECK(f.complete(OpKind::splice_in).result == -EAGAIN);  // nothing to read
  f.io.splice(tag(OpKind::splice_out), pipe.read_end, f.fd, 1000);
  CHECK(f.complete(OpKind::splice_out).result == -EAGAIN);  // an empty pipe
  f.client_sends(std::string(100, 'x'));
  static_cast<void>(f.turn());
  f.io.splice(tag(OpKind::splice_in), f.fd, pipe.write_end, 1000);
  CHECK(f.complete(OpKind::splice_in).result == 64);  // the pipe is full now
  f.io.splice(tag(OpKind::splice_in), f.fd, pipe.write_end, 1000);
  CHECK(f.complete(OpKind::splice_in).result == -EAGAIN);
  f.io.splice(tag(OpKind::splice_out), pipe.read_end, f.fd, 1000);
  CHECK(f.complete(OpKind::splice_out).result == 64);
  static_cast<void>(f.turn());
  CHECK(f.client_reads() == std::string(64, 'x'));
}

TEST_CASE("splice into a pipe answers 0 at the end of the stream") {
  Fixture f;
  io::Pipe pipe;
  REQUIRE(f.io.open_pipe(pipe) == 0);
  f.kernel.network.shutdown_write(f.client);
  static_cast<void>(f.turn());
  f.io.splice(tag(OpKind::splice_in), f.fd, pipe.write_end, 1000);
  CHECK(f.complete(OpKind::splice_in).result == 0);
}

TEST_CASE("a poll waits for a byte, and a hang-up needs both directions") {
  Fixture f;
  f.io.poll(tag(OpKind::poll_in), f.fd, PollFor::readable);
  f.io.poll(tag(OpKind::watch), f.fd, PollFor::hangup);
  f.settle();
  f.client_sends("y");
  CHECK(f.complete(OpKind::poll_in).result == io::kPollIn);
  f.kernel.network.shutdown_write(f.client);
  f.settle();
  CHECK(f.io.shutdown_write(f.fd) == 0);
  CHECK(f.complete(OpKind::watch).result == io::kPollHangup);
}

TEST_CASE("connect: refused, and answered") {
  Fixture f;
  for (const int error : {ECONNREFUSED, 0}) {
    const io::FdResult opened = f.io.open_stream(kBackend, {});
    REQUIRE(opened.error == 0);
    f.io.connect(tag(OpKind::connect), opened.fd, kBackend);
    f.settle();
    f.kernel.connect_finished(*f.connects.back(), error);
    CHECK(f.complete(OpKind::connect).result == -error);
    f.io.close(opened.fd, CloseMode::normal);
  }
}

TEST_CASE("what is cancelled completes all the same") {
  Fixture f;
  f.io.recv(tag(OpKind::recv), f.fd);
  f.settle();
  f.io.cancel(tag(OpKind::recv));
  const io::Completion completion = f.complete(OpKind::recv);
  CHECK(completion.result == -ECANCELED);
  CHECK_FALSE(completion.more);
  f.io.cancel(tag(OpKind::recv));  // too late: harmless
  f.settle();
}

TEST_CASE("a cancelled operation may have done its work") {
  Fixture f;
  f.context.faults.cancel_race = 1.0;
  f.io.recv(tag(OpKind::recv), f.fd);
  f.settle();
  f.client_sends("race");
  f.io.cancel(tag(OpKind::recv));
  f.context.clock.run_next(kNever);
  const io::Completion completion = f.complete(OpKind::recv);
  CHECK(f.bytes(completion) == "race");
  CHECK_FALSE(completion.more);
}

TEST_CASE("running out of descriptors") {
  Fixture f;
  f.context.faults.descriptors_max = static_cast<std::uint32_t>(f.kernel.open_descriptors());
  CHECK(f.io.open_stream(kBackend, {}).error == EMFILE);
  io::Pipe pipe;
  CHECK(f.io.open_pipe(pipe) == EMFILE);
  f.io.accept(tag(OpKind::accept), f.listener, AcceptMode::multishot);
  const io::Completion completion = f.complete(OpKind::accept);
  CHECK(completion.result == -EMFILE);
  CHECK_FALSE(completion.more);
}

TEST_CASE("a listening socket that is closed resets whoever waits") {
  Fixture f;
  Socket& waiting = f.kernel.network.create({});
  REQUIRE(f.kernel.knock(waiting, kListen, {}) == Kernel::Knock::accepted);
  f.io.close(f.listener, CloseMode::normal);
  static_cast<void>(f.turn());
  CHECK(waiting.reset_arrived);
  CHECK(f.kernel.knock(f.kernel.network.create({}), kListen, {}) == Kernel::Knock::refused);
}

TEST_CASE("a wait ends at the deadline, or when somebody wakes it") {
  Fixture f;
  const Instant deadline = f.context.clock.now() + std::chrono::seconds(3);
  CHECK(f.io.turn(deadline).empty());
  CHECK(f.io.now() == deadline);
  f.io.wake();
  CHECK(f.io.turn(kNever).empty());
  CHECK(f.io.now() < deadline + std::chrono::milliseconds(1));
}

TEST_CASE("a batch is bounded") {
  Fixture f;
  f.context.faults.batch_max = 1;
  f.client_sends(std::string(64, 'x'));
  f.io.recv(tag(OpKind::recv), f.fd);
  CHECK(f.bytes(f.complete(OpKind::recv)).size() == 32);
  CHECK(f.bytes(f.complete(OpKind::recv)).size() == 32);
}

TEST_CASE("a broken contract is noticed") {
  Fixture f;
  SUBCASE("closed twice") {
    f.io.close(f.fd, CloseMode::normal);
    CHECK(f.violated([&] { f.io.close(f.fd, CloseMode::normal); }) == "contract: descriptor used after its close");
  }
  SUBCASE("closed with an operation in flight") {
    f.io.recv(tag(OpKind::recv), f.fd);
    CHECK(f.violated([&] { f.io.close(f.fd, CloseMode::normal); }) == "contract: closed with an operation in flight");
  }
  SUBCASE("used after the close") {
    f.io.close(f.fd, CloseMode::normal);
    CHECK(f.violated([&] { f.io.recv(tag(OpKind::recv), f.fd); }) == "contract: descriptor used after its close");
  }
  SUBCASE("a tag used twice") {
    f.io.poll(tag(OpKind::watch), f.fd, PollFor::hangup);
    CHECK(f.violated([&] { f.io.poll(tag(OpKind::watch), f.fd, PollFor::hangup); }) == "contract: tag in use");
  }
  SUBCASE("two receives") {
    f.io.recv(tag(OpKind::recv), f.fd);
    CHECK(f.violated([&] { f.io.recv(tag(OpKind::recv, 1), f.fd); }) ==
          "contract: two operations of a kind on one descriptor");
  }
  SUBCASE("a receive and a splice from the same socket") {
    io::Pipe pipe;
    REQUIRE(f.io.open_pipe(pipe) == 0);
    f.io.recv(tag(OpKind::recv), f.fd);
    CHECK(f.violated([&] { f.io.splice(tag(OpKind::splice_in), f.fd, pipe.write_end, 1); }) ==
          "contract: two operations of a kind on one descriptor");
  }
  SUBCASE("bytes that change while they are being sent") {
    std::string text = "abc";
    f.send(text);
    text[1] = 'x';
    CHECK(f.violated([&] { static_cast<void>(f.turn()); }) == "contract: bytes changed while they were being sent");
  }
}

}  // namespace millrace::sim
