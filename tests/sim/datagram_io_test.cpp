// Datagrams in SimIo: that they behave as in the kernel where a proxy would notice, and that it catches a broken
// contract.
#include <doctest/doctest.h>

#include <array>
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include "sim_io.hpp"

namespace millrace::sim {
namespace {

using io::Fd;
using io::OpKind;
using io::OpTag;

const net::IpEndpoint kHere = net::IpEndpoint::ipv4(0x0a000001, 0);
const net::IpEndpoint kAlsoHere = net::IpEndpoint::ipv4(0x0a000002, 0);
const net::IpEndpoint kListen = net::IpEndpoint::ipv4(0x0a000001, 53);
const net::IpEndpoint kEverywhere = net::IpEndpoint::ipv4(0, 53);
const net::IpEndpoint kClient = net::IpEndpoint::ipv4(0x0a010001, 5000);
const net::IpEndpoint kBackend = net::IpEndpoint::ipv4(0x0a020001, 53);

constexpr OpTag tag(OpKind kind, std::uint32_t slot = 0) {
  return OpTag(kind, 0, 1, slot);
}

Payload bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A SimIo without faults, a listening socket, and one towards backends.
struct Fixture : DatagramRemote {
  explicit Fixture(const net::IpEndpoint& address = kListen)
      : io(kernel, {.buffers = {.count = 1, .bytes_per_buffer = 32}, .datagram_buffers = 4, .backend_queues = {}}) {
    kernel.datagrams.remote = this;
    kernel.datagrams.options.addresses = {kHere, kAlsoHere};
    kernel.datagrams.options.merges = 0;
    listener = kernel.open_datagram_listener(address, 0, 0);
    upstream = io.open_datagram({.source = net::Endpoint::ipv4(0, 0), .remote = {}}).fd;
    upstream_at = kHere;
    upstream_at.set_port(io.local(upstream).port());
  }
  void arrives(const Datagram& datagram) override { arrived.push_back(datagram); }
  [[nodiscard]] DatagramPath path_to(const net::IpEndpoint&) const override { return path; }

