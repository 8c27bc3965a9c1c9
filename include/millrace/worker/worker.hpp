#pragma once
// Worker: one thread's share of the balancer: its listening sockets, its flows, its sessions, its timers. Drives one
// io::Io.
//
// The pass: turn() -> completions -> directions that have rested -> timers -> stop requests -> a piece of a task ->
// flows that wait for buffers -> accepting -> datagrams are sent. Every step is bounded; no lock, no allocation, no
// blocking call, no log line per connection. Everything but post() and the request_… members is called on the worker's
// own thread.

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "millrace/accesslog/queue.hpp"
#include "millrace/base/rng.hpp"
#include "millrace/base/slab.hpp"
#include "millrace/base/timer_wheel.hpp"
#include "millrace/flow/pipe_pool.hpp"
#include "millrace/flow/tcp_flow.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/admission.hpp"
#include "millrace/worker/adoption.hpp"
#include "millrace/worker/counters.hpp"
#include "millrace/worker/inspection.hpp"
#include "millrace/worker/mailbox.hpp"
#include "millrace/worker/pools.hpp"
#include "millrace/worker/source_limits.hpp"

namespace millrace::worker {

/// Told of three connect failures in a row and the like; called on the worker's thread. Implemented by the prober.
class ProbeRequests {
 public:
  virtual ~ProbeRequests() = default;
  virtual void request_probe(pool::BackendId id) = 0;
};

struct WorkerOptions {
  std::uint32_t index = 0;     // of this worker, for Admission
  std::uint32_t workers = 1;   // that share the connections
  std::uint32_t slots = 1024;  // flows at most
  flow::PipeLimits pipes{};
  std::uint64_t seed = 1;  // of random_two and of hash tables
  flow::CoalesceLimits coalesce{};
  accesslog::Queue* access_log = nullptr;  // needed when a listener has an access log
  // For UDP listeners only.
  std::uint32_t sessions = 65536;         // at most
  std::uint32_t upstream_sockets = 1024;  // open at most
};

class Access;
class AccessRecords;
class Gathering;
class UdpRelay;

class Worker {
 public:
  /// `source_limits`, of all workers, may be null when no listener has limits by source address.
  Worker(io::Io& io, std::shared_ptr<const pool::Snapshot> snapshot, pool::BackendTable& table, Admission& admission,
         std::span<const ListenerSocket> sockets, const WorkerOptions& options, ProbeRequests* probes = nullptr,
         SourceLimits* source_limits = nullptr);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// Starts accepting.
  void start();
  /// One pass of the loop; waits for work, at most until `wait_until`. False once it has been asked to stop and
  /// everything is given back: no flow, no operation in flight.
  [[nodiscard]] bool pass(Instant wait_until = kNever);

  /// Any thread: stop accepting, let flows finish until `drain_deadline`, then reset what is left.
  void request_stop(Instant drain_deadline);
  /// Any thread: reset everything now.
  void request_stop_now();

  // For tasks.

  /// Appends what is known of the connections and sessions in `count` slots from `from` on, less those that `filter`
  /// does not want, and returns the slot to go on with; nothing after the last.
  [[nodiscard]] std::optional<std::uint64_t> describe(std::uint64_t from, std::uint32_t count,
                                                      const ConnectionFilter& filter, std::vector<ConnectionInfo>& out);
  /// Resets a connection, ends a session. False when it is not there any more.
  [[nodiscard]] bool kill(const ConnectionId& id);
  /// What it gives up is in `adoption` afterwards.
  void adopt(Adoption& adoption);
  /// Stops draining a listening socket; false when it is closed.
  [[nodiscard]] bool keep_socket(io::Fd fd);
  void evict(const Eviction& eviction);

  /// Any thread: has it done on the worker's thread.
  void post(std::shared_ptr<Task> task);

  /// The thread that changes the configuration, before the worker adopts it: there are so many listeners and rows.
  void make_room(std::size_t listeners, std::size_t backend_rows);

