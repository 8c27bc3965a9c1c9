#pragma once
// The sockets that systemd opened for us (socket activation, LISTEN_FDS). A `bind` whose address is that of a passed
// socket uses it instead of opening its own.

#include <vector>

#include "millrace/config/config.hpp"
#include "millrace/io/sockets.hpp"

namespace millrace::app {

class PassedSockets {
 public:
  PassedSockets() = default;  // none
  /// Owns the descriptors from here on; those that are not taken are closed at the end.
  explicit PassedSockets(const std::vector<io::Fd>& fds);
  ~PassedSockets();
  PassedSockets(const PassedSockets&) = delete;
  PassedSockets& operator=(const PassedSockets&) = delete;
  PassedSockets(PassedSockets&& other) noexcept = default;
  PassedSockets& operator=(PassedSockets&& other) = delete;

  struct Match {
    std::vector<io::Fd> fds;  // several when they share the address (SO_REUSEPORT); the taker owns them
    bool dual_stack = false;  // it serves IPv4 as well
  };
  /// Those that are bound to `address`; with `dual_stack_only` only those that take IPv4 as well.
  [[nodiscard]] Match take(config::Protocol protocol, const net::Endpoint& address, bool dual_stack_only = false);

  [[nodiscard]] std::size_t size() const { return sockets_.size(); }
  /// Says of each socket that nobody has taken that it is of no use, and closes it.
  void close_unused();

 private:
  struct Socket {
    io::Fd fd = io::Fd::none;
    io::PassedSocket facts;
  };
  std::vector<Socket> sockets_;
};

/// From the environment, which is cleared of them; none when another process was meant.
[[nodiscard]] PassedSockets receive_passed_sockets();

}  // namespace millrace::app
