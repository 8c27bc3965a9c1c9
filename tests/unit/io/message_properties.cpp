#include "message_properties.hpp"

#include <netinet/in.h>

#include <array>
#include <cstring>

#include "io/datagram_message.hpp"
#include "millrace/base/assert.hpp"

namespace millrace::io {
namespace {

using net::Family;
using net::IpEndpoint;

bool is_mapped(const IpEndpoint& endpoint) {
  in6_addr address{};
  std::memcpy(&address, endpoint.address().data(), sizeof address);
  return endpoint.family() == Family::ipv6 && IN6_IS_ADDR_V4MAPPED(&address);
}

void check_endpoint(const IpEndpoint& endpoint) {
  MILLRACE_ASSERT(endpoint.family() != Family::unix_path, "an address of the internet, or none");
  MILLRACE_ASSERT(!is_mapped(endpoint), "mapped addresses become IPv4");
  if (endpoint.family() == Family::none) MILLRACE_ASSERT(endpoint == IpEndpoint(), "none is all zeros");
}

void check_received(std::span<const std::byte> bytes) {
  const ReceivedDatagrams message = read_message(bytes);
  check_endpoint(message.from);
  check_endpoint(message.to);
  MILLRACE_ASSERT(message.to.port() == 0, "control messages tell no port");
  const std::size_t size = message.payload.size();
  if (size > 0) {
    MILLRACE_ASSERT(message.payload.data() == bytes.data() + kPayloadOffset, "the payload is where the kernel put it");
    MILLRACE_ASSERT(size <= bytes.size() - kPayloadOffset, "the payload lies within the buffer");
  }
  MILLRACE_ASSERT(message.segment_bytes == 0 || message.segment_bytes < size, "a train has two datagrams or more");
  MILLRACE_ASSERT(message.datagrams() >= 1, "also an empty datagram is one");
  MILLRACE_ASSERT(message.datagrams() <= size + 1, "no more datagrams than bytes");
}

void check_control(std::span<const std::byte> bytes) {
  ReceivedDatagrams message;
  read_control(bytes, message);
  check_endpoint(message.to);
  MILLRACE_ASSERT(message.from == IpEndpoint() && message.payload.empty(), "control messages tell neither");
}

/// What the bytes say as arguments of a send, zeros for those that are missing.
struct Arguments {
  std::array<std::uint8_t, 16> address{};
  std::uint32_t scope = 0;
  std::uint16_t segment_bytes = 0;
  std::uint8_t family = 0;
};

void check_send(std::span<const std::byte> bytes) {
  Arguments arguments;
  if (bytes.size() >= sizeof arguments) std::memcpy(&arguments, bytes.data(), sizeof arguments);
  IpEndpoint from;
  if (arguments.family % 3 == 1) from = IpEndpoint::ipv4(arguments.scope, 1);
  if (arguments.family % 3 == 2) from = IpEndpoint::ipv6(arguments.address, 1, arguments.scope);
  ControlBytes control;
  write_control(control, from, arguments.segment_bytes);
  MILLRACE_ASSERT(control.used <= control.bytes.size(), "it has room for every control message");
  ReceivedDatagrams read;
  read_control(std::span(control.bytes).first(control.used), read);
  MILLRACE_ASSERT(read.to.family() == from.family(), "what is written can be read");
  MILLRACE_ASSERT(read.to.address() == from.address(), "what is written reads back as the same");
}

}  // namespace

void check_message_properties(std::span<const std::byte> bytes) {
  check_received(bytes);
  check_control(bytes);
  check_send(bytes);
}

}  // namespace millrace::io
