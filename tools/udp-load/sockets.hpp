#pragma once

#include <netinet/in.h>

#include <chrono>
#include <cstdint>

namespace udp_load {

/// Where the buffers of a socket should end up; the kernel gives less where net.core.rmem_max says so.
constexpr int kSocketBufferBytes = 4 * 1024 * 1024;

using Clock = std::chrono::steady_clock;

/// Every failure ends the program: it runs for seconds, and a figure from half of a set-up is worth nothing.
[[noreturn]] void fail(const char* step);

/// 127.0.0.1 is 0x7f000001.
sockaddr_in address(std::uint32_t host, std::uint16_t port);

/// A datagram socket with large buffers.
int open_socket();

int open_bound(const sockaddr_in& local);

int open_connected(const sockaddr_in& remote);

void set_option(int fd, int level, int name, int value, const char* step);

/// Receives give up after this long; returns 0 datagrams then.
void set_receive_timeout(int fd, std::chrono::milliseconds timeout);

}  // namespace udp_load
