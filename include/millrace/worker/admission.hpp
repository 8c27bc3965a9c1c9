#pragma once
// Admission: the connection limits that hold over all workers together, global and per listener, and the limit of
// sessions of each UDP listener. Atomics only. Limits may be changed at any time; whoever is above a new one stays.
//
// A worker that is at a limit stops accepting, says so with wait_for_room(), and is woken when a connection ends
// anywhere.

#include <atomic>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "millrace/base/stable_array.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::worker {

class Admission {
 public:
  /// `max_connections` > 0; `listener_limits[i]` 0 means only the global limit.
  Admission(std::uint32_t max_connections, const std::vector<std::uint32_t>& listener_limits, std::uint32_t workers);

  /// One thread at a time; there may be more listeners than before, not fewer.
  void set_limits(std::uint32_t max_connections, const std::vector<std::uint32_t>& listener_limits);

  /// Before any worker runs: whom to wake.
  void set_waker(std::uint32_t worker, io::Io* io);

  /// Counts one connection of `listener`, unless a limit is reached.
  [[nodiscard]] bool admit(std::uint32_t listener);
  void release(std::uint32_t listener);
  /// The same for a UDP session: only the listener's limit holds, and nobody is woken when one ends.
  [[nodiscard]] bool admit_session(std::uint32_t listener);
  void release_session(std::uint32_t listener);
  /// How many more would be admitted now (a snapshot).
  [[nodiscard]] std::uint32_t room(std::uint32_t listener) const;

  /// Wakes `worker` when a connection ends. Look at room() once more afterwards: one may have ended just before.
  void wait_for_room(std::uint32_t worker);

  [[nodiscard]] std::uint32_t connections() const { return total_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t sessions(std::uint32_t listener) const {
    return listeners_[listener].active.load(std::memory_order_relaxed);
  }

 private:
  void wake_waiters();

  struct alignas(64) Waiter {
    std::atomic<bool> waiting{false};
    io::Io* io = nullptr;
  };
  struct alignas(64) ListenerCount {
    std::atomic<std::uint32_t> active{0};
    std::atomic<std::uint32_t> limit{0};

    [[nodiscard]] std::uint32_t limit_or_none() const {
      const std::uint32_t set = limit.load(std::memory_order_relaxed);
      return set != 0 ? set : std::numeric_limits<std::uint32_t>::max();
    }
  };

  std::atomic<std::uint32_t> max_connections_;
  alignas(64) std::atomic<std::uint32_t> total_{0};
  std::atomic<bool> anyone_waiting_{false};
  StableArray<ListenerCount> listeners_{pool::kListenersMax};
  std::vector<std::unique_ptr<Waiter>> waiters_;
};

}  // namespace millrace::worker
