#include "balancer.hpp"

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "access_log.hpp"
#include "capacity.hpp"
#include "http.hpp"
#include "listening.hpp"
#include "millrace/admin/control_server.hpp"
#include "millrace/admin/metrics.hpp"
#include "millrace/admin/operator.hpp"
#include "millrace/admin/protocol.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/base/log.hpp"
#include "millrace/pool/directory.hpp"
#include "open_files.hpp"
#include "reloader.hpp"
#include "service_manager.hpp"
#include "threads.hpp"
#include "watchdog.hpp"

namespace millrace::app {

namespace {

/// Sent by the last worker that ends, to main, which waits for signals.
const int kAllWorkersEnded = SIGRTMIN;

std::vector<int> usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, kAllWorkersEnded}) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // splice(2) has no MSG_NOSIGNAL
  return set;
}

bool is_udp(const config::Listener& listener) {
  return listener.protocol == config::Protocol::udp;
}

void warn_of_backlog(const config::Config& config) {
  std::ifstream file("/proc/sys/net/core/somaxconn");
  std::uint32_t somaxconn = 0;
  if (!(file >> somaxconn)) return;
  for (const config::Listener& listener : config.listeners) {
    if (is_udp(listener) || listener.backlog <= somaxconn) continue;
    log::warn("backlog_cut", {{"listener", listener.name},
                              {"backlog", listener.backlog},
                              {"somaxconn", somaxconn},
                              {"remedy", "sysctl net.core.somaxconn=" + std::to_string(listener.backlog)}});
  }
}

/// Over all workers; from clients and from backends together.
struct UdpSums {
  std::uint64_t sessions = 0;
  std::uint64_t evicted = 0;
  std::uint64_t datagrams_in = 0;
  std::uint64_t datagrams_out = 0;
  std::uint64_t dropped = 0;
  std::uint64_t messages_in = 0;
  std::uint64_t messages_out = 0;

  void add(const worker::UdpCounters& counters) {
    sessions += counters.sessions.get();
    evicted += counters.sessions_closed[static_cast<std::size_t>(flow::CloseReason::evicted)].get();
    datagrams_in += counters.datagrams_from_clients.get() + counters.datagrams_from_backends.get();
    datagrams_out += counters.datagrams_to_backends.get() + counters.datagrams_to_clients.get();
    dropped += counters.dropped_total();
    messages_in += counters.messages_received.get();
    messages_out += counters.messages_sent.get();
  }
};

/// Who was refused by source address, over all workers: connections, and datagrams of UDP.
struct AccessSums {
  std::uint64_t denied = 0;
  std::uint64_t source_limited = 0;
  std::uint64_t rate_limited = 0;

  void add(const worker::Counters& counters) {
    denied += sum(counters, worker::Refusal::denied, worker::Drop::denied);
    source_limited += sum(counters, worker::Refusal::source_limit, worker::Drop::source_limit);
    rate_limited += sum(counters, worker::Refusal::rate_limit, worker::Drop::rate_limit);
  }

 private:
  static std::uint64_t sum(const worker::Counters& counters, worker::Refusal refusal, worker::Drop drop) {
    return counters.refused[static_cast<std::size_t>(refusal)].get() +
           counters.udp.dropped[static_cast<std::size_t>(drop)].get();
  }
};

/// Starts, waits for signals, stops.
class Balancer {
 public:
  Balancer(const config::Config& config, std::string file, std::uint64_t open_files)
      : config_(config), file_(std::move(file)), table_(pool::kBackendsMax), open_files_(open_files) {}

  int run() {
    signals_ = block_signals();
    if (!start()) return 1;
    wait_for_end();
    return finish();
  }

 private:
  bool fail(const std::string& why) {
    log::error("start_failed", {{"reason", why}});
    service_manager_.failed(why);
    return false;
  }

