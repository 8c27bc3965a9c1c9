#pragma once
// DatagramPlan: the part of a run's plan that has to do with datagrams.

#include <cstdint>
#include <string>
#include <vector>

#include "datagram_network.hpp"
#include "datagram_sessions.hpp"
#include "datagram_world.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::sim {

struct DatagramPlan {
  struct Listener {
    std::uint32_t index = 0;  // in the configuration
    net::IpEndpoint bind;
    std::vector<net::IpEndpoint> addresses;  // that clients may use
  };
  std::vector<Listener> listeners;
  std::vector<DatagramBackendPlan> backends;
  DatagramTraffic traffic;
  DatagramNetwork::Options network;
  bool calm = false;    // nothing goes wrong
  bool deaths = false;  // but that backends die, and say so
  bool probed = false;  // what backends die of becomes known as their health
  std::uint32_t buffers = 1;
  std::uint32_t sessions = 4096;          // of one worker
  std::uint32_t upstream_sockets = 1024;  // likewise

  /// Every session ends by itself.
  [[nodiscard]] bool sessions_end(const config::Config& config) const;
  [[nodiscard]] std::vector<std::vector<net::IpEndpoint>> addresses() const;
  [[nodiscard]] std::string describe() const;
  [[nodiscard]] DatagramRules rules(const pool::Snapshot& snapshot) const;
};

struct Plan;
/// Whether a run has datagrams is decided here; some have nothing else. Uses dice of its own: a run without is as it
/// would be if there were none.
void draw_datagrams(Plan& plan, std::uint64_t seed);

}  // namespace millrace::sim
