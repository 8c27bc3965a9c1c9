#include "millrace/admin/status.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

namespace millrace::admin {

namespace {

/// The operator's word comes first: a backend that was taken out is no alarm, whatever its probes say.
std::string_view state_name(Order order, pool::HealthState health) {
  switch (order) {
    case Order::enabled:
      return name(health);
    case Order::draining:
      return "draining";
    case Order::disabled:
      return "disabled";
  }
  return "";
}

void add(Reasons& reasons, std::string_view reason, std::uint64_t count) {
  if (count != 0) reasons[std::string(reason)] += count;
}

void add(Bytes& bytes, const flow::Traffic& traffic) {
  bytes.in += traffic.from_clients.get();
  bytes.out += traffic.from_backends.get();
}

std::uint64_t active(const worker::ListenerCounters& counters) {
  const std::uint64_t ended = counters.ended.get();  // before what begun: see there
  return counters.begun.get() - ended;
}

/// To microseconds: more would only look exact.
double rounded(double milliseconds) {
  return std::round(milliseconds * 1000) / 1000;
}

using Classes = std::array<std::uint64_t, worker::kConnectTimes.size() + 1>;

ConnectTimes times_of(const Classes& classes, std::uint64_t nanos) {
  ConnectTimes times{.total_seconds = static_cast<double>(nanos) / 1e9, .classes = {classes.begin(), classes.end()}};
  for (const std::uint64_t count : classes) times.count += count;
  if (times.count != 0) times.mean_ms = rounded(static_cast<double>(nanos) / 1e6 / static_cast<double>(times.count));
  times.p50_ms = rounded(quantile_ms(classes, 0.5));
  times.p99_ms = rounded(quantile_ms(classes, 0.99));
  return times;
}

/// Sums over the workers; `counters_of` says whose.
template <class CountersOf>
TcpStatus tcp_status(const StatusSources& sources, CountersOf&& counters_of) {
  TcpStatus status;
  Classes classes{};
  std::uint64_t nanos = 0;
  for (const worker::Counters* worker : sources.workers) {
    const worker::TcpCounters& counters = counters_of(*worker);
    status.retransmits += counters.retransmits.get();
    for (std::size_t i = 0; i < classes.size(); ++i) classes[i] += counters.rtts[i].get();
    nanos += counters.rtt_nanos.get();
  }
  status.rtt = times_of(classes, nanos);
  return status;
}

ListenerStatus listener_status(const StatusSources& sources, std::size_t index) {
  const pool::Listener& listener = sources.snapshot.listeners[index];
  const bool udp = listener.protocol == pool::Protocol::udp;
  ListenerStatus status{
      .name = listener.name,
      .protocol = udp ? "udp" : "tcp",
      .addresses = index < sources.addresses.size() ? sources.addresses[index] : std::vector<std::string>(),
      .pool = sources.snapshot.pools[listener.pool]->name,
      .refused = {},
      .bytes = {}};
  for (const worker::Counters* worker : sources.workers) {
    const worker::ListenerCounters& counters = worker->listeners[index];
    status.active += active(counters);
    status.connections += udp ? counters.begun.get() : counters.accepted.get();
    for (unsigned i = 0; i < worker::kRefusals; ++i) {
      add(status.refused, name(static_cast<worker::Refusal>(i)), counters.refused[i].get());
    }
    add(status.bytes, counters.traffic);
  }
  status.tcp = tcp_status(
      sources, [index](const worker::Counters& all) -> const worker::TcpCounters& { return all.listeners[index].tcp; });
  return status;
}

/// As a worker's picker does it: see Picker.
bool failing_open(const pool::Pool& pool, const pool::BackendTable& table) {
  bool any = false;
  for (const pool::Backend& backend : pool.backends) {
    if (backend.weight == 0 || table.barred(backend.id)) continue;
    if (table.serves(backend.id)) return false;
    any = true;
  }
  return any && pool.fail_open;
}

PoolStatus pool_status(const StatusSources& sources, std::uint32_t index) {
  const pool::Pool& pool = *sources.snapshot.pools[index];
  PoolStatus status{.name = pool.name, .balance = std::string(balance::name(pool.algorithm)), .backends = {}};
  status.failing_open = !pool.retired && failing_open(pool, sources.table);
  if (!pool.retired) {
    for (const pool::Backend& backend : pool.backends) status.backends.push_back(make_backend_status(sources, backend));
  }
  for (const pool::LeavingBackend& leaving : sources.snapshot.leaving) {
    if (leaving.pool != index || sources.table.active(leaving.backend.id) == 0) continue;
    status.backends.push_back(make_backend_status(sources, leaving.backend));
    status.backends.back().state = "removed";
  }
  return status;
}

WorkerStatus worker_status(const worker::Counters& counters, std::size_t index) {
  WorkerStatus status{.index = static_cast<std::uint32_t>(index), .bytes = {}};
  for (std::size_t i = 0; i < counters.listeners.size(); ++i) {
    const worker::ListenerCounters& listener = counters.listeners[i];
    status.active += active(listener);
    status.connections += listener.begun.get();
    add(status.bytes, listener.traffic);
  }
  status.busy_seconds = std::chrono::duration<double>(counters.busy.get()).count();
  return status;
}

void add_flows(Status& status, const worker::Counters& counters) {
  status.forwarded_bytes.copy += counters.flows.bytes_copied.get();
  status.forwarded_bytes.splice += counters.flows.bytes_spliced.get();
  for (unsigned i = 0; i < flow::kCloseReasons; ++i) {
    add(status.closes, flow::name(static_cast<flow::CloseReason>(i)),
        counters.closed[i].get() + counters.udp.sessions_closed[i].get());
  }
  status.udp.datagrams.in += counters.udp.datagrams_from_clients.get();
  status.udp.datagrams.out += counters.udp.datagrams_to_clients.get();
  for (unsigned i = 0; i < worker::kDrops; ++i) {
    add(status.udp.dropped, name(static_cast<worker::Drop>(i)), counters.udp.dropped[i].get());
  }
}

}  // namespace

BackendStatus make_backend_status(const StatusSources& sources, const pool::Backend& backend) {
  const std::size_t row = pool::row(backend.id);
  const pool::HealthState health = sources.table.health(backend.id);
  BackendStatus status{
      .name = backend.name,
      .address = backend.address.to_string(),
      .state = std::string(state_name(row < sources.orders.size() ? sources.orders[row] : Order::enabled, health)),
      .health = std::string(name(health)),
      .weight = backend.weight,
      .backup = backend.backup,
      .active = sources.table.active(backend.id),
      .connect_failures = {},
      .bytes = {},
      .connect_times = {},
      .health_changes = {}};
  Classes classes{};
  std::uint64_t nanos = 0;
  for (const worker::Counters* worker : sources.workers) {
    const worker::BackendCounters& counters = worker->backends[row];
    status.connections += counters.connections.get();
    for (unsigned i = 0; i < worker::kConnectFailures; ++i) {
      add(status.connect_failures, name(static_cast<worker::ConnectFailure>(i)), counters.connect_failures[i].get());
    }
    for (std::size_t i = 0; i < classes.size(); ++i) classes[i] += counters.connect_times[i].get();
    nanos += counters.connect_nanos.get();
    add(status.bytes, counters.traffic);
  }
  if (sources.health != nullptr) {
    const HealthLog::Counts counts = sources.health->counts(backend.id, backend.name);
    for (unsigned i = 0; i < health::kCauses; ++i) {
      add(status.health_changes, name(static_cast<health::Cause>(i)), counts[i]);
    }
  }
  status.connect_times = times_of(classes, nanos);
  status.tcp = tcp_status(
      sources, [row](const worker::Counters& all) -> const worker::TcpCounters& { return all.backends[row].tcp; });
  return status;
}

double quantile_ms(std::span<const std::uint64_t> classes, double part) {
  std::uint64_t total = 0;
  for (const std::uint64_t count : classes) total += count;
  if (total == 0) return 0;
  const double wanted = static_cast<double>(total) * part;
  double below = 0;
  double from = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    if (i >= worker::kConnectTimes.size()) return from;  // longer than the last bound: by how much nobody knows
    const double to = std::chrono::duration<double, std::milli>(worker::kConnectTimes[i]).count();
    const auto count = static_cast<double>(classes[i]);
    if (count > 0 && below + count >= wanted) return from + (to - from) * (wanted - below) / count;
    below += count;
    from = to;
  }
  return 0;
}

