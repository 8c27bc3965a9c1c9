#pragma once
// Ring: one io_uring with its set-up flags, and the few ways in which it is entered. Owns the ring's descriptor and
// memory. Belongs to the thread that creates it (SINGLE_ISSUER binds it there, and so does its registered descriptor).

#include <cstddef>
#include <cstdint>

#include "compat.hpp"
#include "millrace/base/time.hpp"

namespace millrace::io {

class Ring {
 public:
  /// When the kernel completes what an interrupt made ready.
  enum class TaskWork : std::uint8_t {
    deferred,     // only while this thread is in the ring for completions (6.1, needs single_issuer)
    cooperative,  // at the thread's next system call (5.19)
    plain,        // at once, by interrupting the thread; good for probing only
  };
  struct Options {
    std::uint32_t submission_entries = 8;
    std::uint32_t completion_entries = 16;
    bool single_issuer = true;  // 6.0
    TaskWork task_work = TaskWork::deferred;
  };

  Ring() = default;
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  /// 0 or errno of io_uring_setup(). EINVAL: the kernel does not know one of the flags.
  [[nodiscard]] int open(const Options& options);

  /// A cleared submission entry. Submit first when the queue is full.
  [[nodiscard]] io_uring_sqe* entry();
  /// Hands every queued entry to the kernel; runs no completions. Afterwards no entry refers to user memory any more
  /// (IORING_FEAT_SUBMIT_STABLE).
  void submit();
  /// Submits, and lets completions that are due appear; does not wait.
  void submit_and_reap();
  /// Submits, and waits until a completion is there or `timeout` has passed (kNoTimeout: no limit). A signal ends it.
  void submit_and_wait(Nanos timeout);
  /// Waits for `gather`, or until very many completions are there.
  void gather(Nanos gather);
  /// submit_and_wait() and gather() in one, which costs one sleep less: waits for `gather` (< 1 s) at least, or for
  /// very many completions. Needs IORING_FEAT_MIN_TIMEOUT.
  void submit_and_gather(Nanos timeout, Nanos gather);

  [[nodiscard]] unsigned queued() const { return io_uring_sq_ready(&ring_); }
  [[nodiscard]] bool full() const { return io_uring_sq_space_left(&ring_) == 0; }
  [[nodiscard]] unsigned completions() const { return io_uring_cq_ready(&ring_); }
  /// The kernel holds back completions until the ring is entered for them.
  [[nodiscard]] bool wants_entry() const;
  [[nodiscard]] std::uint32_t features() const { return ring_.features; }
  [[nodiscard]] io_uring* raw() { return &ring_; }

  static constexpr Nanos kNoTimeout = Nanos::max();

 private:
  void enter_and_wait(unsigned completions, Nanos at_least, Nanos timeout);

  io_uring ring_{};
  bool opened_ = false;
};

}  // namespace millrace::io
