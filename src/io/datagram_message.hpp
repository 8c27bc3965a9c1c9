#pragma once
// The messages of datagram sockets as the kernel lays them out: reading what a multishot recvmsg wrote into a buffer,
// and writing the control messages of a send. Pure functions of bytes, so that they can be fuzzed.

#include <sys/socket.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "millrace/io/io.hpp"

namespace millrace::io {

/// Where a multishot recvmsg puts things (io_uring_recvmsg_out in linux/io_uring.h): a header, then room for the
/// sender's address, then room for control messages, then the payload.
inline constexpr std::uint32_t kNameBytes = 28;     // sockaddr_in6
inline constexpr std::uint32_t kControlBytes = 64;  // IPV6_PKTINFO and UDP_GRO
inline constexpr std::uint32_t kPayloadOffset = 16 + kNameBytes + kControlBytes;
/// The largest payload: UDP's length field has 16 bits.
inline constexpr std::uint32_t kPayloadBytesMax = 65535;
/// A whole number of pages that holds the largest message.
inline constexpr std::uint32_t kDatagramBufferBytes = 68 * 1024;
static_assert(kPayloadOffset + kPayloadBytesMax <= kDatagramBufferBytes);

/// Reads a buffer that the kernel has filled. Whatever the bytes are, nothing outside of `buffer` is read and the
/// payload lies within it.
[[nodiscard]] ReceivedDatagrams read_message(std::span<const std::byte> buffer);

/// What read_message() takes out of a chain of control messages; public for tests.
void read_control(std::span<const std::byte> control, ReceivedDatagrams& message);

/// Control messages of a send; the bytes are those that msg_control points at.
struct ControlBytes {
  alignas(cmsghdr) std::array<std::byte, kControlBytes> bytes;
  std::size_t used = 0;
};
/// The source address (`from`, unless Family::none) and the size of a train's datagrams (unless 0).
void write_control(ControlBytes& control, const net::IpEndpoint& from, std::uint32_t segment_bytes);

}  // namespace millrace::io
