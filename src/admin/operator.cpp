#include "millrace/admin/operator.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "millrace/balance/maglev.hpp"
#include "millrace/base/log.hpp"

namespace millrace::admin {

namespace {

/// A worker answers within a pass; one that does not in this time hangs, and the operator should know.
constexpr Nanos kPatience = std::chrono::seconds(2);
constexpr std::size_t kPageMax = 5000;

template <class Named>
std::string names_of(const std::vector<Named>& all) {
  std::string text;
  for (const Named& one : all) {
    if (text.size() > 200) return text + ", …";
    text += (text.empty() ? "" : ", ") + one.name;
  }
  return text;
}

template <class Named>
std::optional<std::uint32_t> find(const std::vector<Named>& all, std::string_view name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const Named& one) { return one.name == name; });
  if (found == all.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - all.begin());
}

std::string_view order_name(Order order) {
  return order == Order::enabled ? "enabled" : order == Order::draining ? "draining" : "disabled";
}

balance::Maglev hashes_of(std::span<const pool::Backend> backends) {
  std::vector<balance::Maglev::Entry> entries;
  for (const pool::Backend& backend : backends) entries.push_back({.name = backend.name, .weight = backend.weight});
  return balance::Maglev(entries);
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

Operator::Operator(const pool::Snapshot& snapshot, pool::BackendTable& table, std::vector<worker::Worker*> workers,
                   std::vector<std::vector<std::string>> addresses, Instant started, const HealthLog* health)
    : snapshot_(snapshot),
      table_(table),
      workers_(std::move(workers)),
      addresses_(std::move(addresses)),
      started_(started),
      health_(health),
      orders_(table.rows()) {
  for (const worker::Worker* worker : workers_) counters_.push_back(&worker->counters());
  // Not owned: the snapshot outlives this.
  for (const pool::Pool& pool : snapshot.pools) pools_.emplace_back(std::shared_ptr<void>(), &pool);
}

StatusSources Operator::sources() const {
  return {.snapshot = snapshot_,
          .pools = pools_,
          .table = table_,
          .orders = orders_,
          .workers = counters_,
          .addresses = addresses_,
          .health = health_};
}

Status Operator::status() const {
  Status status = make_status(sources());
  status.version = MILLRACE_VERSION;
  status.pid = ::getpid();
  status.uptime_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  return status;
}

// ---- names ----

Result<std::uint32_t> Operator::find_listener(std::string_view name) const {
  if (const auto found = find(snapshot_.listeners, name)) return *found;
  return Error{fmt::format("there is no listener {}; there are: {}", name, names_of(snapshot_.listeners))};
}

Result<std::uint32_t> Operator::find_pool(std::string_view name) const {
  if (const auto found = find(snapshot_.pools, name)) return *found;
  return Error{fmt::format("there is no pool {}; there are: {}", name, names_of(snapshot_.pools))};
}

Result<Operator::Place> Operator::find_backend(std::string_view pool, std::string_view name) const {
  const Result<std::uint32_t> index = find_pool(pool);
  if (!index) return Error{index.error()};
  const std::vector<pool::Backend>& backends = snapshot_.pools[index.value()].backends;
  if (const auto found = find(backends, name)) return Place{.pool = index.value(), .backend = *found};
  return Error{fmt::format("pool {} has no backend {}; it has: {}", pool, name, names_of(backends))};
}

// ---- changes ----

Result<BackendStatus> Operator::change(std::string_view pool, std::string_view backend, const BackendChange& change) {
  const Result<Place> place = find_backend(pool, backend);
  if (!place) return Error{place.error()};
  const pool::BackendId id = snapshot_.pools[place.value().pool].backends[place.value().backend].id;
  Order& order = orders_[pool::row(id)];
  if (change.kind == BackendChange::Kind::weight) {
    if (change.weight > kWeightMax)
      return Error{fmt::format("weight {} is out of range, use 0 to 1000", change.weight)};
    if (const std::string problem = set_weight(place.value(), change.weight); !problem.empty()) return Error{problem};
    log::info("backend_weight", {{"pool", pool}, {"backend", backend}, {"weight", change.weight}});
  } else {
    order = change.kind == BackendChange::Kind::enable  ? Order::enabled
            : change.kind == BackendChange::Kind::drain ? Order::draining
                                                        : Order::disabled;
    table_.set_barred(id, order != Order::enabled);
    log::info("backend_order",
              {{"pool", pool}, {"backend", backend}, {"order", order_name(order)}, {"active", table_.active(id)}});
  }
  const Status all = status();
  return all.pools[place.value().pool].backends[place.value().backend];
}

/// Empty, or what went wrong. Every worker has done it when this returns.
std::string Operator::set_weight(const Place& place, std::uint32_t weight) {
  auto changed = std::make_shared<pool::Pool>(*pools_[place.pool]);
  changed->backends[place.backend].weight = weight;
  if (changed->algorithm == balance::Algorithm::source_hash) {
    const std::span<const pool::Backend> all = changed->backends;
    changed->primary_table = hashes_of(all.first(changed->primaries));
    changed->backup_table = hashes_of(all.subspan(changed->primaries));
  }
  pools_[place.pool] = changed;
  std::vector<std::shared_ptr<worker::Task>> tasks;
  for (worker::Worker* worker : workers_) {
    tasks.push_back(
        std::make_shared<worker::ExchangePool>(place.pool, std::make_unique<worker::PoolInUse>(changed, table_)));
    worker->post(tasks.back());
  }
  std::string problem;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (!tasks[i]->wait(kPatience)) problem = no_answer(i).message;
  }
  return problem;
}

