#include "io/datagram_message.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "io/compat.hpp"
#include "message_properties.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::io {
namespace {

using net::Family;
using net::IpEndpoint;

using Bytes = std::vector<std::byte>;

IpEndpoint v4(std::uint16_t port = 0) {
  return IpEndpoint::ipv4(0x7f000002, port);
}

IpEndpoint v6(std::uint8_t first = 0x20, std::uint16_t port = 0, std::uint32_t scope = 0) {
  return IpEndpoint::ipv6({first, 0x80, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, port, scope);
}

template <class T>
void append_control(Bytes& control, int level, int type, const T& value, std::size_t claimed = CMSG_LEN(sizeof(T))) {
  cmsghdr header{};
  header.cmsg_len = claimed;
  header.cmsg_level = level;
  header.cmsg_type = type;
  const std::size_t at = control.size();
  control.resize(at + CMSG_SPACE(sizeof value));
  std::memcpy(control.data() + at, &header, sizeof header);
  std::memcpy(control.data() + at + CMSG_LEN(0), &value, sizeof value);
}

in_pktinfo pktinfo_v4(std::uint32_t specific, std::uint32_t header_address) {
  in_pktinfo info{};
  info.ipi_ifindex = 1;
  info.ipi_spec_dst.s_addr = htonl(specific);
  info.ipi_addr.s_addr = htonl(header_address);
  return info;
}

in6_pktinfo pktinfo_v6(const IpEndpoint& address, unsigned interface) {
  in6_pktinfo info{};
  std::memcpy(&info.ipi6_addr, address.address().data(), sizeof info.ipi6_addr);
  info.ipi6_ifindex = interface;
  return info;
}

/// A buffer as a multishot recvmsg leaves it.
struct Message {
  IpEndpoint from = v4(1234);
  Bytes control;
  std::size_t payload_bytes = 0;
  std::uint32_t flags = 0;
  // What the header claims; by default the truth.
  std::uint32_t name_claimed = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t control_claimed = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t payload_claimed = std::numeric_limits<std::uint32_t>::max();

  [[nodiscard]] Bytes buffer(std::size_t room) const {
    constexpr std::uint32_t kTruth = std::numeric_limits<std::uint32_t>::max();
    const auto or_truth = [](std::uint32_t claimed, std::size_t truth) {
      return claimed == kTruth ? static_cast<std::uint32_t>(truth) : claimed;
    };
    Bytes bytes(kPayloadOffset + room);
    sockaddr_in6 name{};
    const socklen_t name_length = from.to_sockaddr(name);
    const io_uring_recvmsg_out out{.namelen = or_truth(name_claimed, name_length),
                                   .controllen = or_truth(control_claimed, control.size()),
                                   .payloadlen = or_truth(payload_claimed, payload_bytes),
                                   .flags = flags};
    std::memcpy(bytes.data(), &out, sizeof out);
    std::memcpy(bytes.data() + sizeof out, &name, name_length);
    REQUIRE(control.size() <= kControlBytes);
    std::copy(control.begin(), control.end(), bytes.begin() + sizeof out + kNameBytes);
    for (std::size_t i = 0; i < room; ++i) bytes[kPayloadOffset + i] = static_cast<std::byte>(i);
    return bytes;
  }
};

bool lies_within(std::span<const std::byte> inner, const Bytes& outer) {
  return inner.data() >= outer.data() && inner.data() + inner.size() <= outer.data() + outer.size();
}

ReceivedDatagrams read_control_of(const Bytes& control) {
  ReceivedDatagrams message;
  read_control(control, message);
  return message;
}

}  // namespace

TEST_CASE("message: a datagram with its sender") {
  for (const IpEndpoint& from : {v4(1234), v6(0x20, 1234), v6(0xfe, 1234, 3)}) {
    const Bytes buffer = Message{.from = from, .control = {}, .payload_bytes = 100}.buffer(2000);
    const ReceivedDatagrams message = read_message(buffer);
    CHECK(message.from == from);
    CHECK(message.to == IpEndpoint());
    CHECK(message.payload.data() == buffer.data() + kPayloadOffset);
    CHECK(message.payload.size() == 100);
    CHECK(message.segment_bytes == 0);
    CHECK_FALSE(message.truncated);
    CHECK(message.datagrams() == 1);
  }
}

TEST_CASE("message: an empty datagram is one") {
  const Bytes buffer = Message{}.buffer(2000);
  const ReceivedDatagrams message = read_message(buffer);
  CHECK(message.from == v4(1234));
  CHECK(message.payload.empty());
  CHECK_FALSE(message.truncated);
  CHECK(message.datagrams() == 1);
  // Also where the buffer ends behind it.
  CHECK(read_message(Message{}.buffer(0)).from == v4(1234));
}

TEST_CASE("message: an IPv4 sender on an IPv6 socket is IPv4") {
  Message mapped;
  Bytes buffer = mapped.buffer(10);
  sockaddr_in6 name{};
  name.sin6_family = AF_INET6;
  name.sin6_port = htons(1234);
  name.sin6_addr = in6_addr{{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 2}}};
  const std::uint32_t length = sizeof name;
  std::memcpy(buffer.data(), &length, sizeof length);  // namelen
  std::memcpy(buffer.data() + sizeof(io_uring_recvmsg_out), &name, sizeof name);
  CHECK(read_message(buffer).from == v4(1234));
}

