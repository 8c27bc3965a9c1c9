// Multishot recvmsg: what a message brings with it, and what happens when there is no buffer, no room, or no wish for
// more.

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>
#include <vector>

#include "datagrams.hpp"

namespace millrace::io {
namespace {

/// The next message; when the receive ends with it, or for want of a buffer, it is armed again under another tag.
Message next_message(Driver& driver, const Socket& socket, OpTag& receive) {
  for (;;) {
    const Completion completion = driver.wait(receive);
    if (!completion.more) receive = receive_on(driver, socket);
    if (completion.result >= 0) return take_message(driver, completion);
    REQUIRE(completion.result == -ENOBUFS);
  }
}

std::vector<std::string> collect_datagrams(Driver& driver, const Socket& socket, OpTag& receive, std::size_t count) {
  std::vector<std::string> datagrams;
  while (datagrams.size() < count) datagrams.push_back(next_message(driver, socket, receive).payload);
  return datagrams;
}

std::string numbered(std::size_t i) {
  return "datagram " + std::to_string(i);
}

void check_in_order(const std::vector<std::string>& datagrams, std::size_t first = 0) {
  for (std::size_t i = 0; i < datagrams.size(); ++i) CHECK(datagrams[i] == numbered(first + i));
}

}  // namespace

TEST_CASE("a kernel that has multishot receive has it for messages too") {
  CHECK(features().multishot_recvmsg);
}

TEST_CASE("an empty datagram brings a buffer and a sender") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer peer(address);
  const Socket listener = datagram_listener(address);
  OpTag receive = receive_on(driver, listener);
  for (int i = 0; i < 3; ++i) {
    peer.send("", address_of(listener));
    const Completion completion = driver.wait(receive);
    CHECK(completion.result == 0);
    REQUIRE(completion.buffer != kNoBuffer);
    // Linux takes it for the end of a stream; it is not the end of anything here.
    if (!completion.more) receive = receive_on(driver, listener);
    const Message message = take_message(driver, completion);
    CHECK(message.from == peer.address());
    CHECK(message.payload.empty());
    CHECK_FALSE(message.truncated);
  }
  peer.send("not empty", address_of(listener));
  CHECK(take_message(driver, driver.wait(receive)).payload == "not empty");
}

TEST_CASE("datagrams keep their boundaries, and tell who sent them") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer one(address);
  const Peer two(address);
  const Socket listener = datagram_listener(address);
  one.send("early", address_of(listener));  // before it is armed
  OpTag receive = receive_on(driver, listener);
  Message message = next_message(driver, listener, receive);
  CHECK(message.payload == "early");
  CHECK(message.from == one.address());
  const std::vector<std::size_t> sizes = {1, 100, 1'472, 0, 9'000, 2, 40'000};
  for (const std::size_t bytes : sizes) {
    one.send(pattern(bytes), address_of(listener));
    two.send(pattern(bytes + 1), address_of(listener));
  }
  for (const std::size_t bytes : sizes) {
    message = next_message(driver, listener, receive);
    CHECK(message.payload == pattern(bytes));
    CHECK(message.from == one.address());
    CHECK(message.segment_bytes == 0);
    message = next_message(driver, listener, receive);
    CHECK(message.payload == pattern(bytes + 1));
    CHECK(message.from == two.address());
  }
}

TEST_CASE("the largest datagram fits into a buffer, and a larger one is not sent") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  // The length field of UDP counts its header; that of IPv4 counts both headers.
  const std::size_t largest = address.family() == net::Family::ipv4 ? 65'535 - 8 - 20 : 65'535 - 8;
  const Socket sender = upstream_socket(driver, address);
  const Socket listener = datagram_listener(address);
  const OpTag receive = receive_on(driver, listener);
  for (int i = 0; i < 3; ++i) {
    CHECK(send_to(driver, sender, pattern(largest), address_of(listener)) == static_cast<std::int32_t>(largest));
    const Message message = take_message(driver, driver.wait(receive));
    CHECK(message.payload == pattern(largest));
    CHECK_FALSE(message.truncated);
  }
  CHECK(send_to(driver, sender, pattern(largest + 1), address_of(listener)) == -EMSGSIZE);
}

