#include "plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace millrace::sim {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Nanos kShort = seconds(20);  // a run's scripts take less

/// The dice of a plan; apart from those of the run, so that a change of one does not change the other.
class Draw {
 public:
  explicit Draw(std::uint64_t seed) : random_(mix64(seed ^ 0x706c616eU)) {}

  Plan plan();

 private:
  std::uint32_t between(std::uint64_t low, std::uint64_t high) {
    return static_cast<std::uint32_t>(low + random_.below(high - low + 1));
  }
  Nanos millis(std::uint64_t low, std::uint64_t high) { return milliseconds(between(low, high)); }
  std::uint32_t power(std::uint64_t low, std::uint64_t high) { return 1U << between(low, high); }
  bool one_in(std::uint64_t n) { return random_.one_in(n); }
  QueueSizes queues() { return {.send = power(6, 14), .receive = power(6, 14)}; }

  void machine(Plan& plan);
  void coalesce(Plan& plan);
  void traffic(Plan& plan);
  void bulk(Plan& plan);
  void pools(Plan& plan);
  config::Pool pool(Plan& plan, std::size_t index);
  config::Backend backend(Plan& plan, std::size_t pool_index, std::size_t index);
  Manner manner(bool calm);
  void listeners(Plan& plan);
  void stop(Plan& plan);

  Rng random_;
};

Plan Draw::plan() {
  Plan plan;
  plan.calm = one_in(8);
  plan.faults = plan.calm ? Faults::none() : Faults::draw(random_);
  machine(plan);
  traffic(plan);
  pools(plan);
  listeners(plan);
  stop(plan);
  if (one_in(12)) bulk(plan);
  if (!one_in(3)) coalesce(plan);
  return plan;
}

/// Small enough that the little traffic here rests.
void Draw::coalesce(Plan& plan) {
  plan.coalesce.begin_bytes = power(4, 11);
  plan.coalesce.least_bytes = power(0, 8);
  plan.coalesce.wanted_bytes = power(6, 14);
  plan.coalesce.interval_min = millis(0, 3);
  plan.coalesce.interval_max = plan.coalesce.interval_min + millis(1, 200);
}

void Draw::machine(Plan& plan) {
  plan.workers = one_in(3) ? 2 : 1;
  plan.buffers.count = one_in(3) ? between(1, 8) : between(16, 256);
  plan.buffers.bytes_per_buffer = power(4, 12);
  plan.pipes.open = one_in(3) ? between(0, 4) : 256;
  plan.pipes.moving = one_in(2) ? between(1, 4) : 16;
  plan.pipe_bytes = power(4, 16);
  plan.backlog = one_in(4) ? between(1, 4) : 64;
  plan.backend_queues = queues();
}

void Draw::traffic(Plan& plan) {
  TrafficPlan& traffic = plan.traffic;
  traffic.clients = between(1, 24);
  traffic.bytes_usual = power(4, 12);
  traffic.graceful = one_in(3) ? 1.0 : random_.unit();
  traffic.arrivals = millis(1, 2000);
  traffic.pause_max = millis(0, 30);
  traffic.queues = queues();
  traffic.server_queues = queues();
}

/// Long streams in large pieces, so that `auto` finds out that splicing pays.
void Draw::bulk(Plan& plan) {
  plan.traffic.clients = between(1, 4);
  plan.traffic.bytes_bulk = 400'000;
  plan.traffic.queues = plan.traffic.server_queues = plan.backend_queues = {.send = 65536, .receive = 65536};
  plan.buffers.bytes_per_buffer = 4096;
  plan.pipe_bytes = 65536;
  plan.faults.fragment = std::min(plan.faults.fragment, 0.02);
}

Manner Draw::manner(bool calm) {
  constexpr std::array kGood = {Manner::echo, Manner::answers, Manner::greets, Manner::sink, Manner::source};
  constexpr std::array kBad = {Manner::quits, Manner::resets, Manner::stalls, Manner::refuses, Manner::unanswered};
  return calm || !one_in(4) ? kGood[random_.below(kGood.size())] : kBad[random_.below(kBad.size())];
}

config::Backend Draw::backend(Plan& plan, std::size_t pool_index, std::size_t index) {
  config::Backend backend;
  const auto host = static_cast<std::uint32_t>(0x0a020000 + pool_index * 256 + index);
  backend.address = net::Endpoint::ipv4(host, 9000);
  backend.name = fmt::format("p{}b{}", pool_index, index);
  backend.weight = plan.calm ? between(1, 3) : between(0, 4);
  backend.backup = index > 0 && one_in(5);
  backend.max_connections = one_in(5) ? between(1, 4) : 0;
  plan.backends.push_back({.address = backend.address, .manner = manner(plan.calm)});
  return backend;
}

