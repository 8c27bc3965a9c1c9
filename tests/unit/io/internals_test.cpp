#include <doctest/doctest.h>

#include <array>

#include "io/internal_tag.hpp"
#include "io/scratch.hpp"
#include "io/splice_queue.hpp"

namespace millrace::io {

TEST_CASE("a hung-up watch keeps its identity, and what was seen") {
  const OpTag watch(OpKind::watch, 3, 0xfedcba, 0x89abcdefU);
  for (const std::int32_t seen : {kPollError, kPollHangup, kPollError | kPollHangup}) {
    const OpTag hung_up = hung_up_tag(watch, seen | kPollIn);
    CHECK(is_hung_up(hung_up));
    CHECK_FALSE(hung_up == watch);
    CHECK(hung_up_bits(hung_up) == seen);
    CHECK(watch_tag(hung_up) == watch);
  }
}

TEST_CASE("no tag of a caller looks like one of UringIo's own") {
  for (unsigned kind = 1; kind < kOpKinds; ++kind) {
    const OpTag tag(static_cast<OpKind>(kind), 3, 0xffffff, 0xffffffffU);
    CHECK_FALSE(is_hung_up(tag));
    CHECK_FALSE(tag.kind() == kWakeTag.kind());
  }
  CHECK_FALSE(is_hung_up(kWakeTag));
  CHECK_FALSE(is_hung_up(kCancelTag));
}

TEST_CASE("the splice queue is first in, first out, round its end") {
  SpliceQueue queue(3);
  CHECK(queue.empty());
  std::uint32_t in = 0;
  std::uint32_t out = 0;
  for (int round = 0; round < 10; ++round) {
    while (!queue.full()) queue.push({.tag = OpTag(OpKind::splice_in, 0, 0, in++)});
    CHECK(in - out == 3);
    CHECK(queue.pop().tag.slot() == out++);
    CHECK(queue.pop().tag.slot() == out++);
  }
  CHECK(queue.pop().tag.slot() == out++);
  CHECK(queue.empty());
}

TEST_CASE("scratch memory holds copies until it is reused") {
  Scratch scratch(2, 1, 0);
  const std::array<std::byte, 4> bytes{};
  std::array<std::span<const std::byte>, 2> slices = {std::span(bytes).first(1), std::span(bytes).last(3)};
  const msghdr* first = scratch.message(slices);
  slices[0] = {};
  const msghdr* second = scratch.message(std::span(slices).last(1));
  CHECK(scratch.messages_full());
  CHECK(first->msg_iovlen == 2);
  CHECK(first->msg_iov[0].iov_base == bytes.data());
  CHECK(first->msg_iov[0].iov_len == 1);
  CHECK(first->msg_iov[1].iov_len == 3);
  CHECK(second->msg_iovlen == 1);
  net::Endpoint endpoint = net::Endpoint::ipv4(0x7f000001, 80);
  const net::Endpoint* copy = scratch.address(endpoint);
  endpoint.set_port(81);
  CHECK(copy->port() == 80);
  CHECK(scratch.addresses_full());
  scratch.reuse();
  CHECK_FALSE(scratch.messages_full());
  CHECK_FALSE(scratch.addresses_full());
}

TEST_CASE("scratch memory of a datagram: header, addresses, slices and control messages are copies") {
  Scratch scratch(1, 1, 2);
  const std::array<std::byte, 4> bytes{};
  std::array<std::span<const std::byte>, 2> slices = {std::span(bytes).first(1), std::span(bytes).last(3)};
  DatagramsToSend datagrams{.to = net::IpEndpoint::ipv4(0x7f000001, 80),
                            .from = net::IpEndpoint::ipv4(0x7f000002, 0),
                            .slices = slices,
                            .segment_bytes = 1};
  const msghdr* first = scratch.train(datagrams);
  slices = {};
  datagrams = {.to = net::IpEndpoint::ipv6({1}, 81), .from = {}, .slices = std::span(slices).first(1)};
  const msghdr* second = scratch.train(datagrams);
  datagrams = {};
  CHECK(scratch.trains_full());
  CHECK_FALSE(scratch.messages_full());
  CHECK_FALSE(scratch.addresses_full());

  const auto name_of = [](const msghdr* header) {
    return net::IpEndpoint::from_sockaddr({static_cast<const std::byte*>(header->msg_name), header->msg_namelen});
  };
  CHECK(first->msg_namelen == sizeof(sockaddr_in));
  CHECK(name_of(first) == net::IpEndpoint::ipv4(0x7f000001, 80));
  CHECK(first->msg_iovlen == 2);
  CHECK(first->msg_iov[0].iov_base == bytes.data());
  CHECK(first->msg_iov[0].iov_len == 1);
  CHECK(first->msg_iov[1].iov_len == 3);
  ReceivedDatagrams control;
  read_control({static_cast<const std::byte*>(first->msg_control), first->msg_controllen}, control);
  CHECK(control.to == net::IpEndpoint::ipv4(0x7f000002, 0));

  CHECK(second->msg_namelen == sizeof(sockaddr_in6));
  CHECK(name_of(second) == net::IpEndpoint::ipv6({1}, 81));
  CHECK(second->msg_iovlen == 1);
  CHECK(second->msg_iov[0].iov_len == 0);  // an empty datagram is one
  CHECK(second->msg_control == nullptr);
  CHECK(second->msg_controllen == 0);
}

TEST_CASE("scratch memory of a datagram is reused, with nothing of the one before") {
  Scratch scratch(1, 1, 1);
  const std::array<std::byte, 4> bytes{};
  std::array<std::span<const std::byte>, kTrainDatagramsMax> slices;
  slices.fill(std::span(bytes).first(1));
  const msghdr* first = scratch.train({.to = net::IpEndpoint::ipv6({1}, 81),
                                       .from = net::IpEndpoint::ipv6({2}, 0),
                                       .slices = slices,
                                       .segment_bytes = 1});
  CHECK(first->msg_iovlen == kTrainDatagramsMax);
  CHECK(first->msg_iov[kTrainDatagramsMax - 1].iov_base == bytes.data());
  CHECK(first->msg_controllen == kControlBytes);  // both control messages fill it
  scratch.reuse();
  CHECK_FALSE(scratch.trains_full());
  const msghdr* again =
      scratch.train({.to = net::IpEndpoint::ipv4(1, 80), .from = {}, .slices = std::span(slices).first(1)});
  CHECK(again == first);
  CHECK(again->msg_namelen == sizeof(sockaddr_in));
  CHECK(again->msg_iovlen == 1);
  CHECK(again->msg_control == nullptr);
  CHECK(again->msg_controllen == 0);
}

TEST_CASE("scratch memory without room for datagrams is always full of them") {
  CHECK(Scratch(1, 1, 0).trains_full());
}

}  // namespace millrace::io