TEST_CASE("without a free buffer a receive of datagrams ends with ENOBUFS, and re-arming loses nothing") {
  Driver driver(datagram_options(3));
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  constexpr std::size_t kSent = 20;
  for (std::size_t i = 0; i < kSent; ++i) peer.send(numbered(i), address_of(listener));
  OpTag receive = receive_on(driver, listener);
  std::vector<std::string> datagrams;
  std::vector<Completion> held;
  bool shortage_seen = false;
  while (datagrams.size() < kSent) {
    const Completion completion = driver.wait(receive);
    REQUIRE((completion.result > 0 || completion.result == -ENOBUFS));
    if (completion.result > 0) held.push_back(completion);
    if (completion.result == -ENOBUFS) {
      CHECK(completion.buffer == kNoBuffer);
      CHECK_FALSE(completion.more);
      CHECK(held.size() == 3);
    }
    shortage_seen = shortage_seen || completion.result == -ENOBUFS;
    if (completion.more && datagrams.size() + held.size() < kSent) continue;
    for (const Completion& message : held) datagrams.push_back(take_message(driver, message).payload);
    held.clear();
    if (!completion.more) receive = receive_on(driver, listener);
  }
  CHECK(shortage_seen);
  check_in_order(datagrams);
}

TEST_CASE("what the socket's buffer has no room for is lost, and only that") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  const int bytes = 64 * 1024;
  REQUIRE(::setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
  constexpr std::size_t kSent = 1'000;
  for (std::size_t i = 0; i < kSent; ++i) peer.send(numbered(i), address_of(listener));
  OpTag receive = receive_on(driver, listener);
  std::vector<std::string> datagrams;
  for (std::optional<Completion> completion = driver.wait(receive); completion; completion = driver.peek(receive)) {
    if (!completion->more) receive = receive_on(driver, listener);
    if (completion->result >= 0) datagrams.push_back(take_message(driver, *completion).payload);
    driver.settle();
  }
  CHECK(datagrams.size() > 10);
  CHECK(datagrams.size() < kSent);
  check_in_order(datagrams);
  peer.send("room again", address_of(listener));
  CHECK(next_message(driver, listener, receive).payload == "room again");
}

TEST_CASE("datagram sockets ask for room for 4 MiB, and get what the system allows") {
  std::ifstream file("/proc/sys/net/core/rmem_max");
  int allowed = 0;
  file >> allowed;
  REQUIRE(allowed > 0);
  Driver driver(datagram_options());
  // The kernel doubles what is asked for, for its own book-keeping.
  const int expected = 2 * std::min(allowed, 4 * 1024 * 1024);
  CHECK(datagram_listener(loopback()).option(SOL_SOCKET, SO_RCVBUF) == expected);
  CHECK(upstream_socket(driver, loopback()).option(SOL_SOCKET, SO_RCVBUF) == expected);
}

TEST_CASE("a waiting receive of datagrams holds no buffer, and can be cancelled") {
  Driver driver(datagram_options());
  const Socket listener = datagram_listener(loopback());
  driver.settle();
  const std::uint32_t free_before = driver->datagram_buffers().free_count();
  const OpTag receive = receive_on(driver, listener);
  driver.settle();
  CHECK(driver->datagram_buffers().free_count() == free_before);
  driver->cancel(receive);
  const Completion last = driver.wait(receive);
  CHECK(last.result == -ECANCELED);
  CHECK_FALSE(last.more);
  CHECK(last.buffer == kNoBuffer);
}

TEST_CASE("cancelling a receive with datagrams on the way loses none") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  std::vector<std::string> datagrams;
  for (std::size_t sent = 0; sent < 40;) {
    const OpTag receive = receive_on(driver, listener);
    if (sent % 8 == 0) driver.settle();
    for (int i = 0; i < 4; ++i) peer.send(numbered(sent++), address_of(listener));
    driver->cancel(receive);
    for (bool more = true; more;) {
      const Completion completion = driver.wait(receive);
      if (completion.result >= 0) datagrams.push_back(take_message(driver, completion).payload);
      more = completion.more;
    }
  }
  OpTag receive = receive_on(driver, listener);
  for (const std::string& rest : collect_datagrams(driver, listener, receive, 40 - datagrams.size())) {
    datagrams.push_back(rest);
  }
  CHECK(datagrams.size() == 40);
  check_in_order(datagrams);
}

