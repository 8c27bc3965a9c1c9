#pragma once
// Admission: the connection limits that hold over all workers together, global and per listener, and the limit of
// sessions of each UDP listener. Atomics only.
//
// A worker that is at a limit stops accepting, says so with wait_for_room(), and is woken when a connection ends
// anywhere.

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "millrace/io/io.hpp"

namespace millrace::worker {

class Admission {
 public:
  /// `max_connections` > 0; `listener_limits[i]` 0 means only the global limit.
  Admission(std::uint32_t max_connections, std::vector<std::uint32_t> listener_limits, std::uint32_t workers);

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
    return listeners_[listener]->active.load(std::memory_order_relaxed);
  }

 private:
  void wake_waiters();

  struct alignas(64) Waiter {
    std::atomic<bool> waiting{false};
    io::Io* io = nullptr;
  };
  struct alignas(64) ListenerCount {
    std::atomic<std::uint32_t> active{0};
    std::uint32_t limit = 0;
  };

  std::uint32_t max_connections_;
  alignas(64) std::atomic<std::uint32_t> total_{0};
  std::atomic<bool> anyone_waiting_{false};
  std::vector<std::unique_ptr<ListenerCount>> listeners_;
  std::vector<std::unique_ptr<Waiter>> waiters_;
};

}  // namespace millrace::worker