config::Pool Draw::pool(Plan& plan, std::size_t index) {
  config::Pool pool;
  pool.name = fmt::format("pool{}", index);
  pool.balance = balance::kAlgorithms[random_.below(balance::kAlgorithms.size())];
  pool.connect_timeout = plan.calm ? Nanos(seconds(5)) : millis(20, 3000);
  pool.retries = between(0, 4);
  pool.fail_open = !one_in(3);
  pool.passive.failures = between(0, 3);
  if (one_in(4)) pool.hash.load_factor = 1.25;
  if (one_in(2)) pool.hash.key = config::HashKey::source_ip_port;
  const std::size_t backends = between(1, 5);
  for (std::size_t i = 0; i < backends; ++i) pool.backends.push_back(backend(plan, index, i));
  return pool;
}

void Draw::pools(Plan& plan) {
  const std::size_t count = between(1, 2);
  for (std::size_t i = 0; i < count; ++i) plan.config.pools.push_back(pool(plan, i));
  plan.health_flaps = !plan.calm && one_in(3);
}

void Draw::listeners(Plan& plan) {
  // Below 512 free places a worker accepts one at a time; above, with a multishot accept.
  plan.config.runtime.max_connections = one_in(3) ? between(1, 8) : between(500, 2000);
  const std::size_t count = between(1, 3);
  for (std::size_t i = 0; i < count; ++i) {
    config::Listener listener;
    listener.name = fmt::format("listener{}", i);
    listener.pool = plan.config.pools[random_.below(plan.config.pools.size())].name;
    listener.max_connections = one_in(4) ? between(1, 4) : 0;
    constexpr std::array kForwarding = {config::Forwarding::automatic, config::Forwarding::copy,
                                        config::Forwarding::splice};
    listener.forwarding = kForwarding[random_.below(kForwarding.size())];
    listener.idle_timeout = one_in(4) ? millis(20, 3000) : one_in(2) ? Nanos(hours(1)) : Nanos(0);
    listener.half_close_timeout = one_in(10) ? millis(20, 3000) : one_in(2) ? Nanos(seconds(60)) : Nanos(0);
    listener.max_connection_duration = one_in(10) ? millis(50, 4000) : Nanos(0);
    plan.listeners.push_back(net::Endpoint::ipv4(0x0a000001, static_cast<std::uint16_t>(80 + i)));
    listener.bind.push_back({.kind = net::AddressText::Kind::endpoint, .endpoint = plan.listeners.back(), .host = {}});
    plan.config.listeners.push_back(listener);
  }
}

void Draw::stop(Plan& plan) {
  if (!one_in(4)) return;
  constexpr std::array kKinds = {StopPlan::drain, StopPlan::hurried, StopPlan::now};
  plan.stop = kKinds[random_.below(kKinds.size())];
  plan.stop_after = millis(0, 3000);
}

bool is_short(Nanos timeout) {
  return timeout > Nanos(0) && timeout < kShort;
}

}  // namespace

Plan draw_plan(std::uint64_t seed) {
  Plan plan = Draw(seed).plan();
  draw_datagrams(plan, seed);
  for (std::size_t i = 0; i < plan.config.listeners.size(); ++i) {
    if ((seed + i) % 2 == 0) plan.config.listeners[i].access_log = "stderr";
  }
  plan.reloads = Rng(mix64(seed ^ 0x72656c6f6164U)).one_in(3);  // dice of its own: other runs are as they were
  return plan;
}

Limits Plan::limits() const {
  Limits limits;
  limits.connections = config.runtime.max_connections;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    limits.listeners.push_back({listeners[i], config.listeners[i].max_connections});
  }
  for (const config::Pool& pool : config.pools) {
    for (const config::Backend& backend : pool.backends) {
      limits.backends.push_back({backend.address, backend.max_connections});
    }
  }
  limits.held_bytes = std::uint64_t{buffers.count} * buffers.bytes_per_buffer + pipe_bytes;
  return limits;
}

bool Plan::timeouts_possible() const {
  return std::any_of(config.listeners.begin(), config.listeners.end(), [](const config::Listener& listener) {
    if (listener.protocol != config::Protocol::tcp) return false;
    return is_short(listener.idle_timeout) || is_short(listener.half_close_timeout) ||
           is_short(listener.max_connection_duration);
  });
}

bool Plan::cuts_possible() const {
  return stop == StopPlan::hurried || stop == StopPlan::now ||
         std::any_of(config.listeners.begin(), config.listeners.end(), [](const config::Listener& listener) {
           if (listener.protocol != config::Protocol::tcp) return false;
           return is_short(listener.half_close_timeout) || is_short(listener.max_connection_duration);
         });
}

bool Plan::everyone_is_served() const {
  const auto limited = [](const config::Pool& pool) {
    return std::any_of(pool.backends.begin(), pool.backends.end(),
                       [](const config::Backend& backend) { return backend.max_connections != 0; });
  };
  return calm && stop == StopPlan::at_end && !timeouts_possible() &&
         std::none_of(config.pools.begin(), config.pools.end(), limited);
}

}  // namespace millrace::sim
