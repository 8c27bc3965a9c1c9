#pragma once
// Counters of one worker: written by its thread only, readable by any thread (relaxed atomics; sums may be a moment
// old).

#include <array>
#include <atomic>
#include <cstdint>

#include "millrace/flow/close_reason.hpp"
#include "millrace/flow/tcp_flow.hpp"

namespace millrace::worker {

/// One writer: a plain load and store are enough, no locked instruction.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct Counters {
  Counter accepted;
  Counter accept_errors;  // EMFILE and the like: accepting paused
  Counter connect_attempts;
  Counter connect_failures;  // the backend's fault
  Counter local_faults;      // ours: ports, descriptors, memory
  Counter port_exhausted;    // of those, EADDRNOTAVAIL
  Counter refused;           // no backend could serve the connection
  Counter late_completions;  // for a slot that has been reused; must stay 0
  std::array<Counter, flow::kCloseReasons> closed;
};

}  // namespace millrace::worker