  std::vector<io::Completion> turn() {
    const auto batch = io.turn(context.clock.now() + std::chrono::seconds(1));
    return {batch.begin(), batch.end()};
  }
  void client_sends(const std::string& text, const net::IpEndpoint& to = kListen) {
    kernel.datagrams.from_world({.from = kClient, .to = to, .payload = bytes_of(text)});
  }
  /// The result of a send to the backend. The first byte of each datagram that arrives is kept in `arrived`.
  int send(const std::string& text, std::uint32_t segment_bytes = 0) {
    const std::array<std::span<const std::byte>, 1> slices = {std::as_bytes(std::span(text))};
    io.send_datagrams(tag(OpKind::send_datagrams), upstream,
                      {.to = kBackend, .from = {}, .slices = slices, .segment_bytes = segment_bytes});
    const auto batch = turn();
    REQUIRE(batch.size() == 1);
    return batch.front().result;
  }
  std::string read(const io::Completion& completion) {
    REQUIRE(completion.result >= 0);
    std::string text = text_of(io.received(completion.buffer).payload);
    io.datagram_buffers().give_back(completion.buffer);
    return text;
  }
  void refuse(const std::string& quote, int error = ECONNREFUSED) {
    kernel.datagrams.fail({.error = error, .from = upstream_at, .to = kBackend, .quote = bytes_of(quote)});
  }
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
  Fd listener{};
  Fd upstream{};
  net::IpEndpoint upstream_at;
  DatagramPath path;
  std::vector<Datagram> arrived;
};

}  // namespace

TEST_CASE("datagrams arrive one by one, in order, with their sender, empty ones too") {
  Fixture f;
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  for (const char* text : {"one", "", "three"}) f.client_sends(text);
  std::vector<std::string> texts;
  while (texts.size() < 3) {
    for (const io::Completion& completion : f.turn()) {
      CHECK(completion.more);
      const io::ReceivedDatagrams message = f.io.received(completion.buffer);
      CHECK(message.from == kClient);
      CHECK(message.to.family() == net::Family::none);
      CHECK(message.segment_bytes == 0);
      texts.push_back(f.read(completion));
    }
  }
  CHECK(texts == std::vector<std::string>{"one", "", "three"});
}

TEST_CASE("a wildcard listener tells which address was used") {
  Fixture f(kEverywhere);
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  net::IpEndpoint used = kAlsoHere;
  used.set_port(53);
  f.client_sends("hello", used);
  const auto batch = f.turn();
  REQUIRE(batch.size() == 1);
  CHECK(f.io.received(batch[0].buffer).to == kAlsoHere);
}

TEST_CASE("equal datagrams that wait become a train; a shorter one ends it, an empty one never joins") {
  Fixture f;
  f.kernel.datagrams.options.merges = 1;
  for (const char* text : {"aaaa", "bbbb", "cc", "dd", "", "ee"}) f.client_sends(text);
  static_cast<void>(f.turn());
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  const auto batch = f.turn();
  REQUIRE(batch.size() == 4);
  CHECK(f.io.received(batch[0].buffer).segment_bytes == 4);
  CHECK(f.read(batch[0]) == "aaaabbbbcc");
  CHECK(f.io.received(batch[1].buffer).segment_bytes == 0);
  CHECK(f.read(batch[1]) == "dd");
  CHECK(f.read(batch[2]).empty());
  CHECK(f.read(batch[3]) == "ee");
}

TEST_CASE("a train has at most 64 datagrams") {
  Fixture f;
  f.kernel.datagrams.options.merges = 1;
  for (int i = 0; i < 100; ++i) f.client_sends("ab");
  static_cast<void>(f.turn());
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  const auto batch = f.turn();
  REQUIRE(batch.size() == 2);
  CHECK(batch[0].result == 128);
  CHECK(batch[1].result == 72);
}

TEST_CASE("without a buffer a receive ends with ENOBUFS and loses nothing") {
  Fixture f;
  for (const char* text : {"1", "2", "3", "4", "5"}) f.client_sends(text);
  static_cast<void>(f.turn());
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  const auto batch = f.turn();
  REQUIRE(batch.size() == 5);
  CHECK(batch[4].result == -ENOBUFS);
  CHECK_FALSE(batch[4].more);
  for (int i = 0; i < 4; ++i) f.io.datagram_buffers().give_back(batch[static_cast<std::size_t>(i)].buffer);
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  const auto rest = f.turn();
  REQUIRE(rest.size() == 1);
  CHECK(f.read(rest[0]) == "5");
}

TEST_CASE("a full queue drops what comes") {
  Fixture f;
  f.kernel.datagrams.options.receive_room = 2 * (DatagramNetwork::kOverhead + 1);
  const Fd other = f.io.open_datagram({.source = net::Endpoint::ipv4(0, 9), .remote = {}}).fd;
  net::IpEndpoint there = kHere;
  there.set_port(9);
  for (const char* text : {"1", "2", "3"}) f.client_sends(text, there);
  static_cast<void>(f.turn());
  CHECK(f.kernel.datagrams.losses().queue_full == 1);
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), other);
  CHECK(f.turn().size() == 2);
}

TEST_CASE("a client stays at one of the sockets on an address") {
  Fixture f;
  const Fd second = f.kernel.open_datagram_listener(kListen, 1, 0);
  f.io.recv_datagrams(tag(OpKind::recv_datagrams, 0), f.listener);
  f.io.recv_datagrams(tag(OpKind::recv_datagrams, 1), second);
  std::set<std::uint32_t> of_one_client;
  std::set<std::uint32_t> of_all;
  for (std::uint16_t port = 1000; port < 1020; ++port) {
    const net::IpEndpoint client = net::IpEndpoint::ipv4(0x0a010001, port);
    of_one_client.clear();
    for (int i = 0; i < 3; ++i) f.kernel.datagrams.from_world({.from = client, .to = kListen, .payload = {}});
    for (int got = 0; got < 3;) {
      for (const io::Completion& completion : f.turn()) {
        of_one_client.insert(completion.tag.slot());
        f.io.datagram_buffers().give_back(completion.buffer);
        ++got;
      }
    }
    CHECK(of_one_client.size() == 1);
    of_all.merge(of_one_client);
  }
  CHECK(of_all.size() == 2);
}

TEST_CASE("a train is cut into its datagrams") {
  Fixture f;
  CHECK(f.send("aaaabbbbcc", 4) == 10);
  static_cast<void>(f.turn());
  REQUIRE(f.arrived.size() == 3);
  CHECK(text_of(f.arrived[0].payload) == "aaaa");
  CHECK(text_of(f.arrived[1].payload) == "bbbb");
  CHECK(text_of(f.arrived[2].payload) == "cc");
  CHECK(f.arrived[0].from == f.upstream_at);
  CHECK(f.arrived[0].to == kBackend);
  CHECK(f.send("") == 0);
  static_cast<void>(f.turn());
  REQUIRE(f.arrived.size() == 4);
  CHECK(f.arrived[3].payload.empty());
}

