#include "millrace/admin/operator.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "millrace/base/log.hpp"

namespace millrace::admin {

namespace {

/// A worker answers within a pass; one that does not in this time hangs, and the operator should know.
constexpr Nanos kPatience = std::chrono::seconds(2);
constexpr std::size_t kPageMax = 5000;

// Pools are shared, listeners and backends are not.
template <class T>
const T& plain(const std::shared_ptr<const T>& one) {
  return *one;
}
template <class T>
const T& plain(const T& one) {
  return one;
}
template <class T>
bool is_retired(const T& one) {
  return one.retired;
}
bool is_retired(const pool::Backend& /*backend*/) {
  return false;
}

template <class All>
std::string names_of(const All& all) {
  std::string text;
  for (const auto& one : all) {
    if (is_retired(plain(one))) continue;
    if (text.size() > 200) return text + ", …";
    text += (text.empty() ? "" : ", ") + plain(one).name;
  }
  return text;
}

template <class All>
std::optional<std::uint32_t> find(const All& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const auto& one) { return plain(one).name == name && !is_retired(plain(one)); });
  if (found == all.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - all.begin());
}

std::string_view order_name(Order order) {
  return order == Order::enabled ? "enabled" : order == Order::draining ? "draining" : "disabled";
}

/// "WORKER:SLOT"
std::optional<std::pair<std::size_t, std::uint64_t>> parse_place(std::string_view text) {
  std::pair<std::size_t, std::uint64_t> place{};
  if (text.empty()) return place;
  const char* const end = text.data() + text.size();
  const auto [colon, error] = std::from_chars(text.data(), end, place.first);
  if (error != std::errc() || colon == end || *colon != ':') return std::nullopt;
  const auto [rest, problem] = std::from_chars(colon + 1, end, place.second);
  if (problem != std::errc() || rest != end) return std::nullopt;
  return place;
}

Error no_answer(std::size_t worker) {
  return Error{fmt::format("worker {} did not answer; it hangs, or the balancer is about to end", worker)};
}

}  // namespace

Operator::Operator(pool::Directory directory, pool::BackendTable& table, std::vector<worker::Worker*> workers,
                   std::vector<std::vector<std::string>> addresses, Instant started, const HealthLog* health)
    : table_(table),
      workers_(std::move(workers)),
      started_(started),
      started_at_(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count()),
      health_(health) {
  for (const worker::Worker* worker : workers_) counters_.push_back(&worker->counters());
  publish({.directory = std::move(directory), .orders = {}, .addresses = std::move(addresses), .last_reload = {}});
}

std::shared_ptr<const Operator::State> Operator::state() const {
  const std::lock_guard lock(state_mutex_);
  return state_;
}

void Operator::publish(State next) {
  auto made = std::make_shared<const State>(std::move(next));
  const std::lock_guard lock(state_mutex_);
  state_.swap(made);
}

Status Operator::status() const {
  const std::shared_ptr<const State> now = state();
  Status status = make_status({.snapshot = now->snapshot(),
                               .table = table_,
                               .orders = now->orders,
                               .workers = counters_,
                               .addresses = now->addresses,
                               .health = health_});
  status.version = MILLRACE_VERSION;
  status.pid = ::getpid();
  status.uptime_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  status.generation = now->generation;
  status.last_reload = now->last_reload;
  status.started = started_at_;
  if (complete_) complete_(status);
  return status;
}

// ---- names ----

Result<std::uint32_t> Operator::State::find_listener(std::string_view name) const {
  if (const auto found = find(snapshot().listeners, name)) return *found;
  return Error{fmt::format("there is no listener {}; there are: {}", name, names_of(snapshot().listeners))};
}

Result<std::uint32_t> Operator::State::find_pool(std::string_view name) const {
  if (const auto found = find(snapshot().pools, name)) return *found;
  return Error{fmt::format("there is no pool {}; there are: {}", name, names_of(snapshot().pools))};
}

Result<Operator::Place> Operator::State::find_backend(std::string_view pool, std::string_view name) const {
  const Result<std::uint32_t> index = find_pool(pool);
  if (!index) return Error{index.error()};
  const std::vector<pool::Backend>& backends = snapshot().pools[index.value()]->backends;
  if (const auto found = find(backends, name)) return Place{.pool = index.value(), .backend = *found};
  return Error{fmt::format("pool {} has no backend {}; it has: {}", pool, name, names_of(backends))};
}

// ---- changes ----

Result<BackendStatus> Operator::change(std::string_view pool, std::string_view backend, const BackendChange& change) {
  const std::lock_guard lock(changing_);
  const Result<Place> place = state()->find_backend(pool, backend);
  if (!place) return Error{place.error()};
  return change_locked(place.value(), change);
}