  bool start() {
    const Result<io::UringFeatures> features = io::probe_uring();
    if (!features) return fail(features.error());
    derive();
    log::info("starting", {{"version", MILLRACE_VERSION},
                           {"pid", ::getpid()},
                           {"workers", capacity_.workers},
                           {"max_connections", capacity_.max_connections},
                           {"open_files", open_files_},
                           {"pipes", std::uint64_t{capacity_.pipes} * capacity_.workers},
                           {"buffers", std::uint64_t{capacity_.buffers} * capacity_.workers},
                           {"bytes_per_connection", worker::Worker::connection_bytes()},
                           {"upstream_sockets", std::uint64_t{capacity_.upstream_sockets} * capacity_.workers},
                           {"io_uring", features.value().to_string()}});
    warn_of_limits();
    access_log_ = std::make_unique<accesslog::Writer>(capacity_.workers);
    if (std::string problem = access_log_->set_targets(access_log_targets(config_, directory_, {})); !problem.empty()) {
      return fail(problem);
    }
    PassedSockets passed = receive_passed_sockets();
    Result<Listening> listening = sockets_->open(config_, passed);
    if (!listening) return fail(listening.error());
    passed.close_unused();
    sockets_->commit(std::move(listening).value(), config_);
    prober_ = std::make_unique<ProberThread>(config_, directory_.snapshot(), table_, features.value());
    if (std::string problem = prober_->start(); !problem.empty()) return fail("prober: " + problem);
    if (!start_workers(features.value())) return false;
    start_operator();
    start_control();
    accepting_.store(true, std::memory_order_relaxed);
    start_http();
    log::info("ready", {{"workers", capacity_.workers},
                        {"listeners", config_.listeners.size()},
                        {"backends", pool::backend_rows(config_)}});
    service_manager_.ready(live_counts());
    return true;
  }

  void derive() {
    cpus_ = usable_cpus();
    machine_ = {.cpus = static_cast<std::uint32_t>(cpus_.size()), .open_files = open_files_};
    capacity_ = capacity_of(config_, machine_);
    const std::uint32_t workers = capacity_.workers;
    const auto made = directory_.update(config_, table_);
    MILLRACE_ASSERT(made.ok(), "a process that begins has places");
    const pool::Snapshot& snapshot = *directory_.snapshot();
    admission_ = std::make_unique<worker::Admission>(capacity_.max_connections,
                                                     listener_limits(config_, capacity_, snapshot), workers);
    source_limits_ = std::make_unique<worker::SourceLimits>(source_rules(config_, capacity_, snapshot), random_seed());
    sockets_ = std::make_unique<ListeningSockets>(workers);
    watchdog_ = Watchdog(capacity_.workers, service_manager_.watchdog_interval());
  }

  void warn_of_limits() {
    warn_of_backlog(config_);
    if (capacity_.max_connections > capacity_.affordable_connections) {
      log::warn("open_files_low", {{"max_connections", capacity_.max_connections},
                                   {"affordable", capacity_.affordable_connections},
                                   {"open_files", open_files_},
                                   {"remedy", "raise LimitNOFILE (ulimit -n), two for each connection"}});
    }
  }

  bool start_workers(const io::UringFeatures& features) {
    workers_running_ = capacity_.workers;
    const auto sockets = sockets_->by_worker(sockets_->now(), *directory_.snapshot());
    for (std::uint32_t i = 0; i < capacity_.workers; ++i) {
      WorkerThread::Setup setup{.index = i,
                                .cpu = config_.runtime.pin_workers ? cpus_[i % cpus_.size()] : -1,
                                .capacity = capacity_,
                                .features = features,
                                .sockets = sockets[i],
                                .longest_wait = watchdog_.period(),
                                .busy_poll = std::chrono::microseconds(config_.runtime.busy_poll_us),
                                .access_log = &access_log_->queue(i)};
      workers_.push_back(std::make_unique<WorkerThread>(std::move(setup), directory_.snapshot(), table_, *admission_,
                                                        source_limits_.get(), prober_.get()));
      const std::string problem = workers_.back()->start([this] {
        if (workers_running_.fetch_sub(1) == 1) ::kill(::getpid(), kAllWorkersEnded);
      });
      if (!problem.empty()) {
        workers_.pop_back();
        return fail("worker " + std::to_string(i) + ": " + problem);
      }
    }
    for (const Bound& bound : sockets_->now().bounds) {
      const bool udp = bound.protocol == config::Protocol::udp;
      log::info(
          "listening",
          {{"listener", bound.listener}, {"protocol", udp ? "udp" : "tcp"}, {"address", bound.address.to_string()}});
    }
    return true;
  }

  void start_operator() {
    std::vector<worker::Worker*> workers;
    for (const auto& worker : workers_) workers.push_back(&worker->worker());
    prober_->set_workers(workers);
    operator_ = std::make_unique<admin::Operator>(directory_, table_, workers,
                                                  ListeningSockets::addresses(sockets_->now(), *directory_.snapshot()),
                                                  std::chrono::steady_clock::now(), &prober_->health_log());
    reloader_ = std::make_unique<Reloader>(Reloader::Parts{.file = file_,
                                                           .machine = machine_,
                                                           .capacity = capacity_,
                                                           .table = table_,
                                                           .admission = *admission_,
                                                           .source_limits = *source_limits_,
                                                           .sockets = *sockets_,
                                                           .prober = *prober_,
                                                           .access_log = *access_log_,
                                                           .desk = *operator_,
                                                           .workers = std::move(workers)},
                                           config_);
    operator_->set_completion([this](admin::Status& status) {
      status.max_connections = admission_->max_connections();
      status.access_log = {
          .lines = access_log_->lines(), .dropped = access_log_->dropped(), .lost = access_log_->lost()};
    });
    operator_->set_reload([this](bool plan) -> Result<admin::ReloadReport> {
      if (stopping_) return Error{"it is stopping"};
      return reloader_->run(plan);
    });
  }

