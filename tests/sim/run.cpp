#include "run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <numeric>
#include <utility>
#include <vector>

#include "datagram_oracle.hpp"
#include "datagram_world.hpp"
#include "kernel.hpp"
#include "millrace/pool/directory.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/adoption.hpp"
#include "millrace/worker/worker.hpp"
#include "oracle.hpp"
#include "plan.hpp"
#include "sim_io.hpp"
#include "world.hpp"

namespace millrace::sim {
namespace {

using flow::CloseReason;

/// A flow that nobody keeps alive must be over by then: the longest are retries of connects that are not answered.
constexpr Nanos kPatience = std::chrono::minutes(10);

struct Machine {  // a worker and what it stands on
  std::unique_ptr<accesslog::Queue> access_log;
  std::unique_ptr<SimIo> sim;
  std::unique_ptr<io::Io> decorated;
  std::unique_ptr<worker::Worker> worker;
  std::vector<worker::ListenerSocket> sockets;  // as it shall have them
  std::shared_ptr<worker::Task> adopting;       // its last change
  std::uint64_t replaced = 0;                   // of its sockets, by others
  bool stopped = false;

  [[nodiscard]] bool settled() {
    if (adopting != nullptr && adopting->wait(Nanos(0))) adopting.reset();
    return adopting == nullptr;
  }
  [[nodiscard]] io::Io& io() const { return decorated != nullptr ? *decorated : *sim; }
};

pool::Directory directory_of(const config::Config& config) {
  pool::Directory directory;
  static_cast<void>(directory.update(config, pool::BackendTable(0)));
  return directory;
}

class Run {
 public:
  explicit Run(const RunOptions& options);
  RunResult go();

 private:
  void add_machine(unsigned index);
  void plan_events();
  void flap_health();
  void reload();
  [[nodiscard]] config::Config draw_config();
  [[nodiscard]] worker::Adoption adoption(unsigned index, const pool::Directory::Changes& changes);
  void set_health(pool::BackendId id, pool::HealthState state);
  void prepare_datagrams();
  void backend_changed(const net::IpEndpoint& backend, bool alive);
  void request_stop(Nanos drain);
  void request_stop_now();
  void run_until(const std::function<bool()>& done, const char* what);
  void pass_waiting(Machine& machine, Instant limit);
  void pass_interleaved(Instant limit);
  [[nodiscard]] bool everyone_left() const;
  [[nodiscard]] bool all_stopped() const;
  [[nodiscard]] std::uint32_t flows() const;
  [[nodiscard]] std::uint32_t sessions() const;
  [[nodiscard]] std::string describe_left() const;
  [[nodiscard]] std::uint64_t closed(CloseReason reason) const;

  /// Else those that stall hold all of them, and others wait rightly.
  [[nodiscard]] bool buffers_left() const;
  void check_calm_loop();
  void check_all_given_back();
  void check_bytes();
  void check_access_logs() const;
  void check_session_limits() const;
  void check_nothing_waits() const;
  void check_datagrams_given_back(const Machine& machine) const;
  void check_datagram_counters() const;
  void check_datagrams();
  void check_equal(std::uint64_t actual, std::uint64_t expected, const char* what) const;

