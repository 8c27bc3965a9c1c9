#include "ring.hpp"

#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>

#include "millrace/base/assert.hpp"

namespace millrace::io {
namespace {

std::uint32_t setup_flags(const Ring::Options& options) {
  std::uint32_t flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  if (options.single_issuer) flags |= IORING_SETUP_SINGLE_ISSUER;
  switch (options.task_work) {
    case Ring::TaskWork::deferred:
      return flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    case Ring::TaskWork::cooperative:
      return flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    case Ring::TaskWork::plain:
      break;
  }
  return flags;
}

constexpr Nanos kLong = std::chrono::hours(1);

/// Completions that end the gathering early.
constexpr unsigned kMany = 64;

/// What entering the ring may say without anything being wrong with the ring: try again, after completions are reaped.
bool passes_by_itself(int error) {
  return error == -EINTR || error == -EAGAIN || error == -EBUSY || error == -ETIME || error == -ENOMEM;
}

}  // namespace

Ring::~Ring() {
  if (!opened_) return;
  // Closing the ring ends its requests some time later, in the background. Until then they hold their sockets open and
  // may write to lent buffers, so they are ended here. Fails harmlessly on another thread than the ring's: when that
  // one ended, so did its requests.
  io_uring_sync_cancel_reg everything{};
  everything.fd = -1;
  everything.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
  everything.timeout.tv_sec = 1;
  if (io_uring_register_sync_cancel(&ring_, &everything) >= 0) (void)io_uring_get_events(&ring_);
  io_uring_queue_exit(&ring_);
}

int Ring::open(const Options& options) {
  MILLRACE_ASSERT(!opened_, "a ring is opened once");
  io_uring_params params{};
  params.flags = setup_flags(options);
  params.cq_entries = options.completion_entries;
  const int error = io_uring_queue_init_params(options.submission_entries, &ring_, &params);
  if (error < 0) return -error;
  opened_ = true;
  // Saves looking the descriptor up at each entry; where it fails the plain descriptor is used.
  (void)io_uring_register_ring_fd(&ring_);
  return 0;
}

io_uring_sqe* Ring::entry() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  MILLRACE_ASSERT(sqe != nullptr, "a full queue is submitted first");
  *sqe = io_uring_sqe{};
  return sqe;
}

void Ring::submit() {
  while (queued() > 0) {
    const int submitted = io_uring_submit(&ring_);
    if (submitted >= 0) continue;
    MILLRACE_ASSERT(passes_by_itself(submitted), "the ring takes what is submitted");
    // The kernel has no memory for more requests at the moment. Completing some gives it back.
    (void)io_uring_get_events(&ring_);
    if (submitted != -EINTR) (void)::sched_yield();
  }
}

void Ring::submit_and_reap() {
  const int result = io_uring_submit_and_get_events(&ring_);
  MILLRACE_ASSERT(result >= 0 || passes_by_itself(result), "the ring takes what is submitted");
}

void Ring::submit_and_wait(Nanos timeout) {
  enter_and_wait(1, Nanos(0), timeout);
}

void Ring::gather(Nanos gather) {
  enter_and_wait(kMany, Nanos(0), gather);
}

void Ring::submit_and_gather(Nanos timeout, Nanos gather) {
  // Without a limit the kernel would end the wait with the gathering, also when nothing has come.
  enter_and_wait(kMany, gather, std::min(timeout, kLong));
}

// liburing has a part of this since 2.8 (io_uring_submit_and_wait_min_timeout), and since 2.10
// (io_uring_set_iowait); the entries are handed over as it does that itself.
void Ring::enter_and_wait(unsigned completions, Nanos at_least, Nanos timeout) {
  struct {  // io_uring_getevents_arg of Linux 6.12; before, min_wait_usec was padding
    std::uint64_t sigmask = 0;
    std::uint32_t sigmask_size = _NSIG / 8;
    std::uint32_t min_wait_usec = 0;
    std::uint64_t timeout = 0;
  } argument;
  static_assert(sizeof argument == sizeof(io_uring_getevents_arg));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
  const __kernel_timespec time{.tv_sec = seconds.count(), .tv_nsec = (timeout - seconds).count()};
  argument.min_wait_usec = static_cast<std::uint32_t>(at_least / std::chrono::microseconds(1));
  if (timeout != kNoTimeout) argument.timeout = reinterpret_cast<std::uintptr_t>(&time);
  const unsigned entries = queued();
  ring_.sq.sqe_head = ring_.sq.sqe_tail;
  __atomic_store_n(ring_.sq.ktail, ring_.sq.sqe_tail, __ATOMIC_RELEASE);
  unsigned flags = IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG;
  if (ring_.enter_ring_fd != ring_.ring_fd) flags |= IORING_ENTER_REGISTERED_RING;
  // An idle worker is not waiting for a disk, and must not look as if: it would show as a busy machine.
  if ((ring_.features & IORING_FEAT_NO_IOWAIT) != 0) flags |= IORING_ENTER_NO_IOWAIT;
  const int result = io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), entries, completions, flags,
                                     reinterpret_cast<sigset_t*>(&argument), sizeof argument);
  MILLRACE_ASSERT(result >= 0 || passes_by_itself(result), "the ring takes what is submitted");
}

bool Ring::wants_entry() const {
  constexpr std::uint32_t kHeldBack = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
  return (__atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & kHeldBack) != 0;
}

}  // namespace millrace::io