  /// A balancer that nobody can talk to still balances: what is in the way is said, and is no reason not to run.
  void start_control() {
    if (config_.admin.socket.empty()) return;
    Result<std::unique_ptr<admin::ControlServer>> started = admin::ControlServer::start(
        {.path = config_.admin.socket, .request_bytes_max = admin::kRequestBytesMax},
        [this](std::string_view request) { return admin::answer(request, *operator_); }, admin::refusal);
    if (started) {
      control_ = std::move(started).value();
    } else {
      log::warn("control_off", {{"reason", started.error()}});
    }
  }

  void start_http() {
    http_ = HttpService::start(config_.admin,
                               {.ready = [this] { return accepting_.load(std::memory_order_relaxed); },
                                .ask = [this](std::string_view request) { return admin::answer(request, *operator_); },
                                .metrics = [this] { return admin::metrics_text(operator_->status()); }});
  }

  [[nodiscard]] LiveCounts live_counts() const {
    LiveCounts counts{.workers = workers_.size(), .connections = admission_->connections(), .stopping = stopping_};
    const std::shared_ptr<const pool::Snapshot> now = operator_->snapshot();
    const pool::Snapshot& snapshot = *now;
    for (const auto& pool : snapshot.pools) {
      if (pool->retired) continue;
      counts.backends += pool->backends.size();
      counts.backends_up += static_cast<std::uint64_t>(std::count_if(
          pool->backends.begin(), pool->backends.end(),
          [this](const pool::Backend& backend) { return table_.health(backend.id) == pool::HealthState::up; }));
    }
    for (std::uint32_t i = 0; i < snapshot.listeners.size(); ++i) {
      if (snapshot.listeners[i].protocol == pool::Protocol::udp) counts.sessions += admission_->sessions(i);
    }
    for (const auto& worker : workers_) counts.accepted += worker->counters().accepted.get();
    return counts;
  }

  /// Tells the service manager how it goes, on the way to the next signal.
  void report() {
    std::vector<std::uint64_t> passes;
    passes.reserve(workers_.size());
    for (const auto& worker : workers_) passes.push_back(worker->passes());
    if (watchdog_.wanted()) {
      const Watchdog::Verdict verdict = watchdog_.look(passes, std::chrono::steady_clock::now());
      if (verdict.ping) service_manager_.ping();
      for (const std::uint32_t worker : verdict.stalled) log::error("worker_stalled", {{"worker", worker}});
      for (const std::uint32_t worker : verdict.resumed) log::info("worker_resumed", {{"worker", worker}});
    }
    service_manager_.status(live_counts());
  }

  int next_signal() {
    if (!service_manager_.present()) return ::sigwaitinfo(&signals_, nullptr);
    constexpr Nanos kStatusEvery = std::chrono::seconds(2);
    for (;;) {
      const Nanos patience = std::max(report_at_ - std::chrono::steady_clock::now(), Nanos(0));
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(patience);
      const timespec timeout{.tv_sec = whole.count(), .tv_nsec = (patience - whole).count()};
      const int signal = ::sigtimedwait(&signals_, nullptr, &timeout);
      if (signal > 0) return signal;
      report();
      report_at_ = std::chrono::steady_clock::now() + std::min(watchdog_.period(), kStatusEvery);
    }
  }

  void wait_for_end() {
    for (;;) {
      const int signal = next_signal();
      if (signal == kAllWorkersEnded) return;
      if (signal == SIGTERM || signal == SIGINT) stop(signal);
      if (signal == SIGHUP) reload();
      if (signal == SIGUSR1) access_log_->reopen();
      if (signal == SIGUSR2) log::warn("upgrade_refused", {{"reason", "binary upgrade is not built yet"}});
    }
  }

  void reload() {
    if (stopping_) return log::warn("reload_failed", {{"reason", "it is stopping"}});  // nor is systemd told
    service_manager_.reloading();
    static_cast<void>(operator_->reload(/*plan=*/false));  // it logs how that went
    service_manager_.ready(live_counts());
  }

