#include "reloader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "millrace/base/log.hpp"
#include "reload_report.hpp"

namespace millrace::app {

namespace {

/// Calls `visit` with each listener of the configuration by its index, and its index in the snapshot.
template <class F>
void for_each_listener(const config::Config& config, const pool::Snapshot& snapshot, F&& visit) {
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    if (const auto place = snapshot.find_listener(config.listeners[i].name)) visit(i, std::size_t{*place});
  }
}

}  // namespace

std::vector<std::uint32_t> listener_limits(const config::Config& config, const Capacity& capacity,
                                           const pool::Snapshot& snapshot) {
  std::vector<std::uint32_t> limits(snapshot.listeners.size());
  for_each_listener(config, snapshot, [&](std::size_t i, std::size_t place) {
    // Of connections, or of sessions for UDP listeners.
    const std::uint32_t connections = config.listeners[i].max_connections;
    const std::uint32_t sessions = capacity.max_sessions[i];
    limits[place] = sessions == 0 ? connections : connections == 0 ? sessions : std::min(connections, sessions);
  });
  return limits;
}

std::vector<worker::SourceLimits::Rule> source_rules(const config::Config& config, const Capacity& capacity,
                                                     const pool::Snapshot& snapshot) {
  static_assert(config::kRatePerIpMax <= worker::SourceLimits::kRateMax);
  const std::vector<std::uint32_t> limits = listener_limits(config, capacity, snapshot);
  std::vector<worker::SourceLimits::Rule> rules(snapshot.listeners.size());
  for_each_listener(config, snapshot, [&](std::size_t i, std::size_t place) {
    const config::Listener& listener = config.listeners[i];
    rules[place] = {.connections = listener.max_connections_per_ip,
                    .rate = listener.connection_rate_per_ip,
                    .connections_max = limits[place] != 0 ? limits[place] : capacity.max_connections};
  });
  return rules;
}

log::Level log_level(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::error:
      return log::Level::error;
    case config::LogLevel::warn:
      return log::Level::warn;
    case config::LogLevel::info:
      return log::Level::info;
    case config::LogLevel::debug:
      return log::Level::debug;
  }
  return log::Level::info;
}

log::Format log_format(config::LogFormat format) {
  return format == config::LogFormat::json ? log::Format::json : log::Format::text;
}

Result<admin::ReloadReport> Reloader::run(bool plan_only) {
  if (parts_.file.empty()) {
    return Error{"the balancer was started without a file (--listen, --backend); restart it with the new options"};
  }
  config::Loaded loaded = config::load_file(parts_.file);
  if (!loaded.config) {
    std::string text = config::render(loaded.diagnostics, parts_.file);
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return Error{std::move(text)};
  }
  Result<Next> next = prepare(std::move(*loaded.config));
  if (!next) return Error{next.error()};
  if (plan_only) return std::move(next).value().report;
  Result<admin::ReloadReport> report = apply(std::move(next).value());
  if (!report) return report;
  for (const admin::KeyChange& change : report.value().needs_restart) {
    log::warn("reload_needs_restart", {{"key", change.key}, {"running", change.before}, {"file", change.after}});
  }
  return report;
}

Result<Reloader::Next> Reloader::prepare(config::Config config) const {
  Next next{.config = std::move(config), .directory = parts_.desk.directory()};
  const std::shared_ptr<const pool::Snapshot> before = next.directory.snapshot();
  Result<pool::Directory::Changes> changes = next.directory.update(next.config, parts_.table);
  if (!changes) return Error{changes.error()};
  next.changes = std::move(changes).value();
  next.report = compare(config_, next.config);
  const pool::Snapshot& after = *next.directory.snapshot();
  for (admin::PoolChange& change : next.report.pools_changed) {
    const auto index = after.find_pool(change.name);  // the same in both
    if (index) change.hash_moved = hash_moved(*before->pools[*index], *after.pools[*index]);
  }
  for (const pool::BackendId id : next.changes.left) next.report.connections_leaving += parts_.table.active(id);
  return next;
}

Result<admin::ReloadReport> Reloader::apply(Next next) {
  accesslog::Targets log_targets = access_log_targets(next.config, next.directory, log_targets_);
  if (std::string problem = parts_.access_log.set_targets(log_targets); !problem.empty()) return Error{problem};
  Result<Listening> listening =
      parts_.sockets.prepare(next.config, [this](const Bound& bound) { return keep_draining(bound); });
  if (!listening) {
    take_back_sockets();
    static_cast<void>(parts_.access_log.set_targets(log_targets_));  // opens nothing that is not open
    return Error{listening.error()};
  }
  const std::shared_ptr<const pool::Snapshot> snapshot = next.directory.snapshot();
  const config::Runtime& runtime = next.config.runtime;
  set_limits(next.config, *snapshot);
  log::change(log_level(runtime.log_level), log_format(runtime.log_format));
  shutdown_timeout_ = runtime.shutdown_timeout.count();
  const bool same_sockets = listening.value().bounds == parts_.sockets.now().bounds;
  admin::Rollout rollout{.directory = std::move(next.directory),
                         .changes = std::move(next.changes),
                         .addresses = ListeningSockets::addresses(listening.value(), *snapshot),
                         .changes_sockets = !same_sockets,
                         .sockets = parts_.sockets.by_worker(listening.value(), *snapshot)};
  parts_.sockets.commit(std::move(listening).value(), next.config);
  config_ = std::move(next.config);
  log_targets_ = std::move(log_targets);
  std::string problem = parts_.desk.roll_out(std::move(rollout));
  // Not before: what is probed no more is taken for up, and a worker might still choose it.
  parts_.prober.reload(config_, snapshot);
  if (!problem.empty()) return Error{std::move(problem)};
  parts_.source_limits.forget_old_rules();
  next.report.applied = true;
  return std::move(next.report);
}

/// Within what was reserved at the start.
void Reloader::set_limits(const config::Config& next, const pool::Snapshot& snapshot) {
  config::Config sized = next;
  sized.runtime.workers = parts_.capacity.workers;
  Capacity capacity = capacity_of(sized, parts_.machine);
  if (capacity.max_connections > parts_.capacity.max_connections) {
    if (next.runtime.max_connections != 0) {
      log::warn("max_connections_kept", {{"max_connections", parts_.capacity.max_connections},
                                         {"wanted", capacity.max_connections},
                                         {"remedy", "restart: room is reserved at the start"}});
    }
    capacity.max_connections = parts_.capacity.max_connections;
  }
  parts_.admission.set_limits(capacity.max_connections, listener_limits(next, capacity, snapshot));
  parts_.source_limits.set_rules(source_rules(next, capacity, snapshot));
}

std::vector<std::vector<io::Fd>> Reloader::keep_draining(const Bound& bound) {
  std::vector<std::vector<io::Fd>> kept(parts_.workers.size());
  for (std::size_t i = 0; i < parts_.workers.size(); ++i) {
    const auto task = std::make_shared<worker::KeepSockets>(bound.fds[i]);
    parts_.workers[i]->post(task);
    if (task->wait(std::chrono::seconds(2))) kept[i] = task->kept();
  }
  return kept;
}

/// After a reload that failed: workers may have stopped to drain some.
void Reloader::take_back_sockets() {
  const std::shared_ptr<const pool::Snapshot> snapshot = parts_.desk.snapshot();
  parts_.desk.set_sockets(parts_.sockets.by_worker(parts_.sockets.now(), *snapshot));
}

}  // namespace millrace::app
