#pragma once
// The three things that a service and systemd say to each other, as sd_notify(3), sd_watchdog_enabled(3) and
// sd_listen_fds(3) describe them. Written here because the library has no static archive, and this is all of it that
// is used. From main, before any other thread starts; only notify() may come later.

#include <chrono>
#include <string>

namespace millrace::app::service_protocol {

/// The first of the descriptors that are passed.
constexpr int kFirstPassedFd = 3;

/// NOTIFY_SOCKET: where the service manager listens; empty when there is none, or it is of a kind that is not known.
[[nodiscard]] std::string notify_address();

/// Sends lines of VARIABLE=VALUE to the unix socket at `address`, "/path" or "@name". 0, or errno.
[[nodiscard]] int notify(const std::string& address, const std::string& message);

/// WATCHDOG_USEC, and takes it out of the environment; 0 when there is no watchdog, or it is another process's
/// (WATCHDOG_PID).
[[nodiscard]] std::chrono::microseconds take_watchdog_interval();

/// LISTEN_FDS, and takes it out of the environment: how many descriptors from kFirstPassedFd on are passed to this
/// process (LISTEN_PID). They will not be passed on to a program that this one starts.
[[nodiscard]] int take_passed_fds();

}  // namespace millrace::app::service_protocol
