// Trains: datagrams of equal size that are sent and received as one message (UDP_SEGMENT, UDP_GRO).

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

#include "datagrams.hpp"

namespace millrace::io {
namespace {

/// Datagrams larger than the MTU are refused with EINVAL, since Linux 6.14 with EMSGSIZE.
bool is_too_large(std::int32_t result) {
  return result == -EINVAL || result == -EMSGSIZE;
}

/// Sends `text` as a train between two sockets of millrace's own.
Message through(Driver& driver, const net::Endpoint& address, std::string_view text, std::uint32_t segment_bytes) {
  const Socket sender = upstream_socket(driver, address);
  const Socket listener = datagram_listener(address);
  const OpTag receive = receive_on(driver, listener);
  CHECK(send_to(driver, sender, text, address_of(listener), segment_bytes) == static_cast<std::int32_t>(text.size()));
  Message message = take_message(driver, driver.wait(receive));
  CHECK(message.from == address_of(sender));
  driver->cancel(receive);
  CHECK(driver.wait(receive).result == -ECANCELED);
  return message;
}

}  // namespace

TEST_CASE("a train arrives as a train at a socket that takes them") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Message message = through(driver, address, pattern(10'000), 1'000);
  CHECK(message.payload == pattern(10'000));
  CHECK(message.segment_bytes == 1'000);
  CHECK_FALSE(message.truncated);
}

TEST_CASE("a train arrives as single datagrams at any other socket") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Peer peer(address);
  const Socket sender = upstream_socket(driver, address);
  const std::string text = pattern(10'300);
  CHECK(send_to(driver, sender, text, peer.address(), 1'000) == 10'300);
  for (std::size_t at = 0; at < text.size(); at += 1'000) {
    const Message message = peer.receive();
    CHECK(message.payload == text.substr(at, 1'000));
    CHECK(message.segment_bytes == 0);
    CHECK(message.from == address_of(sender));
  }
  CHECK(peer.nothing_waits());
}

TEST_CASE("sockets towards backends take trains too") {
  Driver driver(datagram_options());
  const Peer backend;
  const Socket socket = upstream_socket(driver, loopback());
  const OpTag receive = receive_on(driver, socket);
  CHECK(backend.send_train(pattern(3'000), address_of(socket), 1'000) == 3'000);
  const Message message = take_message(driver, driver.wait(receive));
  CHECK(message.payload == pattern(3'000));
  CHECK(message.segment_bytes == 1'000);
}

TEST_CASE("the last datagram of a train may be shorter") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  for (const std::size_t last : {1U, 300U, 999U}) {
    CAPTURE(last);
    const Message message = through(driver, address, pattern(2'000 + last), 1'000);
    CHECK(message.payload == pattern(2'000 + last));
    CHECK(message.segment_bytes == 1'000);
  }
}

TEST_CASE("a train of one datagram is a datagram") {
  Driver driver(datagram_options());
  const Message whole = through(driver, loopback(), pattern(1'000), 1'000);
  CHECK(whole.payload == pattern(1'000));
  CHECK(whole.segment_bytes == 0);
  CHECK(through(driver, loopback(), pattern(999), 1'000).segment_bytes == 0);
}

TEST_CASE("the slices of a train need not be its datagrams") {
  Driver driver(datagram_options());
  const Socket sender = upstream_socket(driver, loopback());
  const Peer peer;
  const std::string text = pattern(1'050);
  const std::string_view view = text;
  std::vector<std::span<const std::byte>> slices;
  SUBCASE("one each") {
    for (std::size_t at = 0; at < text.size(); at += 100) slices.push_back(bytes_of(view.substr(at, 100)));
  }
  SUBCASE("several datagrams, and parts of them") {
    for (const auto& [at, bytes] : {std::pair{0, 130}, {130, 1}, {131, 0}, {131, 469}, {600, 450}}) {
      slices.push_back(bytes_of(view.substr(static_cast<std::size_t>(at), static_cast<std::size_t>(bytes))));
    }
  }
  const OpTag tag = driver.tag(OpKind::send_datagrams);
  driver->send_datagrams(tag, sender.fd(), {.to = peer.address(), .from = {}, .slices = slices, .segment_bytes = 100});
  CHECK(driver.wait(tag).result == 1'050);
  for (std::size_t at = 0; at < text.size(); at += 100) CHECK(peer.receive().payload == text.substr(at, 100));
  CHECK(peer.nothing_waits());
}

TEST_CASE("a train may have 64 datagrams of 64 slices, and 65000 bytes") {
  Driver driver(datagram_options());
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const Socket sender = upstream_socket(driver, address);
  const Socket listener = datagram_listener(address);
  const OpTag receive = receive_on(driver, listener);
  for (const std::uint32_t segment : {1U, 100U, kTrainBytesMax / kTrainDatagramsMax}) {
    CAPTURE(segment);
    const std::string text = pattern(std::size_t{segment} * kTrainDatagramsMax);
    std::array<std::span<const std::byte>, kTrainDatagramsMax> slices;
    for (std::size_t i = 0; i < slices.size(); ++i) slices[i] = bytes_of(text).subspan(i * segment, segment);
    const OpTag tag = driver.tag(OpKind::send_datagrams);
    driver->send_datagrams(tag, sender.fd(),
                           {.to = address_of(listener), .from = {}, .slices = slices, .segment_bytes = segment});
    CHECK(driver.wait(tag).result == static_cast<std::int32_t>(text.size()));
    const Message message = take_message(driver, driver.wait(receive));
    CHECK(message.payload == text);
    CHECK(message.segment_bytes == segment);
  }
  CHECK(send_to(driver, sender, pattern(kTrainBytesMax), address_of(listener), 1'300) == kTrainBytesMax);
  CHECK(take_message(driver, driver.wait(receive)).payload == pattern(kTrainBytesMax));
}

TEST_CASE("a train of too many datagrams is refused, and nothing of it is sent") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket sender = upstream_socket(driver, loopback());
  CHECK(send_to(driver, sender, pattern(129), peer.address(), 1) == -EINVAL);  // 64 are possible, 128 since Linux 6.9
  CHECK(peer.nothing_waits());
  CHECK_FALSE(driver->take_error(sender.fd()).has_value());
  CHECK(send_to(driver, sender, "sent", peer.address()) == 4);
  CHECK(peer.receive().payload == "sent");
}

TEST_CASE("a received train may be longer than what is sent as one") {
  Driver driver(datagram_options());
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  const OpTag receive = receive_on(driver, listener);
  const ssize_t sent = peer.send_train(pattern(12'800), address_of(listener), 100);
  if (sent == -EINVAL) return;  // a kernel that takes 64
  CHECK(sent == 12'800);
  const Message message = take_message(driver, driver.wait(receive));
  CHECK(message.payload == pattern(12'800));
  CHECK(message.segment_bytes == 100);
}

TEST_CASE("a train of datagrams larger than the MTU is refused, and nothing of it is sent") {
  const NetworkOfItsOwn network(1'500);
  if (!network.ok()) return;
  const net::Endpoint address = either_loopback();
  if (address.family() == net::Family::none) return;
  const std::uint32_t largest = address.family() == net::Family::ipv4 ? 1'500 - 20 - 8 : 1'500 - 40 - 8;
  Driver driver(datagram_options());
  const Peer peer(address);
  peer.take_trains();
  for (const bool as_listener : {true, false}) {
    const Socket sender = as_listener ? datagram_listener(address) : upstream_socket(driver, address);
    for (const std::uint32_t segment : {largest + 1, 2'000U, 9'000U}) {
      CAPTURE(segment);
      CHECK(is_too_large(send_to(driver, sender, pattern(30'000), peer.address(), segment)));
      CHECK(peer.nothing_waits());
      CHECK_FALSE(driver->take_error(sender.fd()).has_value());
    }
    // The same one by one, or in a train that fits.
    CHECK(send_to(driver, sender, pattern(2'000), peer.address()) == 2'000);
    CHECK(peer.receive().payload == pattern(2'000));
    CHECK(send_to(driver, sender, pattern(30'000), peer.address(), largest) == 30'000);
    const Message message = peer.receive();
    CHECK(message.payload == pattern(30'000));
    CHECK(message.segment_bytes == largest);
  }
}

TEST_CASE("a train on its way meets a receive without buffers: nothing is lost") {
  Driver driver(datagram_options(2));
  const Peer peer;
  const Socket listener = datagram_listener(loopback());
  OpTag receive = receive_on(driver, listener);
  for (std::size_t i = 1; i <= 5; ++i) {
    CHECK(peer.send_train(pattern(1'000 * i), address_of(listener), 500) == static_cast<ssize_t>(1'000 * i));
  }
  std::vector<std::size_t> sizes;
  while (sizes.size() < 5) {
    const Completion completion = driver.wait(receive);
    if (!completion.more) receive = receive_on(driver, listener);
    if (completion.result >= 0) sizes.push_back(take_message(driver, completion).payload.size());
  }
  CHECK(sizes == std::vector<std::size_t>{1'000, 2'000, 3'000, 4'000, 5'000});
}

}  // namespace millrace::io