  [[nodiscard]] const Counters& counters() const { return counters_; }
  [[nodiscard]] std::uint32_t flows() const { return connections_.in_use(); }
  [[nodiscard]] std::uint32_t sessions() const;          // UDP
  [[nodiscard]] std::uint32_t upstream_sockets() const;  // UDP; open ones
  [[nodiscard]] const flow::PipePool& pipes() const { return pipes_; }
  [[nodiscard]] const flow::FlowTotals& totals() const { return counters_.flows; }
  /// Of one connection, for sizing and tests.
  [[nodiscard]] static std::size_t connection_bytes();

 private:
  struct Connection;
  struct ListenerState;
  enum class StopRequest : std::uint8_t { none, drain, now };

  void dispatch(const io::Completion& completion);
  void on_accept(ListenerState& listener, const io::Completion& completion);
  void on_accept_error(ListenerState& listener, int error);
  void begin_connection(ListenerState& listener, io::Fd client);
  void turn_away(const ListenerState& listener, io::Fd client, const net::Endpoint& peer, Refusal refusal);
  void count_tcp_info(const Connection& connection);
  void handle(Connection& connection, flow::Verdict verdict);
  void on_connect_failed(Connection& connection);
  void connect(Connection& connection);
  void connect_to(Connection& connection, std::uint32_t backend);
  void refuse(Connection& connection, Refusal refusal);
  void release_backend(Connection& connection);
  [[nodiscard]] PoolInUse& pool_of(const Connection& connection);
  void count_local_fault(int error);
  void end_connection(Connection& connection);
  [[nodiscard]] static net::Endpoint source_for(PoolInUse& pool, const pool::Backend& backend);

  void run_rested();
  void run_pipe_turns();
  void run_timers();
  void note_traffic(Connection& connection, const io::Completion& completion);
  void adapt_gathering();
  void run_stop();
  void run_tasks();
  void abort_all(flow::CloseReason reason);
  void rearm_starved();
  [[nodiscard]] bool may_rearm() const;
  void admit_parked(ListenerState& listener);
  void reconcile(ListenerState& listener);
  void drain(ListenerState& listener);
  void set_options(std::uint32_t listener);
  void add_socket(const ListenerSocket& socket);
  void set_sockets(std::span<const ListenerSocket> sockets);
  void open_udp();
  void run_evictions();
  void arm(ListenerState& listener, io::AcceptMode mode);
  void disarm(ListenerState& listener);
  [[nodiscard]] Instant next_wake(Instant wait_until) const;
  [[nodiscard]] bool finished() const;

  io::Io& io_;
  std::shared_ptr<const pool::Snapshot> snapshot_;
  pool::BackendTable& table_;
  Admission& admission_;
  ProbeRequests* probes_;
  std::uint32_t index_;
  WorkerOptions options_;
  Counters counters_;
  Rng rng_;

  TimerWheel timers_;
  flow::PipePool pipes_;
  flow::Coalescer coalescer_;
  flow::FlowContext context_;
  std::deque<flow::FlowOptions> flow_options_;  // by listener; flows point to them
  Pools pools_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<AccessRecords> records_;
  std::unique_ptr<Gathering> gathering_;
  std::vector<ListenerState> listeners_;  // by socket
  Slab<Connection> connections_;
  std::vector<Eviction> evictions_;
  std::uint32_t eviction_next_ = 0;  // the slot that the first due one goes on with
  std::vector<SlotId> starved_;      // flows that wait for buffers; entries of ended flows are skipped
  std::unique_ptr<UdpRelay> udp_;    // null without a UDP listener

  std::optional<Instant> accept_error_logged_;
  std::atomic<StopRequest> stop_request_{StopRequest::none};
  std::atomic<std::int64_t> drain_deadline_{0};  // nanoseconds; written before stop_request_
  bool started_ = false;
  bool stopping_ = false;
  bool aborted_ = false;
  Mailbox mailbox_;
};

}  // namespace millrace::worker
