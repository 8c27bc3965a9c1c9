#pragma once
// What systemd is told (sd_notify) and asks for (its watchdog). Without it, all of this does nothing.

#include <cstdint>
#include <string>

#include "millrace/base/time.hpp"

namespace millrace::app {

/// What STATUS= says.
struct LiveCounts {
  std::uint64_t workers = 0;
  std::uint64_t backends = 0;
  std::uint64_t backends_up = 0;
  std::uint64_t connections = 0;
  std::uint64_t sessions = 0;
  std::uint64_t accepted = 0;
  bool stopping = false;
};

/// One line for people: "2 workers, 3 of 4 backends up, 17 connections, 1,204 accepted".
[[nodiscard]] std::string status_line(const LiveCounts& counts);

class ServiceManager {
 public:
  /// Reads the environment.
  ServiceManager();

  /// Whether anybody listens.
  [[nodiscard]] bool present() const { return !address_.empty(); }
  /// Within which it wants to hear ping(); 0: it does not.
  [[nodiscard]] Nanos watchdog_interval() const { return watchdog_interval_; }

  void ready(const LiveCounts& counts);
  /// ready() follows.
  void reloading();
  void status(const LiveCounts& counts);
  /// It shall wait at least `patience` before it kills.
  void stopping(const LiveCounts& counts, Nanos patience);
  void ping();
  /// It cannot start; for `systemctl status`.
  void failed(const std::string& why);

 private:
  void send(const std::string& message);

  std::string address_;  // empty: nobody listens
  Nanos watchdog_interval_{0};
  bool failed_ = false;  // has been logged
  std::string last_status_;
};

}  // namespace millrace::app