Result<BackendStatus> Operator::change_locked(const Place& place, const BackendChange& change) {
  State next = *state();
  const pool::Pool& pool = *next.snapshot().pools[place.pool];
  const pool::Backend& backend = pool.backends[place.backend];
  const pool::BackendId id = backend.id;
  if (change.kind == BackendChange::Kind::weight) {
    if (change.weight > kWeightMax)
      return Error{fmt::format("weight {} is out of range, use 0 to 1000", change.weight)};
    if (const std::string problem = set_weight(place, change.weight); !problem.empty()) return Error{problem};
    log::info("backend_weight", {{"pool", pool.name}, {"backend", backend.name}, {"weight", change.weight}});
  } else {
    const Order order = change.kind == BackendChange::Kind::enable  ? Order::enabled
                        : change.kind == BackendChange::Kind::drain ? Order::draining
                                                                    : Order::disabled;
    table_.set_barred(id, order != Order::enabled);
    log::info(
        "backend_order",
        {{"pool", pool.name}, {"backend", backend.name}, {"order", order_name(order)}, {"active", table_.active(id)}});
    next.set_order(id, order);
    publish(std::move(next));
  }
  const std::shared_ptr<const State> now = state();
  return make_backend_status({.snapshot = now->snapshot(),
                              .table = table_,
                              .orders = now->orders,
                              .workers = counters_,
                              .addresses = now->addresses,
                              .health = health_},
                             now->snapshot().pools[place.pool]->backends[place.backend]);
}

/// Empty, or what went wrong. Every worker has done it when this returns.
std::string Operator::set_weight(const Place& place, std::uint32_t weight) {
  State next = *state();
  next.directory.set_weight(place.pool, place.backend, weight);
  const std::shared_ptr<const pool::Snapshot> snapshot = next.directory.snapshot();
  publish(std::move(next));
  const std::array pools = {place.pool};
  return adopt([&](std::uint32_t worker) { return adoption(snapshot, pools, worker); });
}

/// A snapshot, and those of its pools that have changed, with pickers for one worker.
worker::Adoption Operator::adoption(const std::shared_ptr<const pool::Snapshot>& snapshot,
                                    std::span<const std::uint32_t> pools, std::uint32_t worker) const {
  worker::Adoption made{.snapshot = snapshot};
  for (const std::uint32_t index : pools) {
    made.pools.emplace_back(index, std::make_unique<worker::PoolInUse>(snapshot->pools[index], table_, worker));
  }
  return made;
}

std::string Operator::adopt(const std::function<worker::Adoption(std::uint32_t worker)>& make) {
  std::vector<std::shared_ptr<worker::Task>> tasks;
  for (std::uint32_t i = 0; i < workers_.size(); ++i) {
    tasks.push_back(std::make_shared<worker::Adopt>(make(i)));
    workers_[i]->post(tasks.back());
  }
  std::string problem;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (!tasks[i]->wait(kPatience)) problem = no_answer(i).message;
  }
  if (!problem.empty()) unsettled_ = true;
  return problem;
}

Result<ReloadReport> Operator::reload(bool plan) {
  const std::lock_guard lock(changing_);
  if (!reload_) return Error{"there is no file to read again"};
  if (unsettled_) return Error{"a worker did not answer the last change; restart the balancer"};
  Result<ReloadReport> report = reload_(plan);
  if (report) report.value().generation = state()->generation;
  if (plan) return report;
  if (report) {
    log::info("reloaded", {{"generation", report.value().generation}, {"changed", !report.value().changes_nothing()}});
  } else {
    log::error("reload_failed", {{"reason", report.error()}});
  }
  State next = *state();
  next.last_reload = {.ok = report.ok(), .error = report ? "" : report.error()};
  publish(std::move(next));
  return report;
}

void Operator::set_sockets(std::vector<std::vector<worker::ListenerSocket>> sockets) {
  const std::shared_ptr<const pool::Snapshot> snapshot = state()->directory.snapshot();
  static_cast<void>(adopt([&](std::uint32_t worker) {
    worker::Adoption made = adoption(snapshot, {}, worker);
    made.changes_sockets = true;
    made.sockets = std::move(sockets[worker]);
    return made;
  }));
}

std::string Operator::roll_out(Rollout rollout) {
  State next = *state();
  const pool::Directory::Changes& changes = rollout.changes;
  const std::shared_ptr<const pool::Snapshot> snapshot = rollout.directory.snapshot();
  for (const std::vector<pool::BackendId>* ids : {&changes.fresh, &changes.returned}) {
    for (const pool::BackendId id : *ids) {
      table_.set_barred(id, false);
      next.set_order(id, Order::enabled);
    }
  }
  for (const pool::BackendId id : changes.fresh) table_.clear_failures(id);
  const Instant now = std::chrono::steady_clock::now();
  // Those that leave are not barred: until a worker adopts this it may have no other; and who was let in by a listener
  // that goes with its pool has no other at all.
  std::vector<worker::Eviction> evictions;
  for (const pool::BackendId id : changes.left) {
    const Nanos timeout = snapshot->pools[rollout.directory.owners()[pool::row(id)].pool]->drain_timeout;
    if (timeout > Nanos(0)) evictions.push_back({.id = id, .at = now + timeout});
  }
  next.directory = std::move(rollout.directory);
  next.addresses = std::move(rollout.addresses);
  ++next.generation;
  for (worker::Worker* worker : workers_) {
    worker->make_room(snapshot->listeners.size(), next.directory.owners().size());
  }
  publish(std::move(next));
  return adopt([&](std::uint32_t worker) {
    worker::Adoption made = adoption(snapshot, changes.pools, worker);
    made.fresh = changes.fresh;
    made.returned = changes.returned;
    made.evictions = evictions;
    made.changes_sockets = rollout.changes_sockets;
    if (rollout.changes_sockets) made.sockets = rollout.sockets[worker];
    return made;
  });
}

