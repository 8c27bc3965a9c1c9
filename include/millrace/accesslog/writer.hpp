#pragma once
// Writer: the access logs of all listeners, and the one thread that writes them. Each worker has a queue; the thread
// takes records from them, gives numbers their names, and writes lines in batches.
//
// Nothing that a disk, a FIFO or its reader does holds up a worker: what cannot be taken in time is dropped, counted,
// and told of in the log at most once a second (what cannot be written at all: once a minute).
//
// Without a listener that has an access log there is no thread, and the queues are address space that is never touched.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "millrace/accesslog/line.hpp"
#include "millrace/accesslog/queue.hpp"
#include "millrace/base/counter.hpp"

namespace millrace::accesslog {

class Sink;

/// Where the lines of one listener go.
struct Target {
  std::string listener;  // its name
  std::string path;      // "stderr", or of a file; empty: nowhere
  Format format = Format::json;
};

/// Whose records there may be, and what their numbers stand for. A number that is used stays the same in the next one;
/// what a target is missing for is not logged.
struct Targets {
  std::vector<Target> listeners;      // by Record::listener
  std::vector<std::string> pools;     // by Record::pool
  std::vector<std::string> backends;  // by Record::backend
};

class Writer {
 public:
  static constexpr std::uint32_t kQueueRecords = 4096;

  explicit Writer(std::uint32_t workers, std::uint32_t queue_records = kQueueRecords);
  /// stop()
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  /// Records of this worker; it must have ended when the writer stops.
  [[nodiscard]] Queue& queue(std::uint32_t worker) { return *queues_[worker]; }

  // Any thread that is no worker.

  /// Opens the files that are new. Empty, or which one cannot be opened and why: then nothing has changed. Records that
  /// were queued before go where they would have gone; it waits until that is so, a second at most.
  [[nodiscard]] std::string set_targets(const Targets& targets);
  /// Opens all files anew, after what was queued before has been written (log rotation). A file that cannot be opened
  /// is told of in the log, and its listeners go on with the old one.
  void reopen();
  /// Writes out all that is queued, and ends the thread. What is not taken within `patience` is dropped.
  void stop(std::chrono::milliseconds patience = std::chrono::seconds(1));

  /// Records that were dropped because a worker's queue was full.
  [[nodiscard]] std::uint64_t dropped() const;
  /// Lines that were dropped because they could not be written, or not in time.
  [[nodiscard]] std::uint64_t lost() const { return lost_.get(); }
  [[nodiscard]] std::uint64_t lines() const { return lines_.get(); }

 private:
  using SteadyClock = std::chrono::steady_clock;
  struct Open;
  struct Orders {
    std::shared_ptr<const Open> open;
    bool reopen = false;
  };

  void run();
  [[nodiscard]] bool queued() const;
  [[nodiscard]] Orders take_orders();
  void carry_out(const Orders& orders);
  bool take_records();
  void write_record(const Record& record);
  bool write_sinks();
  void reopen_sinks();
  void report();
  void rest(bool busy);

  Bell bell_;
  std::vector<std::unique_ptr<Queue>> queues_;
  Counter lines_;  // that were made
  Counter lost_;

  std::mutex mutex_;                     // guards what follows
  std::shared_ptr<const Open> ordered_;  // the newest targets
  bool reopen_ordered_ = false;
  std::optional<SteadyClock::time_point> stop_at_;
  std::thread thread_;

  std::condition_variable adopted_;
  std::shared_ptr<const Open>
      open_;  // the ones in use; changed by the writer's thread alone, and read by it without it

  // The writer's thread.
  std::string line_;
  std::int64_t unix_offset_ns_ = 0;  // of the clock on the wall to the one of records
  std::optional<SteadyClock::time_point> stopping_at_;
  SteadyClock::time_point reported_at_{};
  std::uint64_t dropped_reported_ = 0;
  std::uint64_t overrun_ = 0;  // not reported yet
};

}  // namespace millrace::accesslog