Status make_status(const StatusSources& sources) {
  Status status;
  for (const Nanos bound : worker::kConnectTimes) {
    status.connect_bounds_ms.push_back(std::chrono::duration<double, std::milli>(bound).count());
  }
  for (std::size_t i = 0; i < sources.snapshot.listeners.size(); ++i) {
    ListenerStatus listener = listener_status(sources, i);
    // What the file has no more is shown for as long as it has connections.
    if (sources.snapshot.listeners[i].retired && listener.active == 0) continue;
    status.listeners.push_back(std::move(listener));
  }
  for (std::uint32_t i = 0; i < sources.snapshot.pools.size(); ++i) {
    PoolStatus pool = pool_status(sources, i);
    if (sources.snapshot.pools[i]->retired && pool.backends.empty()) continue;
    status.pools.push_back(std::move(pool));
  }
  for (std::size_t i = 0; i < sources.workers.size(); ++i) {
    status.workers.push_back(worker_status(*sources.workers[i], i));
    add_flows(status, *sources.workers[i]);
  }
  for (const ListenerStatus& listener : status.listeners) {
    if (listener.protocol == "udp") status.udp.sessions += listener.active;
  }
  if (sources.health != nullptr) status.transitions = sources.health->recent();
  return status;
}

}  // namespace millrace::admin
