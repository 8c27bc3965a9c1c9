#pragma once
// Record: what is known of a TCP connection or a UDP session at its end, as a worker notes it: plain data of a fixed
// size. Names are numbers here; the writer knows what they stand for.

#include <cstdint>
#include <string_view>

#include "millrace/base/time.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::accesslog {

/// One of the two TCP connections of a flow.
struct Leg {
  bool known = false;
  std::uint32_t rtt_us = 0;  // 0: not measured
  std::uint32_t retransmits = 0;
};

enum class Path : std::uint8_t { none, copy, splice };

struct Record {
  static constexpr std::uint32_t kNone = 0xffffffffU;
  static constexpr Nanos kUnknown = Nanos(-1);

  // Its id, the text of which is that of worker::ConnectionId. A client that was turned away at once has none.
  bool has_id = false;
  bool udp = false;
  std::uint32_t worker = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;

  std::uint32_t listener = 0;
  std::uint32_t pool = 0;
  std::uint32_t backend = kNone;  // row of the last one tried
  std::uint32_t attempts = 0;
  Path path = Path::none;
  std::string_view close_reason;  // of static storage
  Instant ended{};
  Nanos duration{};
  Nanos connect = kUnknown;     // of the attempt that succeeded
  Nanos first_byte = kUnknown;  // to the client, from the begin on
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  Leg client_leg;
  Leg backend_leg;
  // Family::none: not known.
  net::Endpoint client;
  net::Endpoint local;
  net::Endpoint upstream;
};

}  // namespace millrace::accesslog
