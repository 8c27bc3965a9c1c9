// The way of a log line: rendered by the thread that logs, queued by spdlog, written to stderr by its one thread.

#include "millrace/base/log.hpp"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/sink.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <mutex>

#include "millrace/base/assert.hpp"

namespace millrace::log {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr std::size_t kQueueLines = 8192;
constexpr auto kForever = SteadyClock::duration::max();
constexpr std::chrono::milliseconds kPatience(1000);
constexpr int kPollMs = 100;  // how often a writer that is stuck looks whether it should give up

std::atomic<Level> g_level{Level::info};
std::atomic<Format> g_format{Format::text};

std::int64_t unix_ms_now() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

/// Writes lines to stderr. write(2) on a full pipe would block beyond reach, and changing the descriptor to
/// non-blocking would change it for every process that shares it; hence poll first, and write no more at a time than a
/// pipe takes that polls writable.
class StderrWriter {
 public:
  /// Lines that stderr does not take at once are dropped from this time on.
  void give_up_at(SteadyClock::time_point at) { give_up_at_ = at.time_since_epoch(); }

  /// Errors end the line: there is nobody to tell.
  void write_line(std::string_view line) {
    while (!line.empty() && wait_writable()) {
      const ssize_t written = ::write(STDERR_FILENO, line.data(), std::min<std::size_t>(line.size(), PIPE_BUF));
      if (written > 0) {
        line.remove_prefix(static_cast<std::size_t>(written));
      } else if (written < 0 && errno != EINTR && errno != EAGAIN) {
        return;
      }
    }
  }

 private:
  bool wait_writable() {
    for (;;) {
      const int wait_ms = next_wait_ms();
      pollfd watched{STDERR_FILENO, POLLOUT, 0};
      const int ready = ::poll(&watched, 1, wait_ms);
      if (ready > 0) return true;
      if (ready < 0 && errno != EINTR) return false;
      if (wait_ms == 0) return false;
    }
  }

  [[nodiscard]] int next_wait_ms() const {
    const SteadyClock::duration limit = give_up_at_;
    if (limit == kForever) return kPollMs;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(limit - SteadyClock::now().time_since_epoch());
    return static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, kPollMs));
  }

  std::atomic<SteadyClock::duration> give_up_at_{kForever};
};

/// Runs on the writer thread; tells of lines that the queue has dropped before it writes the next one.
class StderrSink final : public spdlog::sinks::sink {
 public:
  void set_pool(spdlog::details::thread_pool* pool) { pool_ = pool; }
  void give_up_at(SteadyClock::time_point at) { writer_.give_up_at(at); }

  void log(const spdlog::details::log_msg& message) override {
    report_dropped();
    writer_.write_line({message.payload.data(), message.payload.size()});
  }
  void flush() override {}
  void set_pattern(const std::string& /*pattern*/) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  void report_dropped() {
    const std::size_t dropped = pool_->overrun_counter();
    if (dropped == reported_) return;
    // Whatever the level: who reads only errors should know that some may be missing.
    std::string line =
        render(g_format, Level::warn, unix_ms_now(), "log_lines_dropped", {{"count", dropped - reported_}});
    line += '\n';
    writer_.write_line(line);
    reported_ = dropped;
  }

  StderrWriter writer_;
  spdlog::details::thread_pool* pool_ = nullptr;
  std::size_t reported_ = 0;
};

/// Signals belong to the threads that ask for them; the writer must never be the one that gets SIGTERM, and a closed
/// pipe must not kill the process by SIGPIPE.
void prepare_writer_thread() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  pthread_setname_np(pthread_self(), "millrace-log");
}

/// The queue, its thread, and what it writes to.
class AsyncWriter {
 public:
  AsyncWriter()
      : sink_(std::make_shared<StderrSink>()),
        pool_(std::make_shared<spdlog::details::thread_pool>(kQueueLines, 1, prepare_writer_thread)),
        logger_(std::make_shared<spdlog::async_logger>("millrace", sink_, pool_,
                                                       spdlog::async_overflow_policy::overrun_oldest)) {
    sink_->set_pool(pool_.get());
    logger_->set_level(spdlog::level::trace);  // the level is ours to check
  }
  ~AsyncWriter() { finish(kPatience); }  // for a process that ends without stop()
  AsyncWriter(const AsyncWriter&) = delete;
  AsyncWriter& operator=(const AsyncWriter&) = delete;

  void post(std::string_view line) {
    logger_->log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
  }

  /// The first call counts.
  void finish(std::chrono::milliseconds patience) {
    if (!pool_) return;
    sink_->give_up_at(SteadyClock::now() + patience);
    pool_.reset();  // lets the thread empty the queue, and joins it
  }

 private:
  std::shared_ptr<StderrSink> sink_;
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> logger_;
};

std::mutex g_mutex;                    // guards g_async; held to queue a line, never to write one
std::unique_ptr<AsyncWriter> g_async;  // null: events are written synchronously
StderrWriter g_sync;                   // used without lock: it only reads its limit

}  // namespace

void start(Level level, Format format) {
  auto async = std::make_unique<AsyncWriter>();
  const std::lock_guard lock(g_mutex);
  MILLRACE_ASSERT(g_async == nullptr, "log started twice");
  change(level, format);
  g_async = std::move(async);
}

void stop(std::chrono::milliseconds patience) {
  std::unique_ptr<AsyncWriter> async;
  {
    const std::lock_guard lock(g_mutex);
    async = std::move(g_async);
  }
  if (async) async->finish(patience);
}

void change(Level level, Format format) {
  g_level = level;
  g_format = format;
}

bool enabled(Level level) {
  return level <= g_level.load(std::memory_order_relaxed);
}

void event(Level level, std::string_view name, std::initializer_list<Field> fields) {
  if (!enabled(level)) return;
  std::string line = render(g_format, level, unix_ms_now(), name, fields);
  line += '\n';
  {
    const std::lock_guard lock(g_mutex);
    if (g_async) return g_async->post(line);
  }
  g_sync.write_line(line);
}

}  // namespace millrace::log
