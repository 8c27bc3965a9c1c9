#pragma once

#include <cstddef>
#include <cstdint>

namespace udp_load {

/// Answers every datagram with itself, the bit set that makes an answer of a DNS query; until it is killed.
struct AnswerOptions {
  std::uint16_t port{};
  /// 127.0.0.1 and up, one socket each.
  unsigned addresses = 1;
};
void answer(const AnswerOptions& options);

/// Sends trains (UDP_SEGMENT) to one port, receives on another one (UDP_GRO), and checks and counts what arrives.
struct TrainsOptions {
  std::uint16_t to{};
  std::uint16_t listen{};
  /// Datagrams of a train; 1 sends them one by one.
  unsigned segments = 32;
  unsigned bytes = 1200;
  /// Datagrams a second; 0 for as many as possible.
  double rate = 0;
  double seconds = 1;
};
void trains(const TrainsOptions& options);

/// Opens sessions: one datagram from each of many addresses and ports of 127.0.0.0/8, sent again until it is answered.
struct SessionsOptions {
  std::uint16_t to{};
  std::size_t count = 1000;
};
void sessions(const SessionsOptions& options);

}  // namespace udp_load