  const RunOptions& options_;
  Plan plan_;
  Context context_;
  Kernel kernel_{context_};
  pool::BackendTable table_;
  pool::Directory directory_;
  std::shared_ptr<const pool::Snapshot> snapshot_;  // the directory's
  std::unique_ptr<worker::Admission> admission_;
  Oracle oracle_;
  World world_;
  DatagramSessions datagram_sessions_;
  DatagramOracle datagram_oracle_;
  DatagramWorld datagram_world_;
  accesslog::Bell bell_;
  std::vector<Machine> machines_;
  Instant started_;
  bool finishing_ = false;
  bool stop_asked_ = false;
};

Run::Run(const RunOptions& options)
    : options_(options),
      plan_(draw_plan(options.seed)),
      context_(mix64(options.seed)),
      table_(pool::backend_rows(plan_.config)),
      directory_(directory_of(plan_.config)),
      snapshot_(directory_.snapshot()),
      oracle_(context_, plan_.limits()),
      world_(context_, kernel_, oracle_, plan_.listeners, plan_.backends, plan_.traffic),
      datagram_sessions_(context_, plan_.datagrams.rules(*snapshot_), table_),
      datagram_oracle_(context_, datagram_sessions_),
      datagram_world_(context_, kernel_.datagrams, datagram_oracle_, plan_.datagrams.addresses(),
                      plan_.datagrams.backends, plan_.datagrams.traffic) {
  context_.faults = plan_.faults;
  if (options.verbose) {
    std::puts((config::to_toml(plan_.config) + plan_.datagrams.describe()).c_str());
    for (const pool::Listener& listener : snapshot_->listeners) {
      if (listener.protocol == pool::Protocol::udp)
        fmt::print("{}: responses {}, max_sessions {}\n", listener.name, listener.responses, listener.max_sessions);
    }
    context_.trace.print_as_it_goes();
  }
  if (options.on_start) options.on_start(context_.trace);
  oracle_.timeouts_possible = plan_.timeouts_possible();
  std::vector<std::uint32_t> listener_limits;
  for (const pool::Listener& listener : snapshot_->listeners) {
    const bool tcp = listener.protocol == pool::Protocol::tcp;
    listener_limits.push_back(tcp ? listener.max_connections : listener.max_sessions);
  }
  admission_ =
      std::make_unique<worker::Admission>(plan_.config.runtime.max_connections, listener_limits, plan_.workers);
  machines_.resize(plan_.workers);
  prepare_datagrams();
  for (unsigned i = 0; i < plan_.workers; ++i) add_machine(i);
}

void Run::prepare_datagrams() {
  kernel_.datagrams.options = plan_.datagrams.network;
  datagram_world_.backend_changed = [this](const net::IpEndpoint& backend, bool alive) {
    if (plan_.datagrams.probed) backend_changed(backend, alive);
  };
  datagram_sessions_.evictions = [this] {
    return std::accumulate(machines_.begin(), machines_.end(), std::uint64_t{0}, [](auto sum, const Machine& machine) {
      const worker::UdpCounters& counters = machine.worker->counters().udp;
      return sum + counters.sessions_closed[static_cast<std::size_t>(CloseReason::evicted)].get();
    });
  };
  datagram_sessions_.short_of_sockets = [this](int worker) {
    const Machine& machine = machines_[static_cast<std::size_t>(worker)];
    return machine.worker->upstream_sockets() >= plan_.datagrams.upstream_sockets;
  };
}

void Run::add_machine(unsigned index) {
  Machine& machine = machines_[index];
  machine.sim = std::make_unique<SimIo>(kernel_, SimIo::Options{.buffers = plan_.buffers,
                                                                .datagram_buffers = plan_.datagrams.buffers,
                                                                .pipe_bytes = plan_.pipe_bytes,
                                                                .backend_queues = plan_.backend_queues,
                                                                .worker = static_cast<int>(index),
                                                                .waits = plan_.workers == 1});
  machine.sim->hooks = oracle_.hooks(static_cast<int>(index));
  machine.sim->datagram_observer = &datagram_oracle_;
  if (options_.decorate) machine.decorated = options_.decorate(*machine.sim, options_.seed);
  std::vector<worker::ListenerSocket>& sockets = machine.sockets;
  for (std::uint32_t i = 0; i < plan_.listeners.size(); ++i) {
    sockets.push_back({.fd = kernel_.open_listener(plan_.listeners[i], plan_.backlog, i), .listener = i});
  }
  for (const DatagramPlan::Listener& listener : plan_.datagrams.listeners) {
    const io::Fd fd = kernel_.open_datagram_listener(listener.bind, static_cast<int>(index), listener.index);
    sockets.push_back({.fd = fd, .listener = listener.index});
  }
  machine.access_log = std::make_unique<accesslog::Queue>(1U << 16U, bell_);
  machine.worker =
      std::make_unique<worker::Worker>(machine.io(), snapshot_, table_, *admission_, sockets,
                                       worker::WorkerOptions{.index = index,
                                                             .slots = 4096,
                                                             .pipes = plan_.pipes,
                                                             .seed = options_.seed + index,
                                                             .coalesce = plan_.coalesce,
                                                             .access_log = machine.access_log.get(),
                                                             .sessions = plan_.datagrams.sessions,
                                                             .upstream_sockets = plan_.datagrams.upstream_sockets});
}

// ---- what happens when ----

void Run::plan_events() {
  Clock& clock = context_.clock;
  clock.after(plan_.finish_after, [this] {
    check_calm_loop();
    // A short send means an error to a flow, as it does in the kernel; ours may have no error that follows.
    if (buffers_left() && plan_.faults.short_send == 0) oracle_.check_nobody_waits();
    check_nothing_waits();
    finishing_ = true;
    context_.trace.note("the faults stop", -1, 0);
    context_.faults = Faults::none();
    world_.finish();
    datagram_world_.finish();
  });
  if (plan_.health_flaps) clock.after(context_.up_to(std::chrono::seconds(1)), [this] { flap_health(); });
  if (plan_.reloads) clock.after(context_.up_to(std::chrono::seconds(1)), [this] { reload(); });
  if (plan_.stop == StopPlan::at_end) return;
  clock.after(plan_.stop_after, [this] {
    if (plan_.stop == StopPlan::now) return request_stop_now();
    const bool hurried = plan_.stop == StopPlan::hurried;
    request_stop(hurried ? context_.up_to(std::chrono::seconds(2)) : 2 * kPatience);
    if (hurried && context_.random.one_in(2)) {
      context_.clock.after(context_.up_to(std::chrono::seconds(2)), [this] { request_stop_now(); });
    }
  });
}

void Run::flap_health() {
  using pool::HealthState;
  const pool::BackendId id{static_cast<std::uint32_t>(context_.random.below(table_.rows()))};
  constexpr std::array kStates = {HealthState::up, HealthState::down, HealthState::ejected};
  set_health(id, finishing_ ? HealthState::up : kStates[context_.random.below(kStates.size())]);
  if (!finishing_) context_.clock.after(context_.up_to(std::chrono::milliseconds(500)), [this] { flap_health(); });
}

/// Backends of TCP pools come and go, weights and algorithms change; some listening sockets are replaced by others.
void Run::reload() {
  if (finishing_ || stop_asked_) return;
  context_.clock.after(context_.up_to(std::chrono::milliseconds(600)), [this] { reload(); });
  for (Machine& machine : machines_) {
    if (!machine.settled()) return;  // a row may be given away once all have done with it
  }
  const auto changes = directory_.update(draw_config(), table_);
  if (!changes) context_.trace.fail("a reload", changes.error());
  snapshot_ = directory_.snapshot();
  for (const auto& pool : snapshot_->pools) {
    context_.trace.check(!pool->backends.empty(), "simulation", "a pool without backends is no configuration");
  }
  for (const auto* ids : {&changes.value().fresh, &changes.value().returned}) {
    for (const pool::BackendId id : *ids) table_.set_barred(id, false);
  }
  context_.trace.note("reload", -1, 0, static_cast<std::int64_t>(changes.value().left.size()));
  for (unsigned i = 0; i < machines_.size(); ++i) {
    Machine& machine = machines_[i];
    machine.worker->make_room(snapshot_->listeners.size(), directory_.owners().size());
    machine.adopting = std::make_shared<worker::Adopt>(adoption(i, changes.value()));
    machine.worker->post(machine.adopting);
  }
}

config::Config Run::draw_config() {
  config::Config config = plan_.config;
  for (config::Pool& pool : config.pools) {
    if (pool.name.starts_with("udp") || context_.random.one_in(3)) continue;
    std::vector<config::Backend> stay = pool.backends;
    std::erase_if(stay, [&](const config::Backend&) { return pool.backends.size() > 1 && context_.random.one_in(3); });
    if (!stay.empty()) pool.backends = std::move(stay);
    for (config::Backend& backend : pool.backends) {
      if (context_.random.one_in(4)) backend.weight = static_cast<std::uint32_t>(context_.between(1, 4));
    }
    if (context_.random.one_in(3)) {
      pool.balance = balance::kAlgorithms[context_.random.below(balance::kAlgorithms.size())];
    }
  }
  return config;
}

worker::Adoption Run::adoption(unsigned index, const pool::Directory::Changes& changes) {
  Machine& machine = machines_[index];
  worker::Adoption made{.snapshot = snapshot_, .fresh = changes.fresh, .returned = changes.returned};
  for (const std::uint32_t pool : changes.pools) {
    made.pools.emplace_back(pool, std::make_unique<worker::PoolInUse>(snapshot_->pools[pool], table_, index));
  }
  if (!plan_.calm) {
    for (const pool::BackendId id : changes.left) {
      if (context_.random.one_in(2))
        made.evictions.push_back({.id = id, .at = context_.clock.now() + context_.up_to(std::chrono::seconds(1))});
    }
  }
  if (!context_.random.one_in(3)) return made;
  made.changes_sockets = true;
  for (worker::ListenerSocket& socket : machine.sockets) {
    if (socket.listener >= plan_.listeners.size() || context_.random.one_in(2)) continue;  // UDP
    socket.fd = kernel_.open_listener(plan_.listeners[socket.listener], plan_.backlog, socket.listener);
    ++machine.replaced;
  }
  made.sockets = machine.sockets;
  return made;
}

void Run::set_health(pool::BackendId id, pool::HealthState state) {
  if (!plan_.datagrams.listeners.empty()) {
    context_.trace.note("health", -1, static_cast<int>(pool::row(id)), static_cast<std::int64_t>(state));
  }
  table_.set_health(id, state);
}

/// What a prober would find out, after a while.
void Run::backend_changed(const net::IpEndpoint& backend, bool alive) {
  using pool::HealthState;
  context_.clock.after(context_.up_to(std::chrono::milliseconds(300)), [this, backend, alive] {
    for (const auto& pool : snapshot_->pools) {
      for (const pool::Backend& row : pool->backends) {
        if (net::IpEndpoint::from(row.address) != backend) continue;
        set_health(row.id, alive || finishing_ ? HealthState::up : HealthState::down);
      }
    }
  });
}

void Run::request_stop(Nanos drain) {
  stop_asked_ = datagram_sessions_.stopping = true;
  context_.trace.note("stop", -1, 0, drain.count() / 1'000'000);
  for (Machine& machine : machines_) machine.worker->request_stop(context_.clock.now() + drain);
}

void Run::request_stop_now() {
  stop_asked_ = datagram_sessions_.stopping = true;
  context_.trace.note("stop now", -1, 0);
  for (Machine& machine : machines_) machine.worker->request_stop_now();
}

// ---- the loop ----

RunResult Run::go() {
  started_ = context_.clock.now();
  plan_events();
  world_.start();
  datagram_world_.start();
  for (Machine& machine : machines_) machine.worker->start();
  run_until([this] { return finishing_ && everyone_left(); }, "a flow or a session outlives its peers");
  check_nothing_waits();
  request_stop(Nanos(0));
  run_until([this] { return all_stopped(); }, "a worker does not stop");
  check_all_given_back();
  check_bytes();
  check_access_logs();
  check_datagrams();
  RunResult result{.digest = context_.trace.digest()};
  for (const Machine& machine : machines_) {
    const flow::FlowTotals& totals = machine.worker->totals();
    result.flows += machine.worker->counters().accepted.get();
    result.bytes += totals.bytes_copied.get() + totals.bytes_spliced.get();
    result.spliced += totals.bytes_spliced.get();
    result.rests += totals.rests.get();
    result.turns += machine.sim->turns();
    result.sessions += machine.worker->counters().udp.sessions.get();
  }
  result.datagrams = datagram_oracle_.totals().to_backends + datagram_oracle_.totals().to_clients;
  machines_.clear();
  if (kernel_.open_descriptors() != 0) context_.trace.fail("a descriptor is left open", kernel_.describe_open());
  return result;
}

bool Run::everyone_left() const {
  const bool sessions_left = plan_.datagrams.sessions_end(plan_.config) && sessions() > 0;
  return world_.over() && flows() == 0 && datagram_world_.over() && !sessions_left;
}

bool Run::all_stopped() const {
  return std::all_of(machines_.begin(), machines_.end(), [](const Machine& machine) { return machine.stopped; });
}

bool Run::buffers_left() const {
  return std::all_of(machines_.begin(), machines_.end(),
                     [](const Machine& machine) { return machine.io().buffers().free_count() > 0; });
}

std::uint32_t Run::flows() const {
  return std::accumulate(machines_.begin(), machines_.end(), 0U,
                         [](std::uint32_t sum, const Machine& machine) { return sum + machine.worker->flows(); });
}

std::uint32_t Run::sessions() const {
  return std::accumulate(machines_.begin(), machines_.end(), 0U,
                         [](std::uint32_t sum, const Machine& machine) { return sum + machine.worker->sessions(); });
}

std::string Run::describe_left() const {
  std::string text = world_.describe_unfinished() + datagram_world_.describe_unfinished();
  for (const Machine& machine : machines_) {
    text += fmt::format("{} flows, {} sessions; in flight: {}\n", machine.worker->flows(), machine.worker->sessions(),
                        machine.sim->describe_in_flight());
  }
  return text;
}

void Run::run_until(const std::function<bool()>& done, const char* what) {
  const Instant limit = context_.clock.now() + plan_.finish_after + kPatience;
  while (!done()) {
    if (context_.clock.now() >= limit) {
      context_.trace.fail(fmt::format("liveness: {}", what), describe_left());
    }
    check_session_limits();
    if (machines_.size() == 1) {
      pass_waiting(machines_.front(), limit);
    } else {
      pass_interleaved(limit);
    }
  }
}

void Run::pass_waiting(Machine& machine, Instant limit) {
  if (machine.stopped) {
    context_.clock.run_next(limit);
  } else {
    machine.stopped = !machine.worker->pass(limit);
  }
}

/// One pass of a worker that has something to do, or else a step of time.
void Run::pass_interleaved(Instant limit) {
  Instant next = limit;
  std::vector<Machine*> ready;
  for (Machine& machine : machines_) {
    if (machine.stopped) continue;
    const Instant wakes_at = machine.sim->wakes_at();
    next = std::min(next, wakes_at);
    if (wakes_at <= context_.clock.now()) ready.push_back(&machine);
  }
  if (ready.empty()) {
    context_.clock.run_next(next);
    return;
  }
  Machine& machine = *ready[context_.random.below(ready.size())];
  machine.stopped = !machine.worker->pass(limit);
}

// ---- checks ----

void Run::check_equal(std::uint64_t actual, std::uint64_t expected, const char* what) const {
  if (actual != expected) context_.trace.fail("not given back", fmt::format("{}: {}, not {}", what, actual, expected));
}

/// Out of descriptors must not mean that accepting spins.
void Run::check_calm_loop() {
  const auto seconds = static_cast<std::uint64_t>((context_.clock.now() - started_) / std::chrono::seconds(1));
  for (const Machine& machine : machines_) {
    const std::uint64_t ended = machine.worker->counters().accepted.get();
    // Each socket pauses by itself; one that has been replaced goes on for a second.
    const std::uint64_t allowed = plan_.listeners.size() * (50 + 12 * seconds + 3 * ended) + machine.replaced * 12;
    if (machine.sim->accept_errors() > allowed) {
      context_.trace.fail("accepting spins", fmt::format("{} errors in {} s", machine.sim->accept_errors(), seconds));
    }
  }
}

void Run::check_all_given_back() {
  check_equal(admission_->connections(), 0, "admitted connections");
  for (std::uint32_t i = 0; i < table_.rows(); ++i)
    check_equal(table_.active(pool::BackendId{i}), 0, "active of a backend");
  for (const Machine& machine : machines_) {
    check_equal(machine.worker->flows(), 0, "slots");
    check_equal(machine.sim->in_flight(), 0, "operations in flight");
    check_equal(machine.io().buffers().free_count(), plan_.buffers.count, "free buffers");
    check_equal(machine.worker->pipes().taken(), 0, "pipes");
    check_datagrams_given_back(machine);
    const worker::Counters& counters = machine.worker->counters();
    check_equal(counters.late_completions.get(), 0, "late completions");
    std::uint64_t ended = 0;
    for (const worker::Counter& counter : counters.closed) ended += counter.get();
    check_equal(ended, counters.accepted.get(), "flows with a close reason");
    check_equal(counters.closed[static_cast<std::size_t>(CloseReason::none)].get(), 0, "flows closed for no reason");
  }
}

std::uint64_t Run::closed(CloseReason reason) const {
  std::uint64_t sum = 0;
  for (const Machine& machine : machines_) {
    sum += machine.worker->counters().closed[static_cast<std::size_t>(reason)].get();
  }
  return sum;
}

/// Every connection and session of a listener that has a log is in it once, with all its bytes.
void Run::check_access_logs() const {
  struct Sums {
    std::uint64_t records = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t bytes_out = 0;
  };
  for (const Machine& machine : machines_) {
    std::vector<Sums> logged(snapshot_->listeners.size());
    check_equal(machine.access_log->dropped(), 0, "records of the access log that were dropped");
    while (const accesslog::Record* record = machine.access_log->front()) {
      Sums& sums = logged[record->listener];
      ++sums.records;
      sums.bytes_in += record->bytes_in;
      sums.bytes_out += record->bytes_out;
      machine.access_log->pop();
    }
    for (std::size_t i = 0; i < logged.size(); ++i) {
      const worker::ListenerCounters& counters = machine.worker->counters().listeners[i];
      const bool wanted = snapshot_->listeners[i].access_log;
      // Of UDP clients that get no session every datagram is counted; no line is written.
      const bool tcp = snapshot_->listeners[i].protocol == pool::Protocol::tcp;
      const std::uint64_t no_slot = counters.refused[static_cast<std::size_t>(worker::Refusal::no_slot)].get();
      const std::uint64_t turned_away = tcp ? no_slot : 0;
      check_equal(logged[i].records, wanted ? counters.begun.get() + turned_away : 0, "records of the access log");
      if (!wanted) continue;
      check_equal(logged[i].bytes_in, counters.traffic.from_clients.get(), "bytes in the access log, from clients");
      check_equal(logged[i].bytes_out, counters.traffic.from_backends.get(), "bytes in the access log, to clients");
    }
  }
}

void Run::check_bytes() {
  Excuses excuses;
  excuses.cut_short = closed(CloseReason::idle_timeout) + closed(CloseReason::half_close_timeout) +
                      closed(CloseReason::max_duration) + closed(CloseReason::drain) + closed(CloseReason::killed);
  if (plan_.cuts_possible()) excuses.cut_short = ~std::uint64_t{0};
  oracle_.settle(excuses, plan_.everyone_is_served());
}

// ---- datagrams ----

/// After every pass: no more sessions than configured, over all workers; each holds one place of a backend at most.
void Run::check_session_limits() const {
  if (plan_.datagrams.listeners.empty()) return;
  std::uint64_t most = 0;
  for (const DatagramPlan::Listener& listener : plan_.datagrams.listeners) {
    const std::uint32_t limit = snapshot_->listeners[listener.index].max_sessions;
    if (admission_->sessions(listener.index) > limit) {
      context_.trace.fail("max_sessions", fmt::format("{} of {}", admission_->sessions(listener.index), limit));
    }
    most += admission_->sessions(listener.index);
  }
  check_equal(sessions(), most, "admitted sessions");
  std::uint64_t active = 0;
  for (const auto& pool : snapshot_->pools) {
    const bool udp = pool->name.starts_with("udp");
    for (const pool::Backend& backend : pool->backends) {
      const std::uint32_t count = table_.active(backend.id);
      if (udp) active += count;
      if (backend.max_connections != 0 && count > backend.max_connections) {
        context_.trace.fail("max_connections of a backend", fmt::format("{}: {}", backend.name, count));
      }
    }
  }
  if (active > most) context_.trace.fail("more active than sessions", fmt::format("{} and {}", active, most));
}

/// Three seconds are far more than any lack of buffers and all faults of a run can add up to.
void Run::check_nothing_waits() const {
  if (stop_asked_) return;  // what comes then is left where it is
  const DatagramSocket* socket = kernel_.datagrams.stuck(std::chrono::seconds(3));
  if (socket == nullptr) return;
  context_.trace.fail("datagrams wait in vain",
                      fmt::format("{} at #{}, port {}", socket->received.size(), socket->fd, socket->address.port()));
}

void Run::check_datagrams_given_back(const Machine& machine) const {
  check_equal(machine.worker->sessions(), 0, "sessions");
  check_equal(machine.worker->upstream_sockets(), 0, "upstream sockets");
  check_equal(machine.io().datagram_buffers().free_count(), plan_.datagrams.buffers, "free datagram buffers");
  const worker::UdpCounters& counters = machine.worker->counters().udp;
  std::uint64_t ended = 0;
  for (const worker::Counter& counter : counters.sessions_closed) ended += counter.get();
  check_equal(ended, counters.sessions.get(), "sessions with a close reason");
}

/// What the workers have counted is what their Io has seen.
void Run::check_datagram_counters() const {
  DatagramTotals counted;
  std::uint64_t dropped = 0;
  std::uint64_t resent = 0;
  std::uint64_t uncounted = 0;
  for (const Machine& machine : machines_) {
    const worker::UdpCounters& counters = machine.worker->counters().udp;
    counted.messages_in += counters.messages_received.get();
    counted.messages_out += counters.messages_sent.get();
    counted.from_clients += counters.datagrams_from_clients.get();
    counted.to_backends += counters.datagrams_to_backends.get();
    counted.from_backends += counters.datagrams_from_backends.get();
    counted.to_clients += counters.datagrams_to_clients.get();
    dropped += counters.dropped_total();
    resent += counters.resent.get();
    uncounted += counters.dropped[static_cast<std::size_t>(worker::Drop::no_memory)].get();
  }
  const DatagramTotals& seen = datagram_oracle_.totals();
  check_equal(counted.messages_in, seen.messages_in, "messages received");
  check_equal(counted.messages_out, seen.messages_out, "messages sent");
  check_equal(counted.from_clients, seen.from_clients, "datagrams from clients");
  check_equal(counted.to_backends, seen.to_backends, "datagrams to backends");
  check_equal(counted.from_backends, seen.from_backends, "datagrams from backends");
  check_equal(counted.to_clients, seen.to_clients, "datagrams to clients");
  check_equal(uncounted, 0, "datagrams for which there was no message");
  // Each one is forwarded or dropped. One that came back and could not be sent again counts as both.
  const std::uint64_t in = seen.from_clients + seen.from_backends + resent;
  const std::uint64_t out = seen.to_backends + seen.to_clients + dropped;
  if (out < in || out > in + seen.returned - std::min(resent, seen.returned)) {
    context_.trace.fail(
        "datagrams are neither forwarded nor dropped",
        fmt::format("{} in, {} resent, {} out, {} dropped, {} returned", seen.from_clients + seen.from_backends, resent,
                    out - dropped, dropped, seen.returned));
  }
}

void Run::check_datagrams() {
  if (plan_.datagrams.listeners.empty()) return;
  const Instant all_arrived = context_.clock.now() + std::chrono::seconds(1);
  while (context_.clock.run_next(all_arrived)) {
  }
  check_datagram_counters();
  if (plan_.stop != StopPlan::at_end) return;
  if (plan_.datagrams.calm) datagram_oracle_.settle_calm();
  if (plan_.datagrams.deaths) datagram_oracle_.settle_deaths(plan_.datagrams.traffic.paths.front().keeps_trains);
}

}  // namespace

RunResult run(const RunOptions& options) {
  return Run(options).go();
}

}  // namespace millrace::sim