TEST_CASE("on one machine a train stays one") {
  Fixture f;
  f.path = {.keeps_trains = true};
  CHECK(f.send("aaaabbbbcc", 4) == 10);
  static_cast<void>(f.turn());
  REQUIRE(f.arrived.size() == 1);
  CHECK(f.arrived[0].segment_bytes == 4);
  std::vector<std::string> texts;
  for_each_datagram(f.arrived[0], [&](const Datagram& one) { texts.push_back(text_of(one.payload)); });
  CHECK(texts == std::vector<std::string>{"aaaa", "bbbb", "cc"});
}

TEST_CASE("a reply leaves from the address it is told to") {
  Fixture f(kEverywhere);
  const std::string text = "reply";
  const std::array<std::span<const std::byte>, 1> slices = {std::as_bytes(std::span(text))};
  f.io.send_datagrams(tag(OpKind::send_datagrams), f.listener, {.to = kClient, .from = kAlsoHere, .slices = slices});
  CHECK(f.turn().size() == 1);
  static_cast<void>(f.turn());
  REQUIRE(f.arrived.size() == 1);
  net::IpEndpoint expected = kAlsoHere;
  expected.set_port(53);
  CHECK(f.arrived[0].from == expected);
}

TEST_CASE("trains that the way does not take, and datagrams that are too long") {
  Fixture f;
  f.path = {.mtu = 100};
  const std::string long_train(200, 'x');
  CHECK(f.send(long_train, 72) == 200);
  CHECK(f.send(long_train, 74) == -EINVAL);
  CHECK(f.send(long_train, 73) == -EMSGSIZE);
  CHECK(f.send(long_train) == 200);  // in fragments
  f.path = {.takes_trains = false};
  CHECK(f.send(long_train, 20) == -EIO);
  f.path = {.datagram_bytes_max = 100};
  CHECK(f.send(long_train) == -EMSGSIZE);
  const auto error = f.io.take_error(f.upstream);
  REQUIRE(error.has_value());
  CHECK(error->error == EMSGSIZE);
  CHECK(error->to.port() == 0);
  CHECK(f.send("short") == 5);  // it was not pending
}

TEST_CASE("a pending error ends a receive, once; its details wait") {
  Fixture f;
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.upstream);
  static_cast<void>(f.turn());
  f.refuse("the datagram");
  const auto batch = f.turn();
  REQUIRE(batch.size() == 1);
  CHECK(batch[0].result == -ECONNREFUSED);
  CHECK_FALSE(batch[0].more);
  const auto error = f.io.take_error(f.upstream);
  REQUIRE(error.has_value());
  CHECK(error->error == ECONNREFUSED);
  CHECK(error->to == kBackend);
  CHECK(text_of(error->quote) == "the datagram");
  CHECK_FALSE(f.io.take_error(f.upstream).has_value());
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.upstream);
  CHECK(f.turn().empty());
}

TEST_CASE("a pending error fails a send, which is not sent") {
  Fixture f;
  f.refuse("");
  static_cast<void>(f.turn());
  CHECK(f.send("unsent") == -ECONNREFUSED);
  CHECK(f.send("sent") == 4);
  static_cast<void>(f.turn());
  REQUIRE(f.arrived.size() == 1);
  CHECK(text_of(f.arrived[0].payload) == "sent");
  CHECK(f.io.take_error(f.upstream).has_value());
}

TEST_CASE("taking an error makes the next one pending, or none") {
  Fixture f;
  f.refuse("1");
  f.refuse("2", EHOSTUNREACH);
  static_cast<void>(f.turn());
  CHECK(f.send("x") == -EHOSTUNREACH);  // the latest
  CHECK(f.send("x") == 1);
  const auto first = f.io.take_error(f.upstream);
  REQUIRE(first.has_value());
  const int second = first->error == ECONNREFUSED ? EHOSTUNREACH : ECONNREFUSED;
  CHECK(f.send("x") == -second);
  CHECK(f.io.take_error(f.upstream).has_value());
  CHECK(f.send("x") == 1);
}

TEST_CASE("a full error queue loses the details only") {
  Fixture f;
  f.kernel.datagrams.options.errors_max = 0;
  f.refuse("1");
  static_cast<void>(f.turn());
  CHECK_FALSE(f.io.take_error(f.upstream).has_value());
  CHECK(f.send("x") == -ECONNREFUSED);
}

