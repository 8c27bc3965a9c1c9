#include <fmt/format.h>
#include <unistd.h>

#include <vector>

#include "latencies.hpp"
#include "modes.hpp"
#include "sockets.hpp"

namespace tcp_load {
namespace {

/// At the begin of a slice caches are cold with what the other path did.
constexpr unsigned kNotCounted = 20;

class Path {
 public:
  Path(std::uint16_t port, std::size_t bytes) : socket_(open_connected(port)), message_(bytes, kEcho), answer_(bytes) {
    if (socket_ < 0) fail("connect");
  }

  void run_slice(std::chrono::nanoseconds length) {
    const auto begin = Clock::now();
    auto now = begin;
    for (unsigned i = 0; now - begin < length || i <= kNotCounted; ++i) {
      const auto asked = Clock::now();
      if (!send_all(socket_, message_) || !receive_all(socket_, answer_)) fail("exchange");
      now = Clock::now();
      ++exchanges_;
      if (i >= kNotCounted) latencies_.add(now - asked);
    }
    active_seconds_ += seconds_since(begin);
  }

  Latencies& latencies() { return latencies_; }
  std::size_t exchanges() const { return exchanges_; }
  double active_seconds() const { return active_seconds_; }
  void close() const { ::close(socket_); }

 private:
  int socket_;
  std::vector<char> message_;
  std::vector<char> answer_;
  Latencies latencies_;
  std::size_t exchanges_ = 0;
  double active_seconds_ = 0;
};

}  // namespace

void pingpong(const PingPongOptions& options) {
  Path proxied(options.to, options.bytes);
  Path direct(options.direct, options.bytes);
  const auto slice = nanoseconds_of(options.slice_seconds);
  const auto end = Clock::now() + nanoseconds_of(options.seconds);
  while (Clock::now() < end) {
    direct.run_slice(slice);
    proxied.run_slice(slice);
  }
  fmt::print("{{\"exchanges\": {}, \"seconds\": {:.6f}, {}, {}}}\n", proxied.exchanges(), proxied.active_seconds(),
             proxied.latencies().json(), direct.latencies().json("direct_"));
  proxied.close();
  direct.close();
}

}  // namespace tcp_load