  void stop(int signal) {
    if (stopping_) {
      log::warn("stopping_now", {{"connections", admission_->connections()}});
      for (const auto& worker : workers_) worker->request_stop_now();
      return;
    }
    stopping_ = true;
    accepting_.store(false, std::memory_order_relaxed);  // before any listener closes
    const Nanos patience = reloader_->shutdown_timeout();
    log::info("stopping", {{"signal", signal == SIGTERM ? "SIGTERM" : "SIGINT"},
                           {"connections", admission_->connections()},
                           {"timeout_s", std::chrono::duration<double>(patience).count()}});
    service_manager_.stopping(live_counts(), patience);
    const Instant deadline = std::chrono::steady_clock::now() + patience;
    for (const auto& worker : workers_) worker->request_stop(deadline);
  }

  int finish() {
    http_.reset();
    control_.reset();
    Leftovers left;
    std::uint64_t accepted = 0;
    std::uint64_t refused = 0;
    std::uint64_t connect_failures = 0;
    std::uint64_t dropped = 0;
    UdpSums udp;
    AccessSums access;
    for (const auto& worker : workers_) {
      worker->join();
      const Leftovers leftovers = worker->leftovers();
      left.connections += leftovers.connections;
      left.pipes += leftovers.pipes;
      left.buffers += leftovers.buffers;
      left.upstream_sockets += leftovers.upstream_sockets;
      const worker::Counters& counters = worker->counters();
      accepted += counters.accepted.get();
      refused += counters.refused_total();
      connect_failures += counters.connect_failures.get();
      dropped += counters.closed[static_cast<std::size_t>(flow::CloseReason::drain)].get() +
                 counters.closed[static_cast<std::size_t>(flow::CloseReason::killed)].get();
      udp.add(counters.udp);
      access.add(counters);
    }
    access_log_->stop();
    prober_->stop();
    sockets_->remove_socket_files();
    log::info("stopped", {{"accepted", accepted},
                          {"refused", refused},
                          {"denied", access.denied},
                          {"source_limited", access.source_limited},
                          {"rate_limited", access.rate_limited},
                          {"connect_failures", connect_failures},
                          {"cut_off", dropped},
                          {"connections", left.connections},
                          {"pipes", left.pipes},
                          {"buffers", left.buffers},
                          {"upstream_sockets", left.upstream_sockets},
                          {"sources_counted", source_limits_->counted()},
                          {"access_log_lines", access_log_->lines()},
                          {"access_log_dropped", access_log_->dropped() + access_log_->lost()},
                          {"udp_sessions", udp.sessions},
                          {"udp_evicted", udp.evicted},
                          {"datagrams_in", udp.datagrams_in},
                          {"datagrams_out", udp.datagrams_out},
                          {"datagrams_dropped", udp.dropped},
                          {"messages_in", udp.messages_in},
                          {"messages_out", udp.messages_out}});
    return 0;
  }

  const config::Config& config_;  // at the start
  std::string file_;
  pool::Directory directory_;  // at the start
  pool::BackendTable table_;
  std::vector<int> cpus_;
  std::uint64_t open_files_;
  Machine machine_;
  Capacity capacity_;
  std::unique_ptr<ListeningSockets> sockets_;
  std::unique_ptr<worker::Admission> admission_;
  std::unique_ptr<worker::SourceLimits> source_limits_;
  sigset_t signals_{};
  std::atomic<std::uint32_t> workers_running_{0};
  std::atomic<bool> stopping_{false};   // written by main
  std::atomic<bool> accepting_{false};  // for threads that look
  ServiceManager service_manager_;
  Watchdog watchdog_{0, Nanos(0)};
  Instant report_at_{};
  // Threads last: they end before what they use.
  std::unique_ptr<accesslog::Writer> access_log_;
  std::unique_ptr<ProberThread> prober_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
  std::unique_ptr<admin::Operator> operator_;
  std::unique_ptr<Reloader> reloader_;
  std::unique_ptr<admin::ControlServer> control_;
  std::unique_ptr<HttpService> http_;
};

}  // namespace

int run_balancer(const config::Config& config, const std::string& file) {
  const std::uint64_t open_files = raise_open_files();
  reserve_descriptors(open_files);
  log::start(log_level(config.runtime.log_level), log_format(config.runtime.log_format));
  int status = 1;
  {
    Balancer balancer(config, file, open_files);
    status = balancer.run();
  }
  log::stop();
  return status;
}

}  // namespace millrace::app
