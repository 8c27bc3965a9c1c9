#include "millrace/health/prober.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "millrace/base/assert.hpp"
#include "millrace/base/log.hpp"
#include "probe.hpp"

namespace millrace::health {

using pool::HealthState;

namespace {

/// Probes of one target start at least this far apart (or an interval, when that is shorter), whatever workers ask for.
constexpr Nanos kMinGap = std::chrono::milliseconds(100);
/// The first round is spread over the jitter, but nobody should wait long for the first answer.
constexpr Nanos kMaxFirstSpread = std::chrono::seconds(1);
constexpr Nanos kLocalFaultPause = std::chrono::seconds(1);
constexpr Nanos kFaultLinePause = std::chrono::seconds(1);

Nanos scaled(Nanos duration, double factor) {
  return Nanos(static_cast<std::int64_t>(static_cast<double>(duration.count()) * factor));
}

Nanos min_gap(const ProbeSettings& settings) {
  return std::min(kMinGap, settings.interval);
}

std::uint32_t max_ejected(std::uint32_t targets, double part) {
  // 0.29 * 100 is 28.999… in binary; nobody means 28.
  return static_cast<std::uint32_t>(std::floor(static_cast<double>(targets) * part + 1e-9));
}

void check(const ProbeSettings& settings) {
  MILLRACE_ASSERT(settings.interval > Nanos(0), "probe interval must be positive");
  MILLRACE_ASSERT(settings.timeout > Nanos(0), "probe timeout must be positive");
  MILLRACE_ASSERT(settings.jitter >= 0 && settings.jitter <= 1, "jitter must be 0 … 1");
  MILLRACE_ASSERT(settings.max_ejected >= 0 && settings.max_ejected <= 1, "max_ejected must be 0 … 1");
}

/// Whether it is the same server, perhaps probed in another way, and at another port.
bool same_backend(const Target& one, const Target& other) {
  const auto host = [](net::Endpoint address) {
    if (!address.is_unix()) address.set_port(0);
    return address;
  };
  return one.pool == other.pool && one.backend == other.backend && host(one.endpoint) == host(other.endpoint);
}

void count(std::atomic<std::uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

struct Prober::Running {
  Running(io::Io& io, TargetState& t) : target(t), probe(io, t.target) {
    alarm.kind = Alarm::Kind::probe;
    alarm.target = &t;
  }
  TargetState& target;
  Probe probe;
  Alarm alarm;
};

Prober::TargetState::TargetState(Target t, PoolState& p)
    : target(std::move(t)), pool(p), fsm(target.settings.rise, target.settings.fall) {
  next_probe.kind = Alarm::Kind::next_probe;
  next_probe.target = this;
  ejection_over.kind = Alarm::Kind::ejection_over;
  ejection_over.target = this;
}

Prober::Prober(io::Io& io, pool::BackendTable& table, std::vector<Target> targets, std::uint64_t seed,
               Observer observer, std::uint32_t max_probes)
    : io_(io),
      table_(table),
      observer_(std::move(observer)),
      rng_(seed),
      wheel_(io.now()),
      probes_(max_probes),
      requested_(std::make_unique<std::atomic<bool>[]>(table.rows())) {
  MILLRACE_ASSERT(max_probes >= 1, "a prober needs room for a probe");
  for (Target& target : targets) add_target(std::move(target));
}

Prober::~Prober() {
  MILLRACE_ASSERT(probes_.in_use() == 0, "prober destroyed with probes in flight");
  for (const auto& [id, t] : targets_) {
    wheel_.disarm(t->next_probe);
    wheel_.disarm(t->ejection_over);
  }
}

// ---- targets ----

Prober::TargetState& Prober::add_target(Target target) {
  check(target.settings);
  const pool::BackendId id = target.id;
  MILLRACE_ASSERT(pool::row(id) < table_.rows(), "target outside the backend table");
  PoolState& pool = pools_[target.pool];
  ++pool.targets;
  const auto [at, fresh] = targets_.try_emplace(id, std::make_unique<TargetState>(std::move(target), pool));
  MILLRACE_ASSERT(fresh, "two targets for one backend");
  requested_[pool::row(id)].store(false, std::memory_order_relaxed);
  return *at->second;
}

/// Its timers do not run any more, and it stands in no line. Its probe may still be in flight.
std::unique_ptr<Prober::TargetState> Prober::remove_target(pool::BackendId id) {
  const auto found = targets_.find(id);
  MILLRACE_ASSERT(found != targets_.end(), "only a target can be removed");
  std::unique_ptr<TargetState> t = std::move(found->second);
  targets_.erase(found);
  wheel_.disarm(t->next_probe);
  wheel_.disarm(t->ejection_over);
  std::erase(waiting_, t.get());
  --t->pool.targets;
  if (t->fsm.state() == HealthState::ejected) --t->pool.ejected;
  return t;
}

void Prober::dismiss(std::unique_ptr<TargetState> t) {
  Running* running = t->running;
  if (running == nullptr) return;
  t->gone = true;
  gone_.push_back(std::move(t));
  running->probe.abandon();
  follow(*running);
}

void Prober::set_targets(std::vector<Target> targets) {
  {
    const std::lock_guard lock(new_targets_mutex_);
    new_targets_ = std::move(targets);
  }
  any_new_targets_.store(true, std::memory_order_release);
  io_.wake();
}

void Prober::take_targets() {
  if (!any_new_targets_.exchange(false, std::memory_order_acquire)) return;
  std::optional<std::vector<Target>> targets;
  {
    const std::lock_guard lock(new_targets_mutex_);
    targets = std::exchange(new_targets_, std::nullopt);
  }
  if (targets) exchange_targets(std::move(*targets));
}

void Prober::exchange_targets(std::vector<Target> targets) {
  std::map<pool::BackendId, bool> wanted;
  for (Target& target : targets) {
    wanted[target.id] = true;
    const auto known = targets_.find(target.id);
    if (known == targets_.end()) {
      begin_round(add_target(std::move(target)));
    } else if (!same_backend(known->second->target, target)) {  // the row was given away between two calls
      dismiss(remove_target(target.id));
      forget(target.id);
      begin_round(add_target(std::move(target)));
    } else if (known->second->target != target) {
      std::unique_ptr<TargetState> before = remove_target(target.id);
      inherit(add_target(std::move(target)), *before);
      dismiss(std::move(before));
    }
  }
  std::vector<pool::BackendId> left;
  for (const auto& [id, t] : targets_) {
    if (!wanted.contains(id)) left.push_back(id);
  }
  for (const pool::BackendId id : left) {
    dismiss(remove_target(id));
    forget(id);
  }
  std::erase_if(pools_, [](const auto& entry) { return entry.second.targets == 0 && entry.second.ejected == 0; });
}

/// Nobody knows anything about it.
void Prober::forget(pool::BackendId id) {
  table_.set_health(id, HealthState::up);
  table_.clear_failures(id);
}

/// A target whose settings have changed keeps its health, and the time of its next probe at the latest.
void Prober::inherit(TargetState& heir, const TargetState& from) {
  const ProbeSettings& settings = heir.target.settings;
  heir.fsm = from.fsm;
  heir.fsm.set_thresholds(settings.rise, settings.fall);
  heir.last_start = from.last_start;
  if (heir.fsm.state() == HealthState::ejected) {
    ++heir.pool.ejected;
    wheel_.arm(heir.ejection_over, heir.fsm.ejected_until());
  }
  if (settings.active) return schedule(heir, io_.now());
  apply(heir, heir.fsm.unprobed(), Cause::unprobed, "no probes any more");
}

// ---- other threads ----

void Prober::request_probe(pool::BackendId id) {
  const std::size_t row = pool::row(id);
  MILLRACE_ASSERT(row < table_.rows(), "backend outside the table");
  // The load first: while a request waits, every failure of every worker comes here.
  if (requested_[row].load(std::memory_order_relaxed)) return;
  if (requested_[row].exchange(true, std::memory_order_release)) return;
  any_requested_.store(true, std::memory_order_release);
  io_.wake();
}

void Prober::stop() {
  stop_requested_.store(true, std::memory_order_release);
  io_.wake();
}

ProbeCounters Prober::counters() const {
  const auto read = [](const std::atomic<std::uint64_t>& counter) { return counter.load(std::memory_order_relaxed); };
  return {.started = read(counters_.started),
          .succeeded = read(counters_.succeeded),
          .failed = read(counters_.failed),
          .local_faults = read(counters_.local_faults),
          .ejections_refused = read(counters_.ejections_refused),
          .stale_completions = read(counters_.stale)};
}

// ---- the loop ----

void Prober::run() {
  while (!stopped()) pass();
}

void Prober::pass() {
  // The first turn only brings the time: the prober may have been built long before its thread started.
  const auto completions = io_.turn(begun_ ? wheel_.next_deadline() : io_.now());
  // Before the timers: what has completed by now was in time.
  for (const io::Completion& completion : completions) dispatch(completion);
  if (stop_requested_.load(std::memory_order_acquire)) {
    wind_down();
    return;
  }
  if (!begun_) begin_rounds();
  take_targets();
  answer_requests();
  run_timers();
  start_waiting();
}

void Prober::begin_rounds() {
  begun_ = true;
  for (const auto& [id, t] : targets_) begin_round(*t);
}

void Prober::begin_round(TargetState& t) {
  const ProbeSettings& settings = t.target.settings;
  if (!settings.active) return;
  const Nanos spread = std::min(scaled(settings.interval, settings.jitter), kMaxFirstSpread);
  schedule(t, io_.now() + scaled(spread, rng_.unit()));
}

void Prober::wind_down() {
  if (!std::exchange(winding_down_, true)) {
    begun_ = true;
    waiting_.clear();
    for (const auto& [id, t] : targets_) {
      wheel_.disarm(t->next_probe);
      wheel_.disarm(t->ejection_over);
    }
    probes_.for_each([this](Running& running) {
      running.probe.abandon();
      follow(running);
    });
  }
  if (probes_.in_use() == 0) stopped_.store(true, std::memory_order_release);
}

void Prober::run_timers() {
  const Instant now = io_.now();
  while (TimerNode* node = wheel_.expire(now)) {
    auto& alarm = static_cast<Alarm&>(*node);  // only alarms are armed in this wheel
    TargetState& t = *alarm.target;
    switch (alarm.kind) {
      case Alarm::Kind::next_probe:
        come_due(t);
        break;
      case Alarm::Kind::ejection_over:
        if (t.target.settings.active) {
          schedule(t, now);
        } else {
          apply(t, t.fsm.restore(now), Cause::ejection_over, "ejection over");
        }
        break;
      case Alarm::Kind::probe: {
        Running& running = *t.running;
        running.probe.timer_fired();
        follow(running);
        break;
      }
    }
  }
}

// ---- scheduling ----

/// The target's next probe starts at `when`, or sooner if that was planned already; never too soon after the last.
void Prober::schedule(TargetState& t, Instant when) {
  if (t.last_start) when = std::max(when, *t.last_start + min_gap(t.target.settings));
  if (t.next_probe.armed() && t.next_probe.deadline() <= when) return;
  wheel_.arm(t.next_probe, when);
}

void Prober::come_due(TargetState& t) {
  if (t.running != nullptr) {
    t.again = true;
    return;
  }
  if (t.waiting && !t.suspect) return;
  if (std::exchange(t.waiting, true)) std::erase(waiting_, &t);
  if (t.suspect) {
    waiting_.push_front(&t);
  } else {
    waiting_.push_back(&t);
  }
}

void Prober::start_waiting() {
  // Bounded: a probe that ends at once (no descriptor) gives its slot back, but is scheduled again for later.
  while (!waiting_.empty() && probes_.in_use() < probes_.capacity()) {
    TargetState& t = *waiting_.front();
    waiting_.pop_front();
    t.waiting = false;
    start(t);
  }
}

void Prober::start(TargetState& t) {
  const Instant now = io_.now();
  t.last_start = now;
  wheel_.disarm(t.next_probe);  // it may have been armed again while the target stood in line
  schedule(t, now + varied_interval(t.target.settings));
  Running* running = probes_.take(io_, t);
  MILLRACE_ASSERT(running != nullptr, "no slot for a probe");
  t.running = running;
  count(counters_.started);
  running->probe.start(probes_.index_of(running), probes_.generation_of(running));
  follow(*running);
}

Nanos Prober::varied_interval(const ProbeSettings& settings) {
  return scaled(settings.interval, 1.0 + settings.jitter * (2.0 * rng_.unit() - 1.0));
}

void Prober::answer_requests() {
  if (!any_requested_.exchange(false, std::memory_order_acquire)) return;
  for (const auto& [id, t] : targets_) {
    if (requested_[pool::row(id)].exchange(false, std::memory_order_acquire)) suspect(*t);
  }
}

void Prober::suspect(TargetState& t) {
  const ProbeSettings& settings = t.target.settings;
  if (settings.passive_failures == 0 || t.fsm.state() != HealthState::up) return;
  if (table_.failures(t.target.id) < settings.passive_failures) return;  // a connect has succeeded since
  if (!settings.active) {
    eject(t);
    table_.clear_failures(t.target.id);
    return;
  }
  t.suspect = true;
  // The verdict of a probe on its way answers as well as that of another one.
  const bool verdict_to_come = t.running != nullptr && !t.running->probe.settled();
  if (!verdict_to_come) schedule(t, io_.now());
}

// ---- probes in flight ----

void Prober::dispatch(const io::Completion& completion) {
  Running* running = probes_.find(completion.tag.slot(), completion.tag.generation());
  if (running == nullptr) {
    if (completion.buffer != io::kNoBuffer) io_.buffers().give_back(completion.buffer);
    count(counters_.stale);
    return;
  }
  running->probe.completed(completion);
  follow(*running);
}

void Prober::follow(Running& running) {
  const auto verdict = running.probe.take_verdict();
  if (verdict && !running.target.gone) judge(running.target, *verdict);
  if (running.probe.finished()) {
    release(running);
  } else {
    wheel_.arm(running.alarm, running.probe.deadline());
  }
}

void Prober::release(Running& running) {
  TargetState& t = running.target;
  wheel_.disarm(running.alarm);
  t.running = nullptr;
  probes_.give_back(&running);
  if (t.gone) {
    std::erase_if(gone_, [&t](const auto& one) { return one.get() == &t; });
    return;
  }
  if (std::exchange(t.again, false) && !winding_down_) schedule(t, io_.now());
}

// ---- decisions ----

void Prober::judge(TargetState& t, const Verdict& verdict) {
  if (verdict.kind == Verdict::Kind::local_fault) {
    postpone(t, verdict);
    return;
  }
  const bool success = verdict.kind == Verdict::Kind::success;
  count(success ? counters_.succeeded : counters_.failed);
  const bool suspected = std::exchange(t.suspect, false);
  const bool failures_stand = table_.failures(t.target.id) >= t.target.settings.passive_failures;
  apply(t, t.fsm.probed(success, io_.now()), verdict.cause, verdict.reason);
  if (!suspected) return;
  if (!success && failures_stand && t.fsm.state() == HealthState::up) eject(t);
  // This verdict answers every request made until now.
  requested_[pool::row(t.target.id)].store(false, std::memory_order_relaxed);
  table_.clear_failures(t.target.id);
}

void Prober::postpone(TargetState& t, const Verdict& verdict) {
  const Instant now = io_.now();
  count(counters_.local_faults);
  ++faults_since_line_;
  if (!last_fault_line_ || now - *last_fault_line_ >= kFaultLinePause) {
    last_fault_line_ = now;
    log::warn("probe_local_fault", {{"pool", t.target.pool},
                                    {"backend", t.target.backend},
                                    {"error", verdict.reason},
                                    {"faults", std::exchange(faults_since_line_, 0)}});
  }
  schedule(t, now + std::min(t.target.settings.interval, kLocalFaultPause));
}

void Prober::eject(TargetState& t) {
  const ProbeSettings& settings = t.target.settings;
  const PoolState& pool = t.pool;
  if (pool.ejected >= max_ejected(pool.targets, settings.max_ejected)) {
    count(counters_.ejections_refused);
    return;
  }
  apply(t, t.fsm.eject(io_.now(), settings.ejection), Cause::failures,
        fmt::format("{} failures in a row", settings.passive_failures));
}

void Prober::apply(TargetState& t, const std::optional<HealthFsm::Flip>& flip, Cause cause, const std::string& reason) {
  if (!flip) return;
  PoolState& pool = t.pool;
  if (flip->from == HealthState::ejected) {
    MILLRACE_ASSERT(pool.ejected != 0, "more ejections ended than began");
    --pool.ejected;
    wheel_.disarm(t.ejection_over);
  }
  if (flip->to == HealthState::ejected) {
    ++pool.ejected;
    wheel_.arm(t.ejection_over, t.fsm.ejected_until());
  }
  if (flip->to == HealthState::up) table_.clear_failures(t.target.id);
  table_.set_health(t.target.id, flip->to);
  if (observer_)
    observer_(Transition{.target = t.target, .from = flip->from, .to = flip->to, .cause = cause, .reason = reason});
}

}  // namespace millrace::health
