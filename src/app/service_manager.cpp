#include "service_manager.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <system_error>

#include "grouped.hpp"
#include "millrace/base/log.hpp"
#include "service_protocol.hpp"

namespace millrace::app {

std::string status_line(const LiveCounts& counts) {
  std::string line = counts.stopping ? "stopping: " : "";
  line += fmt::format("{} workers, {} of {} backends up, {} connections", counts.workers, counts.backends_up,
                      counts.backends, grouped(counts.connections));
  if (counts.sessions != 0) line += fmt::format(", {} UDP sessions", grouped(counts.sessions));
  return line + fmt::format(", {} accepted", grouped(counts.accepted));
}

ServiceManager::ServiceManager()
    : address_(service_protocol::notify_address()), watchdog_interval_(service_protocol::take_watchdog_interval()) {}

void ServiceManager::ready(const LiveCounts& counts) {
  last_status_ = status_line(counts);
  send("READY=1\nSTATUS=" + last_status_);
}

void ServiceManager::reloading() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const std::int64_t microseconds = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds));
}

void ServiceManager::status(const LiveCounts& counts) {
  std::string line = status_line(counts);
  if (line == last_status_) return;
  last_status_ = std::move(line);
  send("STATUS=" + last_status_);
}

void ServiceManager::stopping(const LiveCounts& counts, Nanos patience) {
  last_status_ = status_line(counts);
  constexpr Nanos kToWindUp = std::chrono::seconds(10);
  constexpr Nanos kLongest = std::chrono::hours(24 * 365);
  const auto enough = std::chrono::duration_cast<std::chrono::microseconds>(std::min(patience, kLongest) + kToWindUp);
  send(fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}\nSTATUS={}", enough.count(), last_status_));
}

void ServiceManager::ping() {
  send("WATCHDOG=1");
}

void ServiceManager::failed(const std::string& why) {
  std::string line = why;
  std::replace(line.begin(), line.end(), '\n', ' ');  // a line end would begin another variable
  send("STATUS=cannot start: " + line);
}

void ServiceManager::send(const std::string& message) {
  if (!present()) return;
  if (const int error = service_protocol::notify(address_, message); error != 0) {
    if (!failed_) log::warn("notify_failed", {{"error", std::generic_category().message(error)}});
    failed_ = true;
  }
}

}  // namespace millrace::app
