#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tcp_load {

using Clock = std::chrono::steady_clock;

/// A failure of the set-up ends the program: a figure from half of it is worth nothing.
[[noreturn]] void fail(const char* step);

/// On 127.0.0.1, non-blocking.
int open_listener(std::uint16_t port);

/// To 127.0.0.1, blocking, without Nagle's delay; a receive that takes longer than some seconds fails. -1: refused.
int open_connected(std::uint16_t port);

void set_no_delay(int fd);
void set_nonblocking(int fd);

/// The whole of it, in blocking calls; false: the connection is broken or silent.
bool send_all(int fd, std::span<const char> data);
bool receive_all(int fd, std::span<char> data);

/// A reset instead of a farewell: thousands of ports in TIME_WAIT would be in the way of the next candidate.
void close_at_once(int fd);

/// As many descriptors as the hard limit allows.
void raise_descriptor_limit();

inline std::chrono::nanoseconds nanoseconds_of(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::duration<double>(seconds));
}

inline double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

}  // namespace tcp_load
