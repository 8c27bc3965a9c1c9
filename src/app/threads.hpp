#pragma once
// The threads of the balancer: a worker each, and the prober. Each makes its own ring on its own thread (a ring belongs
// to the thread that made it) and reports how that went.

#include <atomic>
#include <cstdint>
#include <future>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "capacity.hpp"
#include "millrace/admin/health_log.hpp"
#include "millrace/config/config.hpp"
#include "millrace/health/prober.hpp"
#include "millrace/io/uring_io.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/worker.hpp"

namespace millrace::app {

/// The prober's thread. start() returns when its ring works.
class ProberThread : public worker::ProbeRequests {
 public:
  ProberThread(const config::Config& config, std::shared_ptr<const pool::Snapshot> snapshot, pool::BackendTable& table,
               const io::UringFeatures& features);
  ~ProberThread() override;

  [[nodiscard]] const admin::HealthLog& health_log() const { return health_log_; }

  /// Empty, or what went wrong.
  [[nodiscard]] std::string start();
  void stop();
  void request_probe(pool::BackendId id) override;
  /// Once it has started.
  void reload(const config::Config& config, std::shared_ptr<const pool::Snapshot> snapshot);
  /// Who ends connections to backends that went down (`on_down`); they must not end before stop().
  void set_workers(std::vector<worker::Worker*> workers);

 private:
  void main(std::promise<std::string>& started);
  void on_transition(const health::Transition& transition);

  void close_connections(const pool::Pool& pool, pool::BackendId id);

  std::vector<health::Target> targets_;  // at the start
  std::mutex mutex_;                     // over the next two
  std::shared_ptr<const pool::Snapshot> snapshot_;
  std::vector<worker::Worker*> workers_;
  pool::BackendTable& table_;
  io::UringFeatures features_;
  admin::HealthLog health_log_;
  std::unique_ptr<io::Io> io_;
  std::unique_ptr<health::Prober> prober_;
  std::thread thread_;
};

/// A number that clients cannot know.
[[nodiscard]] std::uint64_t random_seed();

/// What a worker had left when it stopped; all zero unless there is a bug.
struct Leftovers {
  std::uint64_t connections = 0;  // and UDP sessions
  std::uint64_t pipes = 0;
  std::uint64_t buffers = 0;
  std::uint64_t upstream_sockets = 0;
};

class WorkerThread {
 public:
  struct Setup {
    std::uint32_t index = 0;
    int cpu = -1;  // to pin to; -1: not
    Capacity capacity;
    io::UringFeatures features;
    std::vector<worker::ListenerSocket> sockets;
    Nanos longest_wait = Nanos::max();  // a pass is made at least this often, also when there is nothing to do
    Nanos busy_poll{0};
    accesslog::Queue* access_log = nullptr;
  };

  /// `source_limits` may be null when no listener has limits by source address.
  WorkerThread(Setup setup, std::shared_ptr<const pool::Snapshot> snapshot, pool::BackendTable& table,
               worker::Admission& admission, worker::SourceLimits* source_limits, worker::ProbeRequests* probes);
  ~WorkerThread();

  /// Makes the ring and begins to accept. Empty, or what went wrong. `on_end` runs on the thread when it ends.
  [[nodiscard]] std::string start(std::function<void()> on_end);
  void request_stop(Instant drain_deadline) { worker_->request_stop(drain_deadline); }
  void request_stop_now() { worker_->request_stop_now(); }
  void join();

  /// Once it has started.
  [[nodiscard]] worker::Worker& worker() { return *worker_; }
  [[nodiscard]] const worker::Counters& counters() const { return worker_->counters(); }
  [[nodiscard]] Leftovers leftovers() const;
  /// So far; Watchdog::kEnded once it has ended. Any thread.
  [[nodiscard]] std::uint64_t passes() const { return passes_.load(std::memory_order_relaxed); }

 private:
  void main(std::promise<std::string>& started, const std::function<void()>& on_end);
  void loop();

  Setup setup_;
  std::shared_ptr<const pool::Snapshot> snapshot_;
  pool::BackendTable& table_;
  worker::Admission& admission_;
  worker::SourceLimits* source_limits_;
  worker::ProbeRequests* probes_;
  std::unique_ptr<io::Io> io_;
  std::unique_ptr<worker::Worker> worker_;
  alignas(64) std::atomic<std::uint64_t> passes_{0};  // written by the worker all the time
  alignas(64) std::thread thread_;
};

}  // namespace millrace::app
