#pragma once
// World: everything outside the machine that runs millrace: clients that come and go, and backends of different
// manners.

#include <cstdint>
#include <memory>
#include <vector>

#include "context.hpp"
#include "kernel.hpp"
#include "oracle.hpp"
#include "peer.hpp"

namespace millrace::sim {

/// How the connections of a backend behave.
enum class Manner : std::uint8_t {
  echo,
  answers,     // reads a request, then sends a response
  greets,      // speaks first
  sink,        // reads only
  source,      // sends a lot
  quits,       // closes early
  resets,      // resets early
  stalls,      // its kernel accepts, its program does not
  refuses,     // nobody listens
  unanswered,  // the network swallows it
};

struct BackendPlan {
  net::Endpoint address;
  Manner manner = Manner::echo;
};

struct TrafficPlan {
  std::uint32_t clients = 20;
  std::uint32_t bytes_usual = 2000;          // most streams are up to this long
  std::uint32_t bytes_bulk = 0;              // 0: no bulk; otherwise some streams are up to this long
  double graceful = 0.7;                     // part of the clients that keep to the rules
  Nanos arrivals = std::chrono::seconds(2);  // all clients come within
  Nanos pause_max = std::chrono::milliseconds(10);
  QueueSizes queues;         // of the peers' sockets
  QueueSizes server_queues;  // of the proxy's ends towards clients
};

class World final : public Remote {
 public:
  World(Context& context, Kernel& kernel, Oracle& oracle, std::vector<net::Endpoint> listeners,
        std::vector<BackendPlan> backends, const TrafficPlan& plan);

  /// Plans the arrival of all clients.
  void start();
  /// Everybody comes to an end, in order.
  void finish();
  [[nodiscard]] bool over() const;
  /// Who is not done yet.
  [[nodiscard]] std::string describe_unfinished() const;
  void connecting(Socket& socket, const net::Endpoint& remote) override;

 private:
  Peer& add_peer(Role role, const Script& script);
  void knock(Peer& client, const net::Endpoint& listener);
  void answer(Socket& socket, Manner manner);
  [[nodiscard]] Script draw_client();
  [[nodiscard]] Script draw_backend(Manner manner);
  [[nodiscard]] Script draw_pace();
  [[nodiscard]] std::uint64_t draw_bytes();
  void make_quit(Script& script);

  Context& context_;
  Kernel& kernel_;
  Oracle& oracle_;
  std::vector<net::Endpoint> listeners_;
  std::vector<BackendPlan> backends_;
  TrafficPlan plan_;
  std::vector<std::unique_ptr<Peer>> peers_;
  bool finishing_ = false;
};

}  // namespace millrace::sim