// ---- connections ----

Result<worker::ConnectionFilter> Operator::filter_of(const ConnectionQuery& query) const {
  worker::ConnectionFilter filter;
  filter.listeners.assign(snapshot_.listeners.size(), true);
  if (!query.listener.empty()) {
    const Result<std::uint32_t> wanted = find_listener(query.listener);
    if (!wanted) return Error{wanted.error()};
    for (std::uint32_t i = 0; i < filter.listeners.size(); ++i) filter.listeners[i] = i == wanted.value();
  }
  if (!query.backend.empty() && query.pool.empty()) {
    return Error{"a backend is looked for in a pool: give --pool too, or --backend POOL/NAME"};
  }
  if (query.pool.empty()) return filter;
  const Result<std::uint32_t> pool = find_pool(query.pool);
  if (!pool) return Error{pool.error()};
  for (std::size_t i = 0; i < filter.listeners.size(); ++i) {
    filter.listeners[i] = filter.listeners[i] && snapshot_.listeners[i].pool == pool.value();
  }
  if (query.backend.empty()) return filter;
  const Result<Place> place = find_backend(query.pool, query.backend);
  if (!place) return Error{place.error()};
  filter.backend = place.value().backend;
  return filter;
}

ConnectionStatus Operator::named(const worker::ConnectionInfo& info) const {
  const pool::Listener& listener = snapshot_.listeners[info.listener];
  const pool::Pool& pool = snapshot_.pools[listener.pool];
  return {.id = info.id.to_string(),
          .listener = listener.name,
          .pool = pool.name,
          .backend = info.backend ? pool.backends[*info.backend].name : std::string(),
          .client = info.client.family() == net::Family::none ? "unknown" : info.client.to_string(),
          .stage = std::string(info.stage),
          .age_seconds = std::chrono::duration<double>(info.age).count(),
          .in = info.from_client,
          .out = info.from_backend};
}

Result<ConnectionPage> Operator::connections(const ConnectionQuery& query) {
  const Result<worker::ConnectionFilter> filter = filter_of(query);
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
    for (const worker::ConnectionInfo& info : task->found()) page.connections.push_back(named(info));
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
