#pragma once
// HealthLog: the changes of health that there were: how many of each backend by cause, and the last ones in full. The
// prober's thread writes it, whoever asks for a status reads it.

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/health/prober.hpp"

namespace millrace::admin {

struct HealthChange {
  std::string time;  // "2026-01-31T12:00:00.123Z"
  std::string pool;
  std::string backend;
  std::string from;
  std::string to;
  std::string reason;  // for people
};

class HealthLog {
 public:
  static constexpr std::size_t kKept = 200;
  using Counts = std::array<std::uint64_t, health::kCauses>;  // by cause

  void note(const health::Transition& transition, std::chrono::system_clock::time_point when);

  /// Of the backend of this name.
  [[nodiscard]] Counts counts(pool::BackendId id, std::string_view backend) const;
  /// Oldest first.
  [[nodiscard]] std::vector<HealthChange> recent() const;

 private:
  /// A row may go from a backend that has left to another one, which begins at 0.
  struct Row {
    std::string backend;
    Counts counts{};
  };

  mutable std::mutex mutex_;
  std::map<std::size_t, Row> rows_;  // of the BackendTable
  std::deque<HealthChange> recent_;
};

}  // namespace millrace::admin
