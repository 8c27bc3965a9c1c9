#pragma once
// Opens the listening sockets of all listeners for all workers, before any thread starts. Owns them until the workers
// take over; removes unix socket files at the end.

#include <string>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/config/config.hpp"
#include "millrace/worker/worker.hpp"
#include "passed_sockets.hpp"

namespace millrace::app {

struct Bound {
  std::string listener;
  config::Protocol protocol = config::Protocol::tcp;
  net::Endpoint address;  // with the port that the kernel chose
  bool passed = false;    // by systemd, whose the socket file is then
};

struct Listening {
  std::vector<std::vector<worker::ListenerSocket>> sockets;  // by worker
  std::vector<Bound> addresses;
};

/// All or nothing; the error names the listener and the remedy. Takes the sockets of `passed` that match.
[[nodiscard]] Result<Listening> open_listeners(const config::Config& config, std::uint32_t workers,
                                               PassedSockets& passed);
void remove_socket_files(const Listening& listening);

/// How many descriptors open_listeners() will need.
[[nodiscard]] std::uint32_t count_sockets(const config::Config& config, std::uint32_t workers);

}  // namespace millrace::app
