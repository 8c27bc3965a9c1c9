#pragma once
// What all threads know about every backend, one row each, through atomics: health (written by the prober only),
// whether the operator keeps new connections from it (written by the control thread only), active connections (written
// by all workers) and consecutive connect failures (counted by workers, read and cleared by the prober, cleared by
// workers when a connect succeeds).
//
// Rows are named by BackendId, which stays the same for the life of the process. All but the failures share a
// word, so that a pick over a thousand backends reads one for each, and few cache lines. Allocated once; no locks.
// Counts are exact over all workers; a reader may see them a moment late.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace millrace::pool {

enum class BackendId : std::uint32_t {};
[[nodiscard]] constexpr std::size_t row(BackendId id) {
  return static_cast<std::size_t>(id);
}

enum class HealthState : std::uint8_t {
  up,
  down,     // active probes failed
  ejected,  // real traffic failed (passive health); time-limited
};
[[nodiscard]] std::string_view name(HealthState state);

class BackendTable {
 public:
  explicit BackendTable(std::size_t rows)
      : rows_(rows),
        standings_(std::make_unique<std::atomic<std::uint32_t>[]>(rows)),
        failures_(std::make_unique<std::atomic<std::uint32_t>[]>(rows)) {}

  [[nodiscard]] std::size_t rows() const { return rows_; }

  /// The bit of a standing() that says that the operator keeps new connections from it.
  static constexpr std::uint32_t kBarred = 1U << 29U;
  /// From here on a standing() is of a backend that takes no connections: it is barred, or not up.
  static constexpr std::uint32_t kOut = kBarred;
  /// The part of a standing() that is active().
  static constexpr std::uint32_t kActive = kBarred - 1;
  /// All of it in one look: active() while the backend is up and not barred, kOut or more otherwise.
  [[nodiscard]] std::uint32_t standing(BackendId id) const { return word(id).load(std::memory_order_relaxed); }

  [[nodiscard]] HealthState health(BackendId id) const { return static_cast<HealthState>(standing(id) / kHealth); }
  /// The prober's thread only.
  void set_health(BackendId id, HealthState state) {
    // Nobody else writes these bits; the counts that the workers write meanwhile stay.
    const std::uint32_t changed = static_cast<std::uint32_t>(health(id)) ^ static_cast<std::uint32_t>(state);
    word(id).fetch_xor(changed * kHealth, std::memory_order_relaxed);
  }

  [[nodiscard]] bool barred(BackendId id) const { return (standing(id) & kBarred) != 0; }
  /// The control thread only.
  void set_barred(BackendId id, bool barred) {
    if (barred) {
      word(id).fetch_or(kBarred, std::memory_order_relaxed);
    } else {
      word(id).fetch_and(~kBarred, std::memory_order_relaxed);
    }
  }
  /// Makes a row like that of another table.
  void copy_standing(const BackendTable& from, BackendId id) {
    word(id).store(from.standing(id), std::memory_order_relaxed);
  }
  /// Up, and not barred.
  [[nodiscard]] bool serves(BackendId id) const { return standing(id) < kOut; }

  /// Connections that chose this backend and have not ended yet, connecting ones included.
  [[nodiscard]] std::uint32_t active(BackendId id) const { return standing(id) & kActive; }
  /// Counts one more, unless that would be above `limit` (0: no limit).
  [[nodiscard]] bool acquire(BackendId id, std::uint32_t limit) {
    auto& count = word(id);
    if (limit == 0) {
      count.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    // Never above the limit, not even for a moment: another thread would be refused although a place is free.
    std::uint32_t before = count.load(std::memory_order_relaxed);
    while ((before & kActive) < limit) {
      if (count.compare_exchange_weak(before, before + 1, std::memory_order_relaxed)) return true;
    }
    return false;
  }
  void release(BackendId id) { word(id).fetch_sub(1, std::memory_order_relaxed); }

  /// A connect failed by the backend's fault; returns how many did in a row.
  std::uint32_t count_failure(BackendId id) { return failures_[row(id)].fetch_add(1, std::memory_order_relaxed) + 1; }
  /// A connect succeeded. Writes only when there is something to clear: this is on the path of every connection.
  void clear_failures(BackendId id) {
    auto& count = failures_[row(id)];
    if (count.load(std::memory_order_relaxed) != 0) count.store(0, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t failures(BackendId id) const {
    return failures_[row(id)].load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kHealth = 1U << 30U;  // the lowest bit of a standing's health

  [[nodiscard]] std::atomic<std::uint32_t>& word(BackendId id) const { return standings_[row(id)]; }

  std::size_t rows_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> standings_;  // HealthState, barred, active connections: from above
  std::unique_ptr<std::atomic<std::uint32_t>[]> failures_;
};

}  // namespace millrace::pool
