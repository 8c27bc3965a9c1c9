#include "threads.hpp"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <functional>
#include <random>

#include "millrace/base/assert.hpp"
#include "millrace/base/log.hpp"
#include "watchdog.hpp"

namespace millrace::app {

namespace {

void name_thread(const std::string& name) {
  ::pthread_setname_np(::pthread_self(), name.substr(0, 15).c_str());
}

void pin_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<std::size_t>(cpu), &set);
  if (::pthread_setaffinity_np(::pthread_self(), sizeof set, &set) != 0) log::warn("pin_failed", {{"cpu", cpu}});
}

health::ProbeSettings probe_settings(const config::Pool& pool) {
  return {.active = pool.health.type != config::HealthType::none,
          .type = pool.health.type == config::HealthType::udp ? health::ProbeType::udp : health::ProbeType::tcp,
          .interval = pool.health.interval,
          .timeout = pool.health.timeout,
          .rise = pool.health.rise,
          .fall = pool.health.fall,
          .jitter = pool.health.jitter,
          .send = pool.health.send,
          .expect = pool.health.expect,
          .close_with_reset = pool.health.close == config::ProbeClose::rst,
          .passive_failures = pool.passive.failures,
          .ejection = pool.passive.ejection,
          .max_ejected = pool.passive.max_ejected};
}

std::vector<health::Target> probe_targets(const config::Config& config, const pool::Snapshot& snapshot) {
  std::vector<health::Target> targets;
  for (const config::Pool& wanted : config.pools) {
    const auto index = snapshot.find_pool(wanted.name);
    MILLRACE_ASSERT(index.has_value(), "a snapshot has the pools of its configuration");
    const pool::Pool& pool = *snapshot.pools[*index];
    for (const pool::Backend& backend : pool.backends) {
      health::Target target{.id = backend.id,
                            .pool = pool.name,
                            .backend = backend.name,
                            .endpoint = backend.address,
                            .settings = probe_settings(wanted)};
      const std::uint16_t port = wanted.health.port;
      if (port != 0 && !backend.address.is_unix()) target.endpoint.set_port(port);
      for (const net::Endpoint& source : pool.sources) {
        if (source.family() == backend.address.family()) target.source = source;
      }
      targets.push_back(std::move(target));
    }
  }
  return targets;
}

/// Where nobody said how to probe, the silence of a dead backend would go unnoticed.
void warn_of_missing_probes(const config::Config& config) {
  for (const config::Pool& pool : config.pools) {
    if (!pool.health.unasked) continue;
    log::warn("no_probes", {{"pool", pool.name},
                            {"remedy", "give its health a port (TCP connect), a send (UDP probe), or type none"}});
  }
}

}  // namespace

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32U | device();
}

// ---- the prober ----

ProberThread::ProberThread(const config::Config& config, std::shared_ptr<const pool::Snapshot> snapshot,
                           pool::BackendTable& table, const io::UringFeatures& features)
    : targets_(probe_targets(config, *snapshot)), snapshot_(std::move(snapshot)), table_(table), features_(features) {
  warn_of_missing_probes(config);
}

ProberThread::~ProberThread() {
  stop();
}

std::string ProberThread::start() {
  std::promise<std::string> started;
  std::future<std::string> answer = started.get_future();
  thread_ = std::thread([this, &started] { main(started); });
  std::string problem = answer.get();
  if (!problem.empty()) thread_.join();
  return problem;
}

void ProberThread::main(std::promise<std::string>& started) {
  name_thread("prober");
  Result<std::unique_ptr<io::Io>> made = io::make_uring_io(
      {.submission_entries = 256, .completion_entries = 2048, .buffers = {.count = 256, .bytes_per_buffer = 4096}},
      features_);
  if (!made) return started.set_value(made.error());
  io_ = std::move(made).value();
  prober_ =
      std::make_unique<health::Prober>(*io_, table_, std::move(targets_), random_seed(),
                                       [this](const health::Transition& transition) { on_transition(transition); });
  started.set_value({});
  prober_->run();
}

void ProberThread::on_transition(const health::Transition& transition) {
  health_log_.note(transition, std::chrono::system_clock::now());
  const bool up = transition.to == pool::HealthState::up;
  log::event(up ? log::Level::info : log::Level::warn, up ? "backend_up" : "backend_down",
             {{"pool", transition.target.pool},
              {"backend", transition.target.backend},
              {"from", pool::name(transition.from)},
              {"to", pool::name(transition.to)},
              {"reason", transition.reason}});
  if (up) return;
  std::shared_ptr<const pool::Snapshot> snapshot;
  {
    const std::lock_guard lock(mutex_);
    snapshot = snapshot_;
  }
  const auto index = snapshot->find_pool(transition.target.pool);
  if (!index || snapshot->pools[*index]->retired) return;
  const pool::Pool& pool = *snapshot->pools[*index];
  if (pool.close_on_down) close_connections(pool, transition.target.id);
  const bool any_up = std::any_of(pool.backends.begin(), pool.backends.end(), [this](const pool::Backend& backend) {
    return backend.weight != 0 && table_.health(backend.id) == pool::HealthState::up;
  });
  if (!any_up) log::error("pool_down", {{"pool", pool.name}, {"fail_open", pool.fail_open}});
}

