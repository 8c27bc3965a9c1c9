#include "run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <vector>

#include "kernel.hpp"
#include "millrace/pool/snapshot.hpp"
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
  std::unique_ptr<SimIo> sim;
  std::unique_ptr<io::Io> decorated;
  std::unique_ptr<worker::Worker> worker;
  bool stopped = false;

  [[nodiscard]] io::Io& io() const { return decorated != nullptr ? *decorated : *sim; }
};

class Run {
 public:
  explicit Run(const RunOptions& options);
  RunResult go();

 private:
  void add_machine(unsigned index);
  void plan_events();
  void flap_health();
  void request_stop(Nanos drain);
  void request_stop_now();
  void run_until(const std::function<bool()>& done, const char* what);
  void pass_waiting(Machine& machine, Instant limit);
  void pass_interleaved(Instant limit);
  [[nodiscard]] bool everyone_left() const;
  [[nodiscard]] bool all_stopped() const;
  [[nodiscard]] std::uint32_t flows() const;
  [[nodiscard]] std::uint64_t closed(CloseReason reason) const;

  /// Else those that stall hold all of them, and others wait rightly.
  [[nodiscard]] bool buffers_left() const;
  void check_calm_loop();
  void check_all_given_back();
  void check_bytes();
  void check_equal(std::uint64_t actual, std::uint64_t expected, const char* what) const;

  const RunOptions& options_;
  Plan plan_;
  Context context_;
  Kernel kernel_{context_};
  pool::Snapshot snapshot_;
  pool::BackendTable table_;
  std::unique_ptr<worker::Admission> admission_;
  Oracle oracle_;
  World world_;
  std::vector<Machine> machines_;
  Instant started_;
  bool finishing_ = false;
  bool stop_asked_ = false;
};

Run::Run(const RunOptions& options)
    : options_(options),
      plan_(draw_plan(options.seed)),
      context_(mix64(options.seed)),
      snapshot_(pool::build_snapshot(plan_.config)),
      table_(pool::backend_rows(plan_.config)),
      oracle_(context_, plan_.limits()),
      world_(context_, kernel_, oracle_, plan_.listeners, plan_.backends, plan_.traffic) {
  context_.faults = plan_.faults;
  if (options.verbose) context_.trace.print_as_it_goes();
  if (options.on_start) options.on_start(context_.trace);
  oracle_.timeouts_possible = plan_.timeouts_possible();
  std::vector<std::uint32_t> listener_limits;
  for (const pool::Listener& listener : snapshot_.listeners) listener_limits.push_back(listener.max_connections);
  admission_ =
      std::make_unique<worker::Admission>(plan_.config.runtime.max_connections, listener_limits, plan_.workers);
  machines_.resize(plan_.workers);
  for (unsigned i = 0; i < plan_.workers; ++i) add_machine(i);
}

void Run::add_machine(unsigned index) {
  Machine& machine = machines_[index];
  machine.sim = std::make_unique<SimIo>(kernel_, SimIo::Options{.buffers = plan_.buffers,
                                                                .pipe_bytes = plan_.pipe_bytes,
                                                                .backend_queues = plan_.backend_queues,
                                                                .worker = static_cast<int>(index),
                                                                .waits = plan_.workers == 1});
  machine.sim->hooks = oracle_.hooks(static_cast<int>(index));
  if (options_.decorate) machine.decorated = options_.decorate(*machine.sim, options_.seed);
  std::vector<worker::ListenerSocket> sockets;
  for (std::uint32_t i = 0; i < plan_.listeners.size(); ++i) {
    sockets.push_back({.fd = kernel_.open_listener(plan_.listeners[i], plan_.backlog, i), .listener = i});
  }
  machine.worker = std::make_unique<worker::Worker>(
      machine.io(), snapshot_, table_, *admission_, sockets,
      worker::WorkerOptions{.index = index, .slots = 4096, .pipes = plan_.pipes, .seed = options_.seed + index});
}

// ---- what happens when ----

void Run::plan_events() {
  Clock& clock = context_.clock;
  clock.after(plan_.finish_after, [this] {
    check_calm_loop();
    // A short send means an error to a flow, as it does in the kernel; ours may have no error that follows.
    if (buffers_left() && plan_.faults.short_send == 0) oracle_.check_nobody_waits();
    finishing_ = true;
    context_.trace.note("the faults stop", -1, 0);
    context_.faults = Faults::none();
    world_.finish();
  });
  if (plan_.health_flaps) clock.after(context_.up_to(std::chrono::seconds(1)), [this] { flap_health(); });
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
  table_.set_health(id, finishing_ ? HealthState::up : kStates[context_.random.below(kStates.size())]);
  if (!finishing_) context_.clock.after(context_.up_to(std::chrono::milliseconds(500)), [this] { flap_health(); });
}

void Run::request_stop(Nanos drain) {
  stop_asked_ = true;
  context_.trace.note("stop", -1, 0, drain.count() / 1'000'000);
  for (Machine& machine : machines_) machine.worker->request_stop(context_.clock.now() + drain);
}

void Run::request_stop_now() {
  stop_asked_ = true;
  context_.trace.note("stop now", -1, 0);
  for (Machine& machine : machines_) machine.worker->request_stop_now();
}

// ---- the loop ----

RunResult Run::go() {
  started_ = context_.clock.now();
  plan_events();
  world_.start();
  for (Machine& machine : machines_) machine.worker->start();
  run_until([this] { return finishing_ && everyone_left(); }, "a flow outlives its peers");
  request_stop(Nanos(0));
  run_until([this] { return all_stopped(); }, "a worker does not stop");
  check_all_given_back();
  check_bytes();
  RunResult result{.digest = context_.trace.digest()};
  for (const Machine& machine : machines_) {
    const flow::FlowTotals& totals = machine.worker->totals();
    result.flows += machine.worker->counters().accepted.get();
    result.bytes += totals.bytes_copied + totals.bytes_spliced;
    result.spliced += totals.bytes_spliced;
    result.turns += machine.sim->turns();
  }
  machines_.clear();
  if (kernel_.open_descriptors() != 0) context_.trace.fail("a descriptor is left open", kernel_.describe_open());
  return result;
}

bool Run::everyone_left() const {
  return world_.over() && flows() == 0;
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

void Run::run_until(const std::function<bool()>& done, const char* what) {
  const Instant limit = context_.clock.now() + plan_.finish_after + kPatience;
  while (!done()) {
    if (context_.clock.now() >= limit) {
      context_.trace.fail(
          fmt::format("liveness: {}", what), world_.describe_unfinished() + [this] {
            std::string in_flight;
            for (const Machine& machine : machines_) {
              in_flight +=
                  fmt::format("{} flows; in flight: {}\n", machine.worker->flows(), machine.sim->describe_in_flight());
            }
            return in_flight;
          }());
    }
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
    const std::uint64_t allowed = plan_.listeners.size() * (50 + 12 * seconds + 3 * ended);
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

void Run::check_bytes() {
  Excuses excuses;
  excuses.cut_short = closed(CloseReason::idle_timeout) + closed(CloseReason::half_close_timeout) +
                      closed(CloseReason::max_duration) + closed(CloseReason::drain) + closed(CloseReason::killed);
  if (plan_.cuts_possible()) excuses.cut_short = ~std::uint64_t{0};
  oracle_.settle(excuses, plan_.everyone_is_served());
}

}  // namespace

RunResult run(const RunOptions& options) {
  return Run(options).go();
}

}  // namespace millrace::sim
