#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <vector>

#include "modes.hpp"
#include "sockets.hpp"

namespace tcp_load {
namespace {

/// Connections that wait for their echo at the same time.
constexpr std::size_t kBatch = 64;

class Connections {
 public:
  explicit Connections(const IdleOptions& options) : options_(options), message_(options.bytes, kEcho) {}

  void open_all() {
    while (asked_ < options_.count) open_batch();
  }

  void close_all() {
    for (const int fd : open_) close_at_once(fd);
  }

  std::size_t opened() const { return open_.size(); }

 private:
  void open_batch() {
    std::vector<int> batch;
    for (; batch.size() < kBatch && asked_ < options_.count; ++asked_) {
      const int fd = open_connected(options_.to);
      if (fd < 0) continue;
      if (send_all(fd, message_)) {
        batch.push_back(fd);
      } else {
        close_at_once(fd);
      }
    }
    std::vector<char> answer(options_.bytes);
    for (const int fd : batch) {
      if (receive_all(fd, answer)) {
        open_.push_back(fd);
      } else {
        // One receive that times out takes seconds; a proxy that serves no more is found by the first of them.
        close_at_once(fd);
        asked_ = options_.count;
      }
    }
  }

  IdleOptions options_;
  std::vector<char> message_;
  std::vector<int> open_;
  std::size_t asked_ = 0;
};

void wait_for_end_of_stdin(double seconds_max) {
  pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
  (void)::poll(&input, 1, static_cast<int>(seconds_max * 1000));
}

}  // namespace

void idle(const IdleOptions& options) {
  raise_descriptor_limit();
  Connections connections(options);
  const auto begin = Clock::now();
  connections.open_all();
  fmt::print("{{\"asked\": {}, \"opened\": {}, \"seconds\": {:.6f}}}\n", options.count, connections.opened(),
             seconds_since(begin));
  std::fflush(stdout);
  wait_for_end_of_stdin(options.seconds_max);
  connections.close_all();
}

}  // namespace tcp_load
