#include "datagram_world.hpp"

#include <algorithm>

namespace millrace::sim {

DatagramWorld::DatagramWorld(Context& context, DatagramNetwork& network, DatagramOracle& oracle,
                             std::vector<std::vector<net::IpEndpoint>> addresses,
                             const std::vector<DatagramBackendPlan>& backends, const DatagramTraffic& traffic)
    : context_(context), network_(network), oracle_(oracle), addresses_(std::move(addresses)), traffic_(traffic) {
  network_.remote = this;
  for (const DatagramBackendPlan& plan : backends) {
    auto backend = std::make_unique<DatagramBackend>(context, network, oracle, plan);
    backend->changed = [this, address = plan.address](bool alive) {
      if (backend_changed) backend_changed(address, alive);
    };
    backends_in_order_.push_back(backend.get());
    backends_[plan.address] = std::move(backend);
  }
}

void DatagramWorld::start() {
  if (addresses_.empty()) return;
  if (traffic_.mtu_drops_after > Nanos(0)) mtu_drops_at_ = context_.clock.now() + traffic_.mtu_drops_after;
  for (DatagramBackend* backend : backends_in_order_) backend->start();
  for (std::uint32_t i = 0; i < traffic_.clients; ++i) add_client(draw_script(), context_.up_to(traffic_.arrivals));
  const Nanos flood_at = context_.up_to(traffic_.arrivals);
  for (std::uint32_t i = 0; i < traffic_.flood; ++i) {
    DatagramScript script{.to = draw_addresses(), .bytes = 40};
    script.to.resize(1);
    add_client(script, flood_at + context_.up_to(std::chrono::milliseconds(50)));
  }
}

void DatagramWorld::add_client(const DatagramScript& script, Nanos when) {
  const net::IpEndpoint address = draw_client_address(script.to.front().family());
  auto client = std::make_unique<DatagramClient>(context_, network_, oracle_, address, script);
  context_.clock.after(when, [speaker = client.get()] { speaker->start(); });
  in_order_.push_back(client.get());
  clients_[address] = std::move(client);
}

void DatagramWorld::finish() {
  for (DatagramClient* client : in_order_) client->finish();
  for (DatagramBackend* backend : backends_in_order_) backend->finish();
}

bool DatagramWorld::over() const {
  return std::all_of(in_order_.begin(), in_order_.end(), [](const DatagramClient* client) { return client->done(); });
}

std::string DatagramWorld::describe_unfinished() const {
  std::string text;
  for (const DatagramClient* client : in_order_) {
    if (!client->done()) text += client->describe() + "\n";
  }
  return text;
}

void DatagramWorld::arrives(const Datagram& datagram) {
  if (const auto backend = backends_.find(datagram.to); backend != backends_.end()) {
    backend->second->arrives(datagram);
  } else if (const auto client = clients_.find(datagram.to); client != clients_.end()) {
    for_each_datagram(datagram, [&](const Datagram& one) { client->second->arrives(one); });
  } else {
    context_.trace.fail("sent to nobody", datagram.to.to_string());
  }
}

DatagramPath DatagramWorld::path_to(const net::IpEndpoint& address) const {
  DatagramPath path = traffic_.paths[address.hash(3) % traffic_.paths.size()];
  if (context_.clock.now() >= mtu_drops_at_) path.mtu = std::min(path.mtu, 600U);
  return path;
}

// ---- clients ----

net::IpEndpoint DatagramWorld::draw_client_address(net::Family family) {
  const auto number = static_cast<std::uint32_t>(in_order_.size());
  const auto port = static_cast<std::uint16_t>(1024 + number);
  const auto host = static_cast<std::uint8_t>(context_.random.below(8));  // several behind one address
  if (family == net::Family::ipv4) return net::IpEndpoint::ipv4(0x0a010000U + host, port);
  return net::IpEndpoint::ipv6({0xfd, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host}, port);
}

/// Addresses of one listener: one, or two in turn.
std::vector<net::IpEndpoint> DatagramWorld::draw_addresses() {
  const std::vector<net::IpEndpoint>& all = addresses_[context_.random.below(addresses_.size())];
  const std::size_t first = context_.random.below(all.size());
  if (all.size() == 1 || !context_.random.one_in(3)) return {all[first]};
  return {all[first], all[(first + 1) % all.size()]};
}

DatagramScript DatagramWorld::draw_script() {
  DatagramScript script{.to = draw_addresses()};
  const bool large = context_.random.one_in(8);
  script.bytes = static_cast<std::uint32_t>(context_.between(32, large ? traffic_.bytes_most : traffic_.bytes_usual));
  script.rounds = static_cast<std::uint32_t>(context_.between(1, traffic_.rounds_max));
  if (!large || script.bytes < 2000) script.burst = static_cast<std::uint32_t>(context_.between(1, traffic_.burst_max));
  script.pause_max = traffic_.pause_max;
  script.waits = traffic_.patient || context_.random.one_in(2);
  if (context_.random.one_in(3)) script.lengths = Lengths::last_shorter;
  if (context_.random.one_in(4)) script.lengths = Lengths::any;
  if (context_.random.one_in(4)) script.long_pause = traffic_.long_pause;
  if (context_.chance(traffic_.short_ones)) {
    script.bytes = context_.random.one_in(2) ? 0 : static_cast<std::uint32_t>(context_.between(1, Note::kWhole - 1));
  }
  return script;
}

}  // namespace millrace::sim
