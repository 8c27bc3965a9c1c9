#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "latencies.hpp"
#include "modes.hpp"
#include "sockets.hpp"

namespace tcp_load {
namespace {

constexpr std::size_t kBulkBytes = 128 * 1024;

/// One flow that is never without something to send.
class Bulk {
 public:
  explicit Bulk(std::uint16_t port) : socket_(open_connected(port)), data_(kBulkBytes, kBulk) {
    if (socket_ < 0) fail("connect");
    thread_ = std::thread([this] { run(); });
  }

  /// The server has to have seen the end; the socket's buffer then counts as sent, which is a ten-thousandth of it.
  void stop() {
    stopping_ = true;
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    ::close(socket_);
  }

  std::size_t bytes() const { return bytes_; }
  bool broken() const { return broken_; }

 private:
  void run() {
    while (!stopping_) {
      const ssize_t sent = ::send(socket_, data_.data(), data_.size(), MSG_NOSIGNAL);
      if (sent > 0) {
        bytes_ += static_cast<std::size_t>(sent);
      } else if (errno != EINTR) {
        broken_ = !stopping_;
        return;
      }
    }
  }

  int socket_;
  std::vector<char> data_;
  std::atomic<std::size_t> bytes_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> broken_{false};
  std::thread thread_;
};

/// A connection asks when its time has come and the last answer is there. The latency counts from that time on, so that
/// a stall costs every request that it delays.
class Small {
 public:
  Small(std::uint16_t port, std::size_t bytes) : socket_(open_connected(port)), bytes_(bytes) {
    if (socket_ < 0) fail("connect");
  }

  int socket() const { return socket_; }
  bool is_waiting() const { return missing_ > 0; }
  bool is_broken() const { return broken_; }
  Clock::time_point due() const { return due_; }
  void begin_at(Clock::time_point due) { due_ = due; }

  void ask(std::span<const char> message) {
    missing_ = bytes_;
    if (!send_all(socket_, message)) broken_ = true;
  }

  void receive(std::span<char> buffer, Clock::duration period, Latencies& latencies) {
    const ssize_t received = ::recv(socket_, buffer.data(), std::min(missing_, buffer.size()), MSG_DONTWAIT);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) {
      broken_ = true;
      return;
    }
    missing_ -= static_cast<std::size_t>(received);
    if (missing_ > 0) return;
    latencies.add(Clock::now() - due_);
    due_ += period;
  }

 private:
  int socket_;
  std::size_t bytes_;
  std::size_t missing_ = 0;
  bool broken_ = false;
  Clock::time_point due_;
};

class Crowd {
 public:
  explicit Crowd(const FairOptions& options)
      : period_(nanoseconds_of(options.period_seconds)), message_(options.bytes, kEcho), buffer_(options.bytes) {
    for (std::size_t i = 0; i < options.connections; ++i) {
      small_.emplace_back(options.to, options.bytes);
      polled_.push_back({.fd = small_.back().socket(), .events = POLLIN, .revents = 0});
    }
  }

  void run(Clock::duration length) {
    // Their times are spread evenly over the period.
    const auto begin = Clock::now();
    for (std::size_t i = 0; i < small_.size(); ++i) {
      small_[i].begin_at(begin + period_ * static_cast<std::int64_t>(i) / static_cast<std::int64_t>(small_.size()));
    }
    for (auto now = begin; now - begin < length; now = Clock::now()) {
      ask_where_due(now);
      wait();
    }
  }

  /// What was due and has no answer counts with the time that it has waited so far.
  std::size_t finish() {
    std::size_t broken = 0;
    for (Small& small : small_) {
      if (small.is_broken()) {
        ++broken;
      } else if (small.is_waiting()) {
        latencies_.add(Clock::now() - small.due());
      }
      ::close(small.socket());
    }
    return broken;
  }

  Latencies& latencies() { return latencies_; }

 private:
  void ask_where_due(Clock::time_point now) {
    next_due_ = now + period_;
    for (Small& small : small_) {
      if (small.is_waiting() || small.is_broken()) continue;
      if (small.due() <= now) {
        small.ask(message_);
      } else {
        next_due_ = std::min(next_due_, small.due());
      }
    }
  }

  void wait() {
    const auto left = std::max(Clock::duration{0}, next_due_ - Clock::now());
    const timespec timeout{.tv_sec = 0, .tv_nsec = std::min<long>(left.count(), 999'999'999)};
    if (::ppoll(polled_.data(), polled_.size(), &timeout, nullptr) <= 0) return;
    for (std::size_t i = 0; i < small_.size(); ++i) {
      if (polled_[i].revents == 0) continue;
      small_[i].receive(buffer_, period_, latencies_);
      if (small_[i].is_broken()) polled_[i].fd = -1;
    }
  }

  Clock::duration period_;
  std::vector<char> message_;
  std::vector<char> buffer_;
  std::vector<Small> small_;
  std::vector<pollfd> polled_;
  Clock::time_point next_due_;
  Latencies latencies_;
};

}  // namespace

void fair(const FairOptions& options) {
  // By default the kernel may add 50 µs to each timer.
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  Crowd crowd(options);
  Bulk bulk(options.to);
  const auto begin = Clock::now();
  crowd.run(nanoseconds_of(options.seconds));
  const double seconds = seconds_since(begin);
  const std::size_t bytes = bulk.bytes();
  const std::size_t broken = crowd.finish() + (bulk.broken() ? 1 : 0);
  bulk.stop();
  fmt::print("{{\"bytes\": {}, \"answers\": {}, \"broken\": {}, \"seconds\": {:.6f}, {}}}\n", bytes,
             crowd.latencies().count(), broken, seconds, crowd.latencies().json());
}

}  // namespace tcp_load
