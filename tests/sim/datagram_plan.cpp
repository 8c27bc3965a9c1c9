#include "datagram_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "plan.hpp"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class Draw {
 public:
  Draw(Plan& plan, std::uint64_t seed) : plan_(plan), here_(plan.datagrams), random_(mix64(seed ^ 0x64677261U)) {}

  void plan();

 private:
  std::uint32_t between(std::uint64_t low, std::uint64_t high) {
    return static_cast<std::uint32_t>(low + random_.below(high - low + 1));
  }
  Nanos millis(std::uint64_t low, std::uint64_t high) { return milliseconds(between(low, high)); }
  bool one_in(std::uint64_t n) { return random_.one_in(n); }

  void nothing_else();
  void machine();
  void network();
  void pool(std::size_t index);
  config::Backend backend(std::size_t pool_index, std::size_t index, std::uint32_t replies);
  DatagramManner manner(std::size_t index);
  void listener(std::size_t index);
  std::uint32_t responses(const config::Pool& pool);
  void traffic();
  DatagramPath path();

  Plan& plan_;
  DatagramPlan& here_;
  Rng random_;
  std::size_t first_pool_ = 0;
  bool v6_clients_ = false;
  Nanos idle_max_{};
};

void Draw::plan() {
  const std::uint64_t mix = random_.below(3);
  if (mix == 0) return;
  if (mix == 2) nothing_else();
  here_.calm = plan_.calm && one_in(2);
  here_.deaths = plan_.calm && !here_.calm;
  here_.probed = one_in(2);
  if (!plan_.calm) plan_.faults.draw_datagrams(random_);
  machine();
  network();
  first_pool_ = plan_.config.pools.size();
  const std::size_t pools = between(1, 2);
  for (std::size_t i = 0; i < pools; ++i) pool(i);
  const std::size_t listeners = between(1, 2);
  for (std::size_t i = 0; i < listeners; ++i) listener(i);
  traffic();
}

/// No connections. Calm runs are those in which the most is demanded of datagrams: more of them.
void Draw::nothing_else() {
  plan_.listeners.clear();
  plan_.config.listeners.clear();
  plan_.traffic.clients = 0;
  plan_.calm = one_in(3);
  plan_.faults = plan_.calm ? Faults::none() : Faults::draw(random_);
  plan_.health_flaps = plan_.health_flaps && !plan_.calm;
}

void Draw::machine() {
  const bool scarce = !plan_.calm;
  here_.buffers = scarce && one_in(3) ? between(1, 6) : 256;
  here_.sessions = scarce && one_in(4) ? between(1, 16) : 4096;
  here_.upstream_sockets = scarce && one_in(3) ? between(1, 6) : 1024;
}