// ---- connections ----

Result<worker::ConnectionFilter> Operator::State::filter_of(const ConnectionQuery& query) const {
  worker::ConnectionFilter filter;
  if (!query.listener.empty()) {
    const Result<std::uint32_t> wanted = find_listener(query.listener);
    if (!wanted) return Error{wanted.error()};
    filter.listeners.assign(wanted.value() + 1, false);
    filter.listeners[wanted.value()] = true;
  }
  if (!query.backend.empty() && query.pool.empty()) {
    return Error{"a backend is looked for in a pool: give --pool too, or --backend POOL/NAME"};
  }
  if (query.pool.empty()) return filter;
  // By backend, not by listener: a listener may lead to another pool now than when a connection began.
  const std::vector<pool::Directory::Owner>& owners = directory.owners();
  filter.backends.assign(owners.size(), false);
  bool any = false;
  for (std::size_t row = 0; row < owners.size(); ++row) {
    const pool::Directory::Owner& owner = owners[row];
    if (owner.free || snapshot().pools[owner.pool]->name != query.pool) continue;
    if (!query.backend.empty() && owner.name != query.backend) continue;
    filter.backends[row] = any = true;
  }
  if (any) return filter;
  if (query.backend.empty()) {
    if (const Result<std::uint32_t> pool = find_pool(query.pool); !pool) return Error{pool.error()};
  } else if (const Result<Place> place = find_backend(query.pool, query.backend); !place) {
    return Error{place.error()};
  }
  return filter;
}

ConnectionStatus Operator::State::named(const worker::ConnectionInfo& info) const {
  const pool::Listener& listener = snapshot().listeners[info.listener];
  const pool::Directory::Owner* owner = info.backend ? &directory.owners()[pool::row(*info.backend)] : nullptr;
  return {.id = info.id.to_string(),
          .listener = listener.name,
          .pool = snapshot().pools[owner != nullptr ? owner->pool : listener.pool]->name,
          .backend = owner != nullptr ? owner->name : std::string(),
          .client = info.client.family() == net::Family::none ? "unknown" : info.client.to_string(),
          .stage = std::string(info.stage),
          .age_seconds = std::chrono::duration<double>(info.age).count(),
          .in = info.from_client,
          .out = info.from_backend};
}

Result<ConnectionPage> Operator::connections(const ConnectionQuery& query) {
  std::shared_ptr<const State> now = state();
  const Result<worker::ConnectionFilter> filter = now->filter_of(query);
  if (!filter) return Error{filter.error()};
  const auto place = parse_place(query.after);
  if (!place) return Error{fmt::format("after: {} is no place in the list; use what `next` was", query.after)};
  auto [worker, from] = *place;
  const std::size_t limit = std::clamp<std::size_t>(query.limit, 1, kPageMax);
  ConnectionPage page;
  while (worker < workers_.size() && page.connections.size() < limit) {
    const auto task = std::make_shared<worker::ListConnections>(filter.value(), from, limit - page.connections.size());
    workers_[worker]->post(task);
    if (!task->wait(kPatience)) return no_answer(worker);
    now = state();  // a reload may have brought new ones meanwhile
    for (const worker::ConnectionInfo& info : task->found()) page.connections.push_back(now->named(info));
    from = task->next().value_or(0);
    if (!task->next()) ++worker;
  }
  if (worker < workers_.size()) page.next = fmt::format("{}:{}", worker, from);
  return page;
}

Result<std::string> Operator::kill(std::string_view text) {
  const auto id = worker::ConnectionId::parse(text);
  if (!id) return Error{fmt::format("{} is no id of a connection; `millrace connections` lists them", text)};
  if (id->worker >= workers_.size()) {
    return Error{fmt::format("connection {} is not there: there are {} workers", text, workers_.size())};
  }
  const auto task = std::make_shared<worker::KillConnection>(*id);
  workers_[id->worker]->post(task);
  if (!task->wait(kPatience)) return no_answer(id->worker);
  if (!task->killed()) return Error{fmt::format("connection {} is not there, or not any more", text)};
  log::info("connection_killed", {{"id", text}});
  return std::string(text);
}

}  // namespace millrace::admin
