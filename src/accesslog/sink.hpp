#pragma once
// Sink: where lines go: a file, a FIFO, or stderr. Never waits: what is not taken at once is kept, up to a bound; lines
// beyond it are dropped and counted. A line that was begun is always ended before another one is written.
//
// Opened by any thread, then used by the writer's alone.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "millrace/base/counter.hpp"
#include "millrace/base/result.hpp"

namespace millrace::accesslog {

class Sink {
 public:
  static constexpr std::string_view kStderr = "stderr";
  static constexpr std::size_t kPendingMax = 1024 * 1024;

  /// Counts every line that it drops in `lost`. The error says what is in the way and what helps.
  [[nodiscard]] static Result<std::shared_ptr<Sink>> open(const std::string& path, Counter& lost);
  ~Sink();
  Sink(const Sink&) = delete;
  Sink& operator=(const Sink&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

  void add(std::string_view line);
  /// As much as is taken. True when something was.
  bool write();
  [[nodiscard]] bool pending() const { return !pending_.empty(); }
  /// Opens the path anew. When that fails it goes on with what it has, and says so.
  [[nodiscard]] std::string reopen();
  /// Drops what is pending.
  void give_up();

  /// Lines that were dropped because they were not taken, since the last call.
  [[nodiscard]] std::uint64_t take_overrun() { return std::exchange(overrun_, 0); }
  /// Whether writing has failed and it is time to say so.
  [[nodiscard]] bool failure_due(std::chrono::steady_clock::time_point now) const;
  struct Failure {
    int error = 0;
    std::uint64_t lines = 0;  // lost
  };
  [[nodiscard]] Failure take_failure(std::chrono::steady_clock::time_point now);

 private:
  Sink(std::string path, int fd, Counter& lost) : path_(std::move(path)), fd_(fd), lost_(lost) {}

  [[nodiscard]] bool is_stderr() const { return path_ == kStderr; }
  /// Bytes, 0 when nothing is taken now, or -errno.
  [[nodiscard]] long write_some();
  [[nodiscard]] std::uint64_t drop_whole_lines();
  void overrun(std::uint64_t lines);

  std::string path_;
  int fd_;
  Counter& lost_;
  std::string pending_;
  bool mid_line_ = false;  // `pending_` begins in the middle of a line
  std::uint64_t overrun_ = 0;
  Failure failure_;
  std::optional<std::chrono::steady_clock::time_point> failure_told_;
};

}  // namespace millrace::accesslog