void Draw::network() {
  DatagramNetwork::Options& network = here_.network;
  for (std::uint32_t i = 1; i <= 3; ++i) {
    network.addresses.push_back(net::IpEndpoint::ipv4(0x0a000000U + i, 0));
    const auto last = static_cast<std::uint8_t>(i);
    network.addresses.push_back(net::IpEndpoint::ipv6({0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last}, 0));
  }
  network.merges = one_in(3) ? 1 : one_in(2) ? 0 : random_.unit();
  network.receive_room = 4'000'000;
  network.errors_max = 1000;
  if (plan_.calm) return;
  if (one_in(3)) network.receive_room = between(1000, 100'000);
  if (one_in(3)) network.errors_max = between(0, 4);
  if (one_in(3)) network.ports = static_cast<std::uint16_t>(between(4, 100));
}

DatagramManner Draw::manner(std::size_t index) {
  if (here_.deaths) return index == 0 ? DatagramManner::mortal : DatagramManner::answers;
  constexpr std::array kOthers = {DatagramManner::silent, DatagramManner::late, DatagramManner::strange,
                                  DatagramManner::refuses, DatagramManner::mortal};
  return plan_.calm || one_in(2) ? DatagramManner::answers : kOthers[random_.below(kOthers.size())];
}

config::Backend Draw::backend(std::size_t pool_index, std::size_t index, std::uint32_t replies) {
  const auto host = static_cast<std::uint32_t>(pool_index * 256 + index);
  const net::IpEndpoint address =
      one_in(4) ? net::IpEndpoint::ipv6({0xfd, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                         static_cast<std::uint8_t>(host >> 8U), static_cast<std::uint8_t>(host)},
                                        53)
                : net::IpEndpoint::ipv4(0x0a030000 + host, 53);
  config::Backend backend;
  backend.address = address.to_endpoint();
  backend.name = fmt::format("u{}b{}", pool_index, index);
  backend.weight = plan_.calm ? between(1, 3) : between(0, 4);
  backend.backup = index > 0 && one_in(5);
  backend.max_connections = !plan_.calm && one_in(5) ? between(1, 4) : 0;
  constexpr std::array<std::size_t, 5> kQuotes = {0, 8, 28, 64, 520};
  constexpr std::array kErrors = {ECONNREFUSED, ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ENOPROTOOPT};
  here_.backends.push_back({.address = address,
                            .manner = manner(index),
                            .replies = replies,
                            .reply_bytes = one_in(3) ? between(Note::kWhole, one_in(4) ? 20'000 : 1400) : 0,
                            .delay_max = millis(0, one_in(2) ? 2 : 30),
                            .quote_max = plan_.calm || one_in(2) ? 520 : kQuotes[random_.below(kQuotes.size())],
                            .error = here_.deaths ? ECONNREFUSED : kErrors[random_.below(kErrors.size())]});
  return backend;
}

void Draw::pool(std::size_t index) {
  config::Pool pool;
  pool.name = fmt::format("udp{}", index);
  pool.balance = balance::kAlgorithms[random_.below(balance::kAlgorithms.size())];
  pool.retries = plan_.calm ? 3 : between(0, 4);
  pool.fail_open = !one_in(3);
  pool.passive.failures = between(0, 3);
  if (one_in(4)) pool.hash.load_factor = 1.25;
  if (one_in(2)) pool.hash.key = config::HashKey::source_ip_port;
  if (one_in(4)) pool.source = {net::Endpoint::ipv4(0x0a000002, 0), net::Endpoint::ipv4(0x0a000003, 0)};
  // In calm runs all backends of a pool answer alike, so that the listener's `responses` hold.
  const std::uint32_t replies = one_in(4) ? between(0, 3) : 1;
  const std::size_t backends = between(here_.deaths ? 2 : 1, 5);
  for (std::size_t i = 0; i < backends; ++i) {
    pool.backends.push_back(backend(index, i, plan_.calm ? replies : one_in(4) ? between(0, 4) : replies));
  }
  plan_.config.pools.push_back(pool);
}

std::uint32_t Draw::responses(const config::Pool& pool) {
  if (one_in(2)) return 0;
  if (!plan_.calm) return between(1, 3);
  const net::IpEndpoint first = net::IpEndpoint::from(pool.backends.front().address);
  const auto found = std::find_if(here_.backends.begin(), here_.backends.end(),
                                  [&](const DatagramBackendPlan& backend) { return backend.address == first; });
  return found->replies;
}

void Draw::listener(std::size_t index) {
  const config::Pool& pool = plan_.config.pools[first_pool_ + random_.below(plan_.config.pools.size() - first_pool_)];
  config::Listener listener;
  listener.name = fmt::format("udp{}", index);
  listener.protocol = config::Protocol::udp;
  listener.pool = pool.name;
  listener.responses = responses(pool);
  listener.idle_timeout = plan_.calm ? millis(5000, 60'000) : one_in(2) ? millis(30, 1000) : millis(1000, 60'000);
  listener.max_sessions = plan_.calm ? 100'000 : one_in(3) ? between(1, 8) : one_in(2) ? between(10, 40) : 2000;
  if (!plan_.calm) {
    if (one_in(12)) listener.idle_timeout = Nanos(0);
    if (one_in(6)) listener.max_connection_duration = millis(50, 3000);
  }
  idle_max_ = std::max(idle_max_, listener.idle_timeout);
  const net::Family family = one_in(4) ? net::Family::ipv6 : net::Family::ipv4;
  const auto port = static_cast<std::uint16_t>(53 + index);
  DatagramPlan::Listener here{
      .index = static_cast<std::uint32_t>(plan_.config.listeners.size()),
      .bind = family == net::Family::ipv4 ? net::IpEndpoint::ipv4(0, port) : net::IpEndpoint::ipv6({}, port),
      .addresses = {}};
  for (net::IpEndpoint address : here_.network.addresses) {
    address.set_port(port);
    if (address.family() == family) here.addresses.push_back(address);
  }
  if (one_in(2)) {
    here.bind = here.addresses[random_.below(here.addresses.size())];
    here.addresses = {here.bind};
  }
  here_.listeners.push_back(here);
  plan_.config.listeners.push_back(listener);
}

DatagramPath Draw::path() {
  DatagramPath path;
  path.mtu = one_in(3) ? between(600, 9000) : 1500;
  path.takes_trains = !one_in(6);
  path.keeps_trains = one_in(3);
  if (!plan_.calm && one_in(6)) path.datagram_bytes_max = between(400, 2000);
  return path;
}

void Draw::traffic() {
  DatagramTraffic& traffic = here_.traffic;
  traffic.clients = between(1, 24);
  if (one_in(4)) traffic.flood = between(10, 150);
  traffic.rounds_max = between(1, 12);
  if (one_in(2)) traffic.burst_max = one_in(3) ? between(2, 80) : between(2, 8);
  traffic.bytes_usual = between(32, one_in(2) ? 200 : 1400);
  traffic.bytes_most = one_in(4) ? between(2000, 60'000) : traffic.bytes_usual;
  traffic.short_ones = one_in(2) ? 0.1 : 0;
  traffic.arrivals = millis(1, 2000);
  traffic.pause_max = millis(0, one_in(3) ? 1000 : 50);
  if (one_in(2)) traffic.long_pause = std::min<Nanos>(idle_max_ * between(5, 20) / 10, seconds(4));
  traffic.paths = {path(), path(), path()};
  if (one_in(5)) traffic.mtu_drops_after = millis(1, 2000);
  if (!here_.deaths) return;
  for (DatagramPath& each : traffic.paths) each.keeps_trains = traffic.paths.front().keeps_trains;
  traffic.patient = true;
  traffic.burst_max = std::min(traffic.burst_max, 3U);
}

}  // namespace

void draw_datagrams(Plan& plan, std::uint64_t seed) {
  Draw(plan, seed).plan();
}

bool DatagramPlan::sessions_end(const config::Config& config) const {
  return std::all_of(listeners.begin(), listeners.end(), [&](const Listener& listener) {
    return config.listeners[listener.index].idle_timeout > Nanos(0);
  });
}

std::vector<std::vector<net::IpEndpoint>> DatagramPlan::addresses() const {
  std::vector<std::vector<net::IpEndpoint>> all;
  for (const Listener& listener : listeners) all.push_back(listener.addresses);
  return all;
}

std::string DatagramPlan::describe() const {
  std::string text =
      fmt::format("{} buffers, {} sessions, {} upstream sockets{}{}{}\n", buffers, sessions, upstream_sockets,
                  calm ? ", calm" : "", deaths ? ", deaths" : "", probed ? ", probed" : "");
  text += fmt::format("{} ports, queues {}, errors {}, merges {}\n", network.ports, network.receive_room,
                      network.errors_max, network.merges);
  for (const Listener& listener : listeners) {
    text += fmt::format("listener {}: {}, {} addresses\n", listener.index, listener.bind.to_string(),
                        listener.addresses.size());
  }
  for (const DatagramBackendPlan& backend : backends) {
    text += fmt::format("backend {}: manner {}, {} replies of {}, quotes {}\n", backend.address.to_string(),
                        static_cast<int>(backend.manner), backend.replies, backend.reply_bytes, backend.quote_max);
  }
  return text;
}

DatagramRules DatagramPlan::rules(const pool::Snapshot& snapshot) const {
  DatagramRules rules;
  for (const Listener& here : listeners) {
    const pool::Listener& listener = snapshot.listeners[here.index];
    rules.listeners.push_back({.addresses = here.addresses,
                               .pool = listener.pool,
                               .idle_timeout = listener.idle_timeout,
                               .max_duration = listener.max_connection_duration,
                               .responses = listener.responses});
  }
  for (const auto& pool : snapshot.pools) {
    std::vector<DatagramRules::Backend>& in_pool = rules.pools.emplace_back();
    for (const pool::Backend& backend : pool->backends) {
      in_pool.push_back(
          {.address = net::IpEndpoint::from(backend.address), .id = backend.id, .weight = backend.weight});
    }
  }
  return rules;
}

}  // namespace millrace::sim
