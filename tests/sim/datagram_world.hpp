#pragma once
// DatagramWorld: the clients and backends that talk by datagrams, outside of the machine that runs millrace.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "context.hpp"
#include "datagram_network.hpp"
#include "datagram_oracle.hpp"
#include "datagram_peer.hpp"

namespace millrace::sim {

struct DatagramTraffic {
  std::uint32_t clients = 20;
  std::uint32_t flood = 0;  // more of them, that send one datagram each, all at about one time
  std::uint32_t rounds_max = 8;
  std::uint32_t burst_max = 1;
  std::uint32_t bytes_usual = 200;
  std::uint32_t bytes_most = 200;  // of one in eight clients
  double short_ones = 0.1;         // part of the clients that send short and empty ones
  Nanos arrivals = std::chrono::seconds(2);
  Nanos pause_max = std::chrono::milliseconds(10);
  Nanos long_pause{};  // of some clients
  std::vector<DatagramPath> paths = {{}};
  bool patient = false;     // everybody waits for replies
  Nanos mtu_drops_after{};  // then every path takes less; 0: never
};

class DatagramWorld final : public DatagramRemote {
 public:
  /// `addresses`: those that clients may send to, of each listener.
  DatagramWorld(Context& context, DatagramNetwork& network, DatagramOracle& oracle,
                std::vector<std::vector<net::IpEndpoint>> addresses, const std::vector<DatagramBackendPlan>& backends,
                const DatagramTraffic& traffic);

  void start();
  /// Nobody says anything new, and every backend answers.
  void finish();
  [[nodiscard]] bool over() const;
  [[nodiscard]] std::string describe_unfinished() const;

  void arrives(const Datagram& datagram) override;
  [[nodiscard]] DatagramPath path_to(const net::IpEndpoint& address) const override;

  /// A backend has died, or come back.
  std::function<void(const net::IpEndpoint& backend, bool alive)> backend_changed;

 private:
  struct AddressHash {
    std::size_t operator()(const net::IpEndpoint& address) const { return address.hash(0); }
  };
  template <class T>
  using ByAddress = std::unordered_map<net::IpEndpoint, std::unique_ptr<T>, AddressHash>;

  void add_client(const DatagramScript& script, Nanos when);
  [[nodiscard]] DatagramScript draw_script();
  [[nodiscard]] std::vector<net::IpEndpoint> draw_addresses();
  [[nodiscard]] net::IpEndpoint draw_client_address(net::Family family);

  Context& context_;
  DatagramNetwork& network_;
  DatagramOracle& oracle_;
  std::vector<std::vector<net::IpEndpoint>> addresses_;
  DatagramTraffic traffic_;
  Instant mtu_drops_at_ = kNever;
  ByAddress<DatagramClient> clients_;
  std::vector<DatagramClient*> in_order_;
  ByAddress<DatagramBackend> backends_;
  std::vector<DatagramBackend*> backends_in_order_;
};

}  // namespace millrace::sim
