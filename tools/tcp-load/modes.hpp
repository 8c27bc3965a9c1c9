#pragma once

#include <cstddef>
#include <cstdint>

namespace tcp_load {

/// A connection whose first byte is this one is a bulk flow: the server discards what comes. Everything else it echoes.
constexpr char kBulk = 'B';
constexpr char kEcho = 'e';

/// Serves echoes and bulk flows on one port of 127.0.0.1 until it is killed.
struct EchoOptions {
  std::uint16_t port{};
};
void echo(const EchoOptions& options);

/// One message at a time on one connection through the proxy, in turns with one that goes directly to the server: what
/// the machine does meanwhile meets both.
struct PingPongOptions {
  std::uint16_t to{};
  std::uint16_t direct{};
  std::size_t bytes = 64;
  double seconds = 1;
  double slice_seconds = 0.05;
};
void pingpong(const PingPongOptions& options);

/// Opens connections, has one message echoed on each, says so on stdout, and holds them until stdin ends.
struct IdleOptions {
  std::uint16_t to{};
  std::size_t count = 1000;
  std::size_t bytes = 1024;
  /// For a caller that forgets to close stdin.
  double seconds_max = 60;
};
void idle(const IdleOptions& options);

/// Many connections that ask at a fixed pace, beside one bulk flow that is as fast as it can be.
struct FairOptions {
  std::uint16_t to{};
  std::size_t connections = 200;
  std::size_t bytes = 64;
  double period_seconds = 0.02;
  double seconds = 1;
};
void fair(const FairOptions& options);

}  // namespace tcp_load
