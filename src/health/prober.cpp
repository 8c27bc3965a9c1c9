#include "millrace/health/prober.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_map>
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

void count(std::atomic<std::uint64_t>& counter) {
  counter.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

struct Prober::Running {
  Running(io::Io& io, TargetState& t) : target(t), probe(io, t.target) {
    alarm.kind = Alarm::Kind::probe;
    alarm.target = t.index;
  }
  TargetState& target;
  Probe probe;
  Alarm alarm;
};

Prober::TargetState::TargetState(Target t, std::uint32_t i)
    : target(std::move(t)), index(i), fsm(target.settings.rise, target.settings.fall) {
  next_probe.kind = Alarm::Kind::next_probe;
  next_probe.target = i;
  ejection_over.kind = Alarm::Kind::ejection_over;
  ejection_over.target = i;
}

Prober::Prober(io::Io& io, pool::BackendTable& table, std::vector<Target> targets, std::uint64_t seed,
               Observer observer, std::uint32_t max_probes)
    : io_(io),
      table_(table),
      observer_(std::move(observer)),
      rng_(seed),
      wheel_(io.now()),
      probes_(max_probes),
      target_of_row_(table.rows(), kNoTarget),
      requested_(std::make_unique<std::atomic<bool>[]>(targets.size())) {
  MILLRACE_ASSERT(max_probes >= 1, "a prober needs room for a probe");
  std::unordered_map<std::string, std::uint32_t> pool_by_name;
  for (Target& target : targets) {
    const auto [at, fresh] = pool_by_name.try_emplace(target.pool, static_cast<std::uint32_t>(pools_.size()));
    if (fresh) pools_.emplace_back();
    ++pools_[at->second].targets;
    add_target(std::move(target));
    targets_.back().pool = at->second;
  }
}

Prober::~Prober() {
  MILLRACE_ASSERT(probes_.in_use() == 0, "prober destroyed with probes in flight");
  for (TargetState& t : targets_) {
    wheel_.disarm(t.next_probe);
    wheel_.disarm(t.ejection_over);
  }
}

void Prober::add_target(Target target) {
  check(target.settings);
  const auto index = static_cast<std::uint32_t>(targets_.size());
  const std::size_t row = pool::row(target.id);
  MILLRACE_ASSERT(row < target_of_row_.size(), "target outside the backend table");
  MILLRACE_ASSERT(target_of_row_[row] == kNoTarget, "two targets for one backend");
  target_of_row_[row] = index;
  targets_.emplace_back(std::move(target), index);
}

// ---- other threads ----

void Prober::request_probe(pool::BackendId id) {
  const std::size_t row = pool::row(id);
  MILLRACE_ASSERT(row < target_of_row_.size(), "backend outside the table");
  const std::uint32_t index = target_of_row_[row];
  // The load first: while a request waits, every failure of every worker comes here.
  if (index == kNoTarget || requested_[index].load(std::memory_order_relaxed)) return;
  if (requested_[index].exchange(true, std::memory_order_release)) return;
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
  answer_requests();
  run_timers();
  start_waiting();
}

void Prober::begin_rounds() {
  begun_ = true;
  for (TargetState& t : targets_) {
    const ProbeSettings& settings = t.target.settings;
    if (!settings.active) continue;
    const Nanos spread = std::min(scaled(settings.interval, settings.jitter), kMaxFirstSpread);
    schedule(t, io_.now() + scaled(spread, rng_.unit()));
  }
}

void Prober::wind_down() {
  if (!std::exchange(winding_down_, true)) {
    begun_ = true;
    waiting_.clear();
    for (TargetState& t : targets_) {
      wheel_.disarm(t.next_probe);
      wheel_.disarm(t.ejection_over);
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
    TargetState& t = targets_[alarm.target];
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
  if (std::exchange(t.waiting, true)) std::erase(waiting_, t.index);
  if (t.suspect) {
    waiting_.push_front(t.index);
  } else {
    waiting_.push_back(t.index);
  }
}

void Prober::start_waiting() {
  // Bounded: a probe that ends at once (no descriptor) gives its slot back, but is scheduled again for later.
  while (!waiting_.empty() && probes_.in_use() < probes_.capacity()) {
    TargetState& t = targets_[waiting_.front()];
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
  for (TargetState& t : targets_) {
    if (requested_[t.index].exchange(false, std::memory_order_acquire)) suspect(t);
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
  if (const auto verdict = running.probe.take_verdict()) judge(running.target, *verdict);
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
  requested_[t.index].store(false, std::memory_order_relaxed);
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
  const PoolState& pool = pools_[t.pool];
  if (pool.ejected >= max_ejected(pool.targets, settings.max_ejected)) {
    count(counters_.ejections_refused);
    return;
  }
  apply(t, t.fsm.eject(io_.now(), settings.ejection), Cause::failures,
        fmt::format("{} failures in a row", settings.passive_failures));
}

void Prober::apply(TargetState& t, const std::optional<HealthFsm::Flip>& flip, Cause cause, const std::string& reason) {
  if (!flip) return;
  PoolState& pool = pools_[t.pool];
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