TEST_CASE("message: the address that an IPv4 datagram was sent to") {
  Message sent;
  // The destination in its header may be a broadcast address, from which nothing can be sent.
  append_control(sent.control, IPPROTO_IP, IP_PKTINFO, pktinfo_v4(0x7f000002, 0x7fffffff));
  CHECK(read_message(sent.buffer(10)).to == v4());
}

TEST_CASE("message: the address that an IPv6 datagram was sent to") {
  Message sent;
  IpEndpoint expected;
  SUBCASE("without the interface") {
    expected = v6();
    append_control(sent.control, IPPROTO_IPV6, IPV6_PKTINFO, pktinfo_v6(v6(), 7));
  }
  SUBCASE("with it when the address means nothing without") {
    expected = v6(0xfe, 0, 7);
    append_control(sent.control, IPPROTO_IPV6, IPV6_PKTINFO, pktinfo_v6(v6(0xfe), 7));
  }
  SUBCASE("a mapped one as IPv4") {
    expected = v4();
    in6_pktinfo info{};
    info.ipi6_addr = in6_addr{{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 2}}};
    info.ipi6_ifindex = 7;
    append_control(sent.control, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  CHECK(read_message(sent.buffer(10)).to == expected);
}

TEST_CASE("message: a train says the size of its datagrams") {
  Message train;
  train.payload_bytes = 1050;
  append_control(train.control, SOL_UDP, UDP_GRO, 100);
  ReceivedDatagrams message = read_message(train.buffer(2000));
  CHECK(message.segment_bytes == 100);
  CHECK(message.payload.size() == 1050);
  CHECK(message.datagrams() == 11);
  train.payload_bytes = 101;
  CHECK(read_message(train.buffer(2000)).datagrams() == 2);
}

TEST_CASE("message: a train of one is a single datagram") {
  for (const std::size_t bytes : {std::size_t{100}, std::size_t{99}, std::size_t{1}, std::size_t{0}}) {
    CAPTURE(bytes);
    Message train;
    train.payload_bytes = bytes;
    append_control(train.control, SOL_UDP, UDP_GRO, 100);
    const ReceivedDatagrams message = read_message(train.buffer(2000));
    CHECK(message.segment_bytes == 0);
    CHECK(message.payload.size() == bytes);
    CHECK(message.datagrams() == 1);
  }
}

TEST_CASE("message: a nonsensical size of a train's datagrams is none") {
  for (const int size : {0, -1, std::numeric_limits<int>::min()}) {
    CAPTURE(size);
    Message train;
    train.payload_bytes = 1000;
    append_control(train.control, SOL_UDP, UDP_GRO, size);
    CHECK(read_message(train.buffer(2000)).segment_bytes == 0);
  }
}

TEST_CASE("message: both kinds of control message, in any order") {
  for (const bool train_first : {true, false}) {
    for (const bool is_v6 : {true, false}) {
      Message train;
      train.payload_bytes = 1000;
      if (train_first) append_control(train.control, SOL_UDP, UDP_GRO, 100);
      if (is_v6) append_control(train.control, IPPROTO_IPV6, IPV6_PKTINFO, pktinfo_v6(v6(), 1));
      if (!is_v6) append_control(train.control, IPPROTO_IP, IP_PKTINFO, pktinfo_v4(0x7f000002, 0x7f000002));
      if (!train_first) append_control(train.control, SOL_UDP, UDP_GRO, 100);
      const ReceivedDatagrams message = read_message(train.buffer(2000));
      CHECK(message.to == (is_v6 ? v6() : v4()));
      CHECK(message.segment_bytes == 100);
    }
  }
}

TEST_CASE("message: control messages that it does not know are passed over") {
  Bytes control;
  append_control(control, SOL_SOCKET, SO_TIMESTAMP, std::array<std::uint64_t, 2>{});
  append_control(control, IPPROTO_IP, IP_TTL, 64);
  append_control(control, IPPROTO_IPV6, IP_PKTINFO, pktinfo_v4(1, 1));  // a known number of another level
  append_control(control, IPPROTO_IP, IPV6_PKTINFO, pktinfo_v6(v6(), 1));
  append_control(control, IPPROTO_IP, UDP_GRO, 77);
  CHECK(read_control_of(control).to == IpEndpoint());
  CHECK(read_control_of(control).segment_bytes == 0);
  append_control(control, IPPROTO_IP, IP_PKTINFO, pktinfo_v4(0x7f000002, 1));
  append_control(control, SOL_UDP, UDP_GRO, 100);
  CHECK(read_control_of(control).to == v4());
  CHECK(read_control_of(control).segment_bytes == 100);
}

TEST_CASE("message: a control message without its value says nothing") {
  Bytes control;
  append_control(control, IPPROTO_IP, IP_PKTINFO, pktinfo_v4(0x7f000002, 1), CMSG_LEN(sizeof(in_pktinfo)) - 1);
  append_control(control, IPPROTO_IPV6, IPV6_PKTINFO, pktinfo_v6(v6(), 1), CMSG_LEN(sizeof(in6_pktinfo)) - 1);
  append_control(control, SOL_UDP, UDP_GRO, 100, CMSG_LEN(2));
  append_control(control, SOL_UDP, UDP_GRO, 100, CMSG_LEN(0));
  CHECK(read_control_of(control).to == IpEndpoint());
  CHECK(read_control_of(control).segment_bytes == 0);
}

TEST_CASE("message: a chain of control messages ends where its lengths make no sense") {
  constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
  for (const std::size_t claimed : {std::size_t{0}, CMSG_LEN(0) - 1, std::size_t{65}, kHuge, kHuge - 7}) {
    CAPTURE(claimed);
    Bytes control;
    append_control(control, IPPROTO_IP, IP_TTL, 64, claimed);
    append_control(control, SOL_UDP, UDP_GRO, 100);
    CHECK(read_control_of(control).segment_bytes == 0);
  }
  // What came before counts; the last one may leave out its padding.
  Bytes control;
  append_control(control, IPPROTO_IP, IP_PKTINFO, pktinfo_v4(0x7f000002, 1));
  append_control(control, SOL_UDP, UDP_GRO, 100);
  control.resize(control.size() - (CMSG_SPACE(sizeof(int)) - CMSG_LEN(sizeof(int))));
  CHECK(read_control_of(control).segment_bytes == 100);
  control.pop_back();
  CHECK(read_control_of(control).to == v4());
  CHECK(read_control_of(control).segment_bytes == 0);
}

TEST_CASE("message: truncated when the kernel says so, or when the buffer cannot hold it") {
  Message cut;
  cut.payload_bytes = 100;
  cut.flags = MSG_TRUNC;
  CHECK(read_message(cut.buffer(100)).truncated);
  CHECK(read_message(cut.buffer(100)).payload.size() == 100);
  cut.flags = MSG_CTRUNC;
  CHECK_FALSE(read_message(cut.buffer(100)).truncated);
  cut.flags = 0;
  const Bytes small = cut.buffer(99);
  const ReceivedDatagrams message = read_message(small);
  CHECK(message.truncated);
  CHECK(message.payload.size() == 99);
  CHECK(lies_within(message.payload, small));
}

TEST_CASE("message: lengths that lie never lead out of the buffer") {
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max() - 1;
  Message lying;
  lying.payload_bytes = 10;
  lying.name_claimed = kMost;
  lying.control_claimed = kMost;
  lying.payload_claimed = kMost;
  const Bytes buffer = lying.buffer(10);
  const ReceivedDatagrams message = read_message(buffer);
  CHECK(message.from == v4(1234));
  CHECK(message.to == IpEndpoint());
  CHECK(message.payload.size() == 10);
  CHECK(message.truncated);
  CHECK(lies_within(message.payload, buffer));
  lying = {};
  lying.name_claimed = 15;
  CHECK(read_message(lying.buffer(10)).from == IpEndpoint());
}

TEST_CASE("message: a buffer without room for the header is no message") {
  const Bytes whole = Message{.control = {}, .payload_bytes = 10}.buffer(10);
  for (std::size_t length = 0; length < kPayloadOffset; ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
    const ReceivedDatagrams message = read_message(cut);
    CHECK(message.from == IpEndpoint());
    CHECK(message.payload.empty());
  }
}

TEST_CASE("message: any bytes at all") {
  Rng rng(3);
  for (int i = 0; i < 20000; ++i) {
    Bytes bytes(rng.below(2) == 0 ? rng.below(400) : kPayloadOffset + rng.below(100));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(rng.below(3) == 0 ? rng.below(256) : rng.below(3));
    check_message_properties(bytes);
  }
}

TEST_CASE("control messages of a send: none") {
  ControlBytes control;
  control.used = 7;
  write_control(control, IpEndpoint(), 0);
  CHECK(control.used == 0);
}

TEST_CASE("control messages of a send: the address to send from reads back") {
  for (const IpEndpoint& from : {v4(), v6(), v6(0xfe, 0, 3)}) {
    ControlBytes control;
    write_control(control, from, 0);
    ReceivedDatagrams message;
    read_control(std::span(control.bytes).first(control.used), message);
    CHECK(message.to == from);
    CHECK(message.segment_bytes == 0);
  }
  // The port does not count.
  ControlBytes control;
  write_control(control, v4(80), 0);
  CHECK(control.used == CMSG_SPACE(sizeof(in_pktinfo)));
  CHECK(
      read_control_of({control.bytes.begin(), control.bytes.begin() + static_cast<std::ptrdiff_t>(control.used)}).to ==
      v4());
}

TEST_CASE("control messages of a send: as the kernel walks them") {
  for (const IpEndpoint& from : {IpEndpoint(), v4(), v6()}) {
    for (const std::uint32_t segment : {0U, 1U, 1472U, 65000U}) {
      CAPTURE(from.to_string());
      CAPTURE(segment);
      ControlBytes control;
      std::memset(control.bytes.data(), 0xff, control.bytes.size());
      write_control(control, from, segment);
      msghdr header{};
      header.msg_control = control.bytes.data();
      header.msg_controllen = control.used;
      cmsghdr* at = CMSG_FIRSTHDR(&header);
      if (from.family() != Family::none) {
        REQUIRE(at != nullptr);
        const bool is_v4 = from.family() == Family::ipv4;
        CHECK(at->cmsg_level == (is_v4 ? IPPROTO_IP : IPPROTO_IPV6));
        CHECK(at->cmsg_type == (is_v4 ? IP_PKTINFO : IPV6_PKTINFO));
        CHECK(at->cmsg_len == CMSG_LEN(is_v4 ? sizeof(in_pktinfo) : sizeof(in6_pktinfo)));
        at = CMSG_NXTHDR(&header, at);
      }
      if (segment != 0) {
        REQUIRE(at != nullptr);
        CHECK(at->cmsg_level == SOL_UDP);
        CHECK(at->cmsg_type == UDP_SEGMENT);
        CHECK(at->cmsg_len == CMSG_LEN(sizeof(std::uint16_t)));  // no other length is taken
        std::uint16_t value = 0;
        std::memcpy(&value, CMSG_DATA(at), sizeof value);
        CHECK(value == segment);
        at = CMSG_NXTHDR(&header, at);
      }
      CHECK(at == nullptr);
    }
  }
}

TEST_CASE("control messages of a send: an IPv4 source leaves the interface to the routing") {
  ControlBytes control;
  write_control(control, v4(), 0);
  in_pktinfo info{};
  std::memcpy(&info, control.bytes.data() + CMSG_LEN(0), sizeof info);
  CHECK(info.ipi_ifindex == 0);
  CHECK(info.ipi_spec_dst.s_addr == htonl(0x7f000002));
}

}  // namespace millrace::io