void ProberThread::close_connections(const pool::Pool& pool, pool::BackendId id) {
  log::info("closing_connections", {{"pool", pool.name}, {"active", table_.active(id)}, {"reason", "on_down"}});
  const worker::Eviction eviction{.id = id, .at = Instant::min(), .reason = flow::CloseReason::backend_down};
  const std::lock_guard lock(mutex_);
  for (worker::Worker* worker : workers_) worker->post(std::make_shared<worker::Evict>(eviction));
}

void ProberThread::set_workers(std::vector<worker::Worker*> workers) {
  const std::lock_guard lock(mutex_);
  workers_ = std::move(workers);
}

void ProberThread::reload(const config::Config& config, std::shared_ptr<const pool::Snapshot> snapshot) {
  warn_of_missing_probes(config);
  prober_->set_targets(probe_targets(config, *snapshot));
  const std::lock_guard lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void ProberThread::stop() {
  if (!thread_.joinable()) return;
  prober_->stop();
  thread_.join();
}

void ProberThread::request_probe(pool::BackendId id) {
  prober_->request_probe(id);
}

// ---- a worker ----

WorkerThread::WorkerThread(Setup setup, std::shared_ptr<const pool::Snapshot> snapshot, pool::BackendTable& table,
                           worker::Admission& admission, worker::SourceLimits* source_limits,
                           worker::ProbeRequests* probes)
    : setup_(std::move(setup)),
      snapshot_(std::move(snapshot)),
      table_(table),
      admission_(admission),
      source_limits_(source_limits),
      probes_(probes) {}

WorkerThread::~WorkerThread() {
  if (!thread_.joinable()) return;
  if (worker_ != nullptr) worker_->request_stop_now();
  thread_.join();
}

std::string WorkerThread::start(std::function<void()> on_end) {
  std::promise<std::string> started;
  std::future<std::string> answer = started.get_future();
  thread_ = std::thread([this, &started, on_end = std::move(on_end)] { main(started, on_end); });
  std::string problem = answer.get();
  if (!problem.empty()) thread_.join();
  return problem;
}

void WorkerThread::main(std::promise<std::string>& started, const std::function<void()>& on_end) {
  name_thread("worker-" + std::to_string(setup_.index));
  if (setup_.cpu >= 0) pin_thread(setup_.cpu);
  // The default of 50 us would nearly double the waits that gather completions.
  ::prctl(PR_SET_TIMERSLACK, 1'000UL);
  Result<std::unique_ptr<io::Io>> made = io::make_uring_io({.buffers = {.count = setup_.capacity.buffers},
                                                            .datagram_buffers = setup_.capacity.datagram_buffers,
                                                            .busy_poll = setup_.busy_poll},
                                                           setup_.features);
  if (!made) return started.set_value(made.error());
  io_ = std::move(made).value();
  worker_ =
      std::make_unique<worker::Worker>(*io_, snapshot_, table_, admission_, setup_.sockets,
                                       worker::WorkerOptions{.index = setup_.index,
                                                             .workers = setup_.capacity.workers,
                                                             .slots = setup_.capacity.slots,
                                                             .pipes = {.open = setup_.capacity.pipes},
                                                             .seed = random_seed(),
                                                             .access_log = setup_.access_log,
                                                             .sessions = setup_.capacity.sessions,
                                                             .upstream_sockets = setup_.capacity.upstream_sockets},
                                       probes_, source_limits_);
  worker_->start();
  const bool running = worker_->pass(io_->now());  // submits the accepts
  started.set_value({});
  if (running) loop();
  passes_.store(Watchdog::kEnded, std::memory_order_relaxed);
  on_end();
}

/// Counts its passes, from which the watchdog sees that it is alive.
void WorkerThread::loop() {
  const bool watched = setup_.longest_wait != Nanos::max();
  std::uint64_t passes = 0;
  while (worker_->pass(watched ? io_->now() + setup_.longest_wait : kNever)) {
    passes_.store(++passes, std::memory_order_relaxed);
  }
}

void WorkerThread::join() {
  if (thread_.joinable()) thread_.join();
}

Leftovers WorkerThread::leftovers() const {
  return {.connections = std::uint64_t{worker_->flows()} + worker_->sessions(),
          .pipes = worker_->pipes().open(),
          .buffers = io_->buffers().queued_count(),
          .upstream_sockets = worker_->upstream_sockets()};
}

}  // namespace millrace::app
