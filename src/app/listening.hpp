#pragma once
// The listening sockets: one for each worker on each address. A reload keeps those whose address is still wanted,
// whichever listener it belongs to then.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/config/config.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/adoption.hpp"
#include "passed_sockets.hpp"

namespace millrace::app {

struct Bound {
  std::string listener;
  config::Protocol protocol = config::Protocol::tcp;
  net::Endpoint wanted;                     // as the file has it: port 0 is any
  net::Endpoint address;                    // with the port that the kernel chose
  bool passed = false;                      // by systemd, whose the socket file is then
  bool dual_stack = false;                  // it is bound to `::` and takes IPv4 as well
  std::vector<std::vector<io::Fd>> fds{};   // by worker
  std::vector<std::vector<io::Fd>> kept{};  // while a reload is prepared: of those, what workers were draining

  friend bool operator==(const Bound&, const Bound&) = default;
};

struct Listening {
  std::vector<Bound> bounds;
};

/// Takes the sockets of `bound` that the workers are draining back from them; returns those that were still there.
using KeepDraining = std::function<std::vector<std::vector<io::Fd>>(const Bound& bound)>;

class ListeningSockets {
 public:
  explicit ListeningSockets(std::uint32_t workers) : workers_(workers) {}

  /// At the start; uses the sockets of `passed` that match. All or nothing; the error names the listener and the
  /// remedy.
  [[nodiscard]] Result<Listening> open(const config::Config& config, PassedSockets& passed);
  /// What `config` needs besides what there is. Nothing has changed before commit(); the error likewise.
  [[nodiscard]] Result<Listening> prepare(const config::Config& config, const KeepDraining& keep_draining);
  /// Closes what prepare() has opened. The workers must then be told once more which sockets they shall have.
  void discard(const Listening& prepared);
  /// From now on `next` is what there is. What it has not is left to the workers, which drain and close it.
  void commit(Listening next, const config::Config& config);

  [[nodiscard]] const Listening& now() const { return now_; }
  /// Those of each worker. `snapshot`: of the same configuration.
  [[nodiscard]] std::vector<std::vector<worker::ListenerSocket>> by_worker(const Listening& listening,
                                                                           const pool::Snapshot& snapshot) const;
  /// By listener of the snapshot, as text.
  [[nodiscard]] static std::vector<std::vector<std::string>> addresses(const Listening& listening,
                                                                       const pool::Snapshot& snapshot);
  void remove_socket_files() const;

 private:
  /// While a reload is prepared.
  struct Preparation {
    const KeepDraining& keep_draining;
    std::vector<bool> taken;  // of now_
    Listening next{};
  };
  [[nodiscard]] std::string provide(const config::Listener& listener, const net::AddressText& bind,
                                    Preparation& preparation);
  [[nodiscard]] const Bound* take_present(const config::Listener& listener, const net::AddressText& bind,
                                          const net::Endpoint& wanted, std::vector<bool>& taken) const;
  [[nodiscard]] std::optional<Bound> take_draining(const config::Listener& listener, const net::Endpoint& wanted,
                                                   const KeepDraining& keep_draining);
  void forget_reused();

  std::uint32_t workers_;
  Listening now_;
  std::vector<Bound> draining_;  // perhaps closed by now
};

/// How many descriptors ListeningSockets will need.
[[nodiscard]] std::uint32_t count_sockets(const config::Config& config, std::uint32_t workers);

}  // namespace millrace::app