TEST_CASE("a listener never learns of ICMP errors") {
  Fixture f;
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  f.kernel.datagrams.fail({.error = ECONNREFUSED, .from = kListen, .to = kClient, .quote = {}});
  CHECK(f.turn().empty());
  CHECK_FALSE(f.io.take_error(f.listener).has_value());
}

TEST_CASE("the kernel chooses ports, until there are none") {
  Fixture f;
  f.kernel.datagrams.options.ports = 2;
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 2; ++i) {
    const io::FdResult opened = f.io.open_datagram({.source = net::Endpoint::ipv4(0x0a000001, 0), .remote = {}});
    if (opened.error == 0) ports.insert(f.io.local(opened.fd).port());
  }
  CHECK_FALSE(ports.empty());
  CHECK(f.io.open_datagram({.source = net::Endpoint::ipv4(0x0a000001, 0), .remote = {}}).error == EADDRINUSE);
  f.io.close(f.upstream, io::CloseMode::normal);
  f.context.faults.datagram_socket = 1;
  CHECK(f.io.open_datagram({.source = net::Endpoint::ipv4(0x0a000001, 0), .remote = {}}).error != 0);
}

TEST_CASE("faults on the way") {
  Fixture f;
  f.context.faults.datagram_duplicate = 1;
  CHECK(f.send("twice") == 5);
  static_cast<void>(f.turn());
  CHECK(f.arrived.size() == 2);
  f.context.faults.datagram_loss = 1;
  CHECK(f.send("lost") == 4);
  static_cast<void>(f.turn());
  CHECK(f.arrived.size() == 2);
  CHECK(f.kernel.datagrams.losses().on_the_way == 1);
  f.context.faults.datagram_again = 1;
  CHECK(f.send("dropped") == -EAGAIN);
}

TEST_CASE("a truncated datagram says so") {
  Fixture f;
  f.context.faults.datagram_truncated = 1;
  f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.listener);
  f.client_sends("too long");
  const auto batch = f.turn();
  REQUIRE(batch.size() == 1);
  CHECK(f.io.received(batch[0].buffer).truncated);
  CHECK(batch[0].result < 8);
}

TEST_CASE("a broken contract of datagrams is noticed") {
  Fixture f;
  const std::string text(100, 'x');
  const std::array<std::span<const std::byte>, 1> slices = {std::as_bytes(std::span(text))};
  const auto send = [&](const io::DatagramsToSend& message, std::uint32_t slot = 0) {
    return f.violated([&] { f.io.send_datagrams(tag(OpKind::send_datagrams, slot), f.upstream, message); });
  };
  SUBCASE("two receives") {
    f.io.recv_datagrams(tag(OpKind::recv_datagrams), f.upstream);
    CHECK(f.violated([&] { f.io.recv_datagrams(tag(OpKind::recv_datagrams, 1), f.upstream); }) ==
          "contract: two operations of a kind on one descriptor");
  }
  SUBCASE("closed with a send in flight") {
    CHECK(send({.to = kBackend, .from = {}, .slices = slices}).empty());
    CHECK(f.violated([&] { f.io.close(f.upstream, io::CloseMode::normal); }) ==
          "contract: closed with an operation in flight");
  }
  SUBCASE("a tag used twice") {
    CHECK(send({.to = kBackend, .from = {}, .slices = slices}).empty());
    CHECK(send({.to = kBackend, .from = {}, .slices = slices}, 1).empty());
    CHECK(send({.to = kBackend, .from = {}, .slices = slices}) == "contract: tag in use");
  }
  SUBCASE("no slice") {
    CHECK(send({.to = kBackend, .from = {}, .slices = {}}) == "contract: send_datagrams");
  }
  SUBCASE("too many datagrams in a train") {
    CHECK(send({.to = kBackend, .from = {}, .slices = slices, .segment_bytes = 1}) == "contract: send_datagrams");
  }
  SUBCASE("a source from elsewhere") {
    CHECK(send({.to = kBackend, .from = kClient, .slices = slices}) == "contract: send_datagrams");
  }
  SUBCASE("bytes that change while they are being sent") {
    std::string changing = "abc";
    const std::array<std::span<const std::byte>, 1> piece = {std::as_bytes(std::span(changing))};
    CHECK(send({.to = kBackend, .from = {}, .slices = piece}).empty());
    changing[1] = 'x';
    CHECK(f.violated([&] { static_cast<void>(f.turn()); }) == "contract: bytes changed while they were being sent");
  }
}

}  // namespace millrace::sim
