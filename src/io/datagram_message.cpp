#include "datagram_message.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "compat.hpp"
#include "millrace/base/assert.hpp"

namespace millrace::io {
namespace {

static_assert(sizeof(io_uring_recvmsg_out) + kNameBytes + kControlBytes == kPayloadOffset);
static_assert(kNameBytes == sizeof(sockaddr_in6));
static_assert(kControlBytes >= CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(int)));

template <class T>
bool read_value(std::span<const std::byte> data, T& value) {
  if (data.size() < sizeof value) return false;
  std::memcpy(&value, data.data(), sizeof value);
  return true;
}

bool is_link_local(const in6_addr& address) {
  return IN6_IS_ADDR_LINKLOCAL(&address);
}

void read_one(const cmsghdr& header, std::span<const std::byte> data, ReceivedDatagrams& message) {
  if (header.cmsg_level == IPPROTO_IP && header.cmsg_type == IP_PKTINFO) {
    in_pktinfo info{};
    if (read_value(data, info)) message.to = net::IpEndpoint::ipv4(ntohl(info.ipi_spec_dst.s_addr), 0);
  } else if (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO) {
    in6_pktinfo info{};
    if (!read_value(data, info)) return;
    std::array<std::uint8_t, 16> address{};
    std::memcpy(address.data(), &info.ipi6_addr, address.size());
    message.to = net::IpEndpoint::ipv6(address, 0, is_link_local(info.ipi6_addr) ? info.ipi6_ifindex : 0);
  } else if (header.cmsg_level == SOL_UDP && header.cmsg_type == UDP_GRO) {
    int size = 0;
    if (read_value(data, size) && size > 0) message.segment_bytes = static_cast<std::uint32_t>(size);
  }
}

template <class T>
void append(ControlBytes& control, int level, int type, const T& value) {
  MILLRACE_ASSERT(control.used + CMSG_SPACE(sizeof value) <= control.bytes.size(), "room for every control message");
  std::byte* at = control.bytes.data() + control.used;
  std::memset(at, 0, CMSG_SPACE(sizeof value));
  cmsghdr header{};
  header.cmsg_len = CMSG_LEN(sizeof value);
  header.cmsg_level = level;
  header.cmsg_type = type;
  std::memcpy(at, &header, sizeof header);
  std::memcpy(at + CMSG_LEN(0), &value, sizeof value);
  control.used += CMSG_SPACE(sizeof value);
}

}  // namespace

void read_control(std::span<const std::byte> control, ReceivedDatagrams& message) {
  while (control.size() >= sizeof(cmsghdr)) {
    cmsghdr header{};
    std::memcpy(&header, control.data(), sizeof header);
    if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > control.size()) return;
    read_one(header, control.subspan(CMSG_LEN(0), header.cmsg_len - CMSG_LEN(0)), message);
    control = control.subspan(std::min<std::size_t>(CMSG_ALIGN(header.cmsg_len), control.size()));
  }
}

ReceivedDatagrams read_message(std::span<const std::byte> buffer) {
  ReceivedDatagrams message;
  io_uring_recvmsg_out out{};
  if (buffer.size() < kPayloadOffset || !read_value(buffer, out)) return message;
  message.from = net::IpEndpoint::from_sockaddr(buffer.subspan(sizeof out, std::min(out.namelen, kNameBytes)));
  read_control(buffer.subspan(sizeof out + kNameBytes, std::min(out.controllen, kControlBytes)), message);
  const std::size_t room = buffer.size() - kPayloadOffset;
  message.payload = buffer.subspan(kPayloadOffset, std::min<std::size_t>(out.payloadlen, room));
  message.truncated = (out.flags & MSG_TRUNC) != 0 || out.payloadlen > room;
  if (message.segment_bytes >= message.payload.size()) message.segment_bytes = 0;
  return message;
}

void write_control(ControlBytes& control, const net::IpEndpoint& from, std::uint32_t segment_bytes) {
  control.used = 0;
  if (from.family() == net::Family::ipv4) {
    in_pktinfo info{};
    std::memcpy(&info.ipi_spec_dst, from.address().data(), sizeof info.ipi_spec_dst);
    append(control, IPPROTO_IP, IP_PKTINFO, info);
  } else if (from.family() == net::Family::ipv6) {
    in6_pktinfo info{};
    std::memcpy(&info.ipi6_addr, from.address().data(), sizeof info.ipi6_addr);
    info.ipi6_ifindex = from.scope();
    append(control, IPPROTO_IPV6, IPV6_PKTINFO, info);
  }
  if (segment_bytes != 0) append(control, SOL_UDP, UDP_SEGMENT, static_cast<std::uint16_t>(segment_bytes));
}

}  // namespace millrace::io
