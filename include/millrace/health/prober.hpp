#pragma once
// Prober: finds out which backends work, and is the only writer of their health in the backend table.
//
// It probes every active target in a round of its own (interval with jitter), counts results in a HealthFsm, and ejects
// backends that real traffic fails to reach. It lives on one thread with an Io of its own, and never holds up a worker;
// only request_probe(), set_targets(), stop(), stopped() and counters() may be called from other threads. The Io must
// outlive it, and must be its own: all completions of that Io are the prober's.
//
// One probe per target at a time, and at most `max_probes` in all; further ones wait in line. A probe connects, sends
// and compares the answer if asked to, and then closes in order: FIN, waiting for the backend's FIN (100 ms at most),
// so that a probe is not a reset in the backend's log. The backend's verdict is given before the close and does not
// wait for it. A probe over UDP sends one datagram and takes the first one that comes back as the answer; it has
// nothing to close in order.
//
// What is short on this machine (descriptors, ports, memory) says nothing about a backend: such a probe has no verdict,
// is counted, logged once a second at most, and repeated after a second (or the interval, when that is shorter).
//
// Passive health: a worker that sees `passive_failures` connects in a row fail, or that many ICMP errors without a
// reply between them (BackendTable::count_failure), calls request_probe(); calling it again for further failures is
// fine. If the failures still stand and the probe that follows at once fails too, the backend is ejected; without
// active probes it is ejected right away. `rise` good probes end it early; when the time is over the next probe
// decides; without probes the backend is up again. No more than `max_ejected` of a pool's targets are ejected at a
// time. After every such decision the count of failures starts again from 0. A backend that is not up is not probed out
// of turn: under fail_open its failures would make a storm of probes.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "millrace/base/rng.hpp"
#include "millrace/base/slab.hpp"
#include "millrace/base/time.hpp"
#include "millrace/base/timer_wheel.hpp"
#include "millrace/health/cause.hpp"
#include "millrace/health/health_fsm.hpp"
#include "millrace/health/target.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::health {

struct Verdict;

/// A backend's health changed. Valid during the call only.
struct Transition {
  const Target& target;
  pool::HealthState from;
  pool::HealthState to;  // outcome(cause)
  Cause cause;
  std::string reason;  // "connect refused", "no answer", "3 failures in a row", "probe succeeded", …
};

/// Since the start.
struct ProbeCounters {
  std::uint64_t started = 0;
  std::uint64_t succeeded = 0;
  std::uint64_t failed = 0;
  std::uint64_t local_faults = 0;
  std::uint64_t ejections_refused = 0;  // because of max_ejected
  std::uint64_t stale_completions = 0;  // of no probe in flight; 0 unless the Io breaks its contract
};

class Prober {
 public:
  using Observer = std::function<void(const Transition&)>;
  static constexpr std::uint32_t kMaxProbes = 256;

  /// Backends that are not in `targets` are never touched. The observer is called on the prober's thread, after the
  /// table has changed; it may be empty.
  Prober(io::Io& io, pool::BackendTable& table, std::vector<Target> targets, std::uint64_t seed, Observer observer,
         std::uint32_t max_probes = kMaxProbes);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  /// Passes until stop() was called and every probe in flight has been closed.
  void run();
  /// One turn of the loop: waits for the next event, then handles everything that is due.
  void pass();

  /// Any thread: real traffic reached the threshold of failures.
  void request_probe(pool::BackendId id);
  /// Any thread: from its next pass on, these are the targets. One that is the same as before goes on as if nothing had
  /// happened; one that has changed keeps its health. What is no target any more is left behind as up.
  void set_targets(std::vector<Target> targets);
  /// Any thread: ask run() to end. Probes in flight are cut short, without a verdict.
  void stop();
  /// Any thread: stop() was called and nothing is in flight any more.
  [[nodiscard]] bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  /// Any thread.
  [[nodiscard]] ProbeCounters counters() const;

 private:
  struct TargetState;
  struct Alarm : TimerNode {
    enum class Kind : std::uint8_t { next_probe, ejection_over, probe } kind = Kind::next_probe;
    TargetState* target = nullptr;
  };
  struct Running;  // a probe in flight or closing, in its slot
  struct PoolState {
    std::uint32_t targets = 0;
    std::uint32_t ejected = 0;
  };
  struct TargetState {
    TargetState(Target t, PoolState& p);
    Target target;
    PoolState& pool;
    HealthFsm fsm;
    Running* running = nullptr;
    std::optional<Instant> last_start;
    bool waiting = false;  // in waiting_
    bool again = false;    // came due while a probe was running
    bool suspect = false;  // real traffic failed: the next verdict may eject
    bool gone = false;     // no target any more; it is there until its probe has ended
    Alarm next_probe;
    Alarm ejection_over;
  };
  struct AtomicCounters {
    std::atomic<std::uint64_t> started{0}, succeeded{0}, failed{0}, local_faults{0}, ejections_refused{0}, stale{0};
  };

  TargetState& add_target(Target target);
  [[nodiscard]] std::unique_ptr<TargetState> remove_target(pool::BackendId id);
  void inherit(TargetState& heir, const TargetState& from);
  void dismiss(std::unique_ptr<TargetState> target);
  void forget(pool::BackendId id);
  void take_targets();
  void exchange_targets(std::vector<Target> targets);
  void begin_rounds();
  void begin_round(TargetState& t);
  void wind_down();

  // Scheduling.
  void schedule(TargetState& t, Instant when);
  void come_due(TargetState& t);
  void start_waiting();
  void start(TargetState& t);
  void run_timers();
  void answer_requests();
  void suspect(TargetState& t);
  [[nodiscard]] Nanos varied_interval(const ProbeSettings& settings);

  // Probes in flight.
  void dispatch(const io::Completion& completion);
  void follow(Running& running);
  void release(Running& running);

  // Decisions.
  void judge(TargetState& t, const Verdict& verdict);
  void postpone(TargetState& t, const Verdict& verdict);
  void eject(TargetState& t);
  void apply(TargetState& t, const std::optional<HealthFsm::Flip>& flip, Cause cause, const std::string& reason);

  io::Io& io_;
  pool::BackendTable& table_;
  Observer observer_;
  Rng rng_;
  TimerWheel wheel_;
  std::map<pool::BackendId, std::unique_ptr<TargetState>> targets_;  // never moved: timers live in them
  std::vector<std::unique_ptr<TargetState>> gone_;                   // whose last probe has not ended
  std::map<std::string, PoolState> pools_;                           // by name
  Slab<Running> probes_;
  std::deque<TargetState*> waiting_;  // due, but every slot is taken; suspects come first
  std::optional<Instant> last_fault_line_;
  std::uint64_t faults_since_line_ = 0;
  bool begun_ = false;
  bool winding_down_ = false;

  // Shared with other threads.
  std::unique_ptr<std::atomic<bool>[]> requested_;  // by row
  std::atomic<bool> any_requested_{false};          // set after a flag of requested_, cleared before reading them
  std::mutex new_targets_mutex_;
  std::optional<std::vector<Target>> new_targets_;  // under the mutex
  std::atomic<bool> any_new_targets_{false};        // set after, cleared before
  std::atomic<bool> stop_requested_{false};
  std::atomic<bool> stopped_{false};
  AtomicCounters counters_;
};

}  // namespace millrace::health