TEST_CASE("two sockets receive into one buffer group, streams into another") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket one = datagram_listener(loopback());
  const Socket two = datagram_listener(loopback());
  const Pair stream = tcp_pair();
  const OpTag to_one = receive_on(driver, one);
  const OpTag to_two = receive_on(driver, two);
  const OpTag to_stream = driver.tag(OpKind::recv);
  driver->recv(to_stream, stream.near.fd());
  std::vector<Completion> held;
  for (std::size_t i = 0; i < 10; ++i) {
    peer.send(numbered(2 * i), address_of(one));
    peer.send(numbered(2 * i + 1), address_of(two));
    stream.far.write("stream");
    held.push_back(driver.wait(to_one));
    held.push_back(driver.wait(to_two));
    CHECK(driver.collect(to_stream, 6) == "stream");
  }
  std::set<BufferId> buffers;
  for (std::size_t i = 0; i < held.size(); ++i) {
    buffers.insert(held[i].buffer);
    CHECK(take_message(driver, held[i]).payload == numbered(i));
  }
  CHECK(buffers.size() == held.size());
}

TEST_CASE("every datagram buffer comes back after much traffic") {
  UringFeatures used = features();
  SUBCASE("with the best set-up") {
    used = features();
  }
  SUBCASE("without DEFER_TASKRUN") {
    used.defer_taskrun = false;
  }
  Driver driver(datagram_options(), used);
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  driver.settle();
  const std::uint32_t free_before = driver->datagram_buffers().free_count();
  OpTag receive = receive_on(driver, listener);
  std::size_t sent = 0;
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) peer.send(numbered(sent++), address_of(listener));
    check_in_order(collect_datagrams(driver, listener, receive, 20), sent - 20);
  }
  driver->cancel(receive);
  CHECK(driver.wait(receive).result == -ECANCELED);
  driver.settle();
  CHECK(driver->datagram_buffers().free_count() == free_before);
}

TEST_CASE("a receive of datagrams survives a completion queue that is too small for them") {
  UringOptions options = datagram_options();
  options.submission_entries = 4;
  options.completion_entries = 8;
  options.batch = 4;
  Driver driver(options);
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  OpTag receive = receive_on(driver, listener);
  constexpr std::size_t kSent = 200;
  for (std::size_t i = 0; i < kSent; ++i) peer.send(numbered(i), address_of(listener));
  check_in_order(collect_datagrams(driver, listener, receive, kSent));
}

TEST_CASE("the kernel is lent more datagram buffers when a burst needs them") {
  UringOptions options = datagram_options(512);
  options.completion_entries = 1024;
  options.batch = 512;
  Driver driver(options);
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  constexpr std::size_t kBurst = 150;  // more than are lent at first
  const auto burst = [&] {
    unsigned shortages = 0;
    for (std::size_t i = 0; i < kBurst; ++i) peer.send(numbered(i), address_of(listener));
    OpTag receive = receive_on(driver, listener);
    std::vector<Completion> held;
    while (held.size() < kBurst) {
      const Completion completion = driver.wait(receive);
      if (completion.result >= 0) held.push_back(completion);
      if (completion.result == -ENOBUFS) ++shortages;
      if (!completion.more) receive = receive_on(driver, listener);
    }
    driver->cancel(receive);
    CHECK(driver.wait(receive).result == -ECANCELED);
    for (std::size_t i = 0; i < held.size(); ++i) CHECK(take_message(driver, held[i]).payload == numbered(i));
    return shortages;
  };
  CHECK(burst() > 0);
  unsigned bursts = 1;
  while (burst() > 0) REQUIRE(++bursts < 10);
}

TEST_CASE("without datagram buffers, and without the kernel's help, it says so") {
  UringFeatures without = features();
  without.multishot_recvmsg = false;
  const Result<std::unique_ptr<Io>> refused = make_uring_io(datagram_options(), without);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().find("multishot recvmsg") != std::string::npos);
  CHECK(make_uring_io(small_options(), without).ok());
}

}  // namespace millrace::io
