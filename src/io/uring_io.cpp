#include "millrace/io/uring_io.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "internal_tag.hpp"
#include "millrace/base/assert.hpp"
#include "setup_failure.hpp"
#include "system_limits.hpp"
#include "uring_io_impl.hpp"

namespace millrace::io {
namespace {

// Enough for one pass of a busy worker; when they run out the ring is entered once more.
constexpr std::size_t kMessages = 256;
constexpr std::size_t kAddresses = 128;
constexpr std::size_t kTrains = 256;
constexpr std::size_t kQueuedSplices = 4096;

/// One turn issues at most this many splices of up to a pipe's size each, so that small messages on the same thread do
/// not wait behind all bulk flows.
constexpr std::size_t kSplicesPerTurn = 64;

/// Turns that may pass without entering the ring while splices keep the thread busy and the kernel signals nothing.
constexpr std::uint32_t kTurnsOutsideMax = 8;

/// Ring splices run on kernel worker threads, by default up to RLIMIT_NPROC of them; they do not wait there.
constexpr unsigned kSpliceWorkersMax = 16;

constexpr std::uint32_t kBuffersKept = 128;  // warm ones; 2 MiB
constexpr Nanos kTrimAfter = std::chrono::seconds(1);

constexpr std::int32_t kPollBits = kPollIn | kPollOut | kPollError | kPollHangup;

Instant read_clock() {
  return std::chrono::time_point_cast<Nanos>(std::chrono::steady_clock::now());
}

}  // namespace

UringIo::UringIo(const UringOptions& options, const UringFeatures& features)
    : options_(options),
      features_(features),
      scratch_(kMessages, kAddresses, options.datagram_buffers == 0 ? 0 : kTrains),
      splices_(kQueuedSplices),
      streams_(options.buffers, ReceiveRing::kStreams),
      now_(read_clock()) {
  if (options.datagram_buffers != 0) {
    datagrams_.emplace(
        BufferGroup::Options{.count = options.datagram_buffers, .bytes_per_buffer = kDatagramBufferBytes},
        ReceiveRing::kDatagrams);
    quote_.resize(kPayloadBytesMax);
  }
  MILLRACE_ASSERT(options.batch >= 2, "a batch has room for splices and for the ring");
  batch_.reserve(options.batch);
}

UringIo::~UringIo() {
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

int UringIo::open(const char*& step) {
  step = "io_uring_setup";
  const Ring::Options ring_options{
      .submission_entries = options_.submission_entries,
      .completion_entries = options_.completion_entries,
      .single_issuer = features_.single_issuer,
      .task_work = features_.defer_taskrun ? Ring::TaskWork::deferred : Ring::TaskWork::cooperative,
  };
  if (const int error = ring_.open(ring_options)) return error;
  step = "registering the receive buffers";
  if (const int error = streams_.ring.open(ring_)) return error;
  if (datagrams_) {
    if (const int error = datagrams_->ring.open(ring_)) return error;
  }
  step = "eventfd";
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) return errno;
  arm_wake();
  if (options_.splice == SpliceIssue::ring) {
    std::array<unsigned, 2> workers{0, kSpliceWorkersMax};  // bounded (0: leave as is), unbounded
    (void)io_uring_register_iowq_max_workers(ring_.raw(), workers.data());
  }
  return 0;
}

// Multishot: every write to the eventfd completes it once more. It is never read; its counter cannot run full.
void UringIo::arm_wake() {
  io_uring_sqe* sqe = entry(kWakeTag, IORING_OP_POLL_ADD, static_cast<Fd>(wake_fd_));
  sqe->len = IORING_POLL_ADD_MULTI;
  sqe->poll32_events = poll_mask(POLLIN);
}

void UringIo::wake() {
  if (wake_pending_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

std::span<const Completion> UringIo::turn(Instant deadline) {
  batch_.clear();
  streams_.ring.refill();
  if (datagrams_) datagrams_->ring.refill();
  run_splices();
  enter(std::min(deadline, trim_at_));
  now_ = read_clock();
  reap();
  trim_memory();
  return batch_;
}

/// What a burst touched goes back to the kernel when it has not been needed for a second.
void UringIo::trim_memory() {
  if (now_ >= trim_at_) {
    trim(streams_);
    if (datagrams_) trim(*datagrams_);
    trim_at_ = kNever;
  }
  const bool cold = may_be_cold(streams_) || (datagrams_ && may_be_cold(*datagrams_));
  if (trim_at_ == kNever && cold) trim_at_ = now_ + kTrimAfter;
}

void UringIo::trim(Receiving& receiving) {
  receiving.buffers.trim(kBuffersKept);
  if (features_.defer_taskrun && ring_.completions() == 0) receiving.ring.release_cold();
}

bool UringIo::may_be_cold(const Receiving& receiving) {
  return receiving.buffers.free_touched() > kBuffersKept || receiving.ring.may_be_cold();
}

void UringIo::run_splices() {
  // The other half of a batch is for the ring, so that neither starves the other.
  const std::size_t limit = std::min<std::size_t>(kSplicesPerTurn, options_.batch / 2);
  while (!splices_.empty() && batch_.size() < limit) {
    const QueuedSplice queued = splices_.pop();
    const ssize_t moved =
        ::splice(raw(queued.from), nullptr, raw(queued.to), nullptr, queued.length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    batch_.push_back({.tag = queued.tag, .result = static_cast<std::int32_t>(moved >= 0 ? moved : -errno)});
  }
}

void UringIo::enter(Instant deadline) {
  const bool work_at_hand = !batch_.empty() || !splices_.empty() || ring_.completions() > 0;
  if (work_at_hand) {
    if (ring_.queued() == 0 && !ring_.wants_entry() && ++turns_outside_ < kTurnsOutsideMax) return;
    ring_.submit_and_reap();
  } else if (deadline == kNever) {
    wait(Ring::kNoTimeout);
  } else if (const Nanos left = deadline - read_clock(); left > Nanos::zero()) {
    wait(left);
  } else {
    ring_.submit_and_reap();
  }
  turns_outside_ = 0;
  if (ring_.queued() == 0) scratch_.reuse();
}

void UringIo::wait(Nanos timeout) {
  if (gather_time_ == Nanos(0)) timeout = poll_busily(timeout);
  if (timeout <= Nanos(0)) return;
  if (gather_time_ == Nanos(0) || timeout <= gather_time_) return ring_.submit_and_wait(timeout);
  if (features_.min_wait) return ring_.submit_and_gather(timeout, gather_time_);
  ring_.submit_and_wait(timeout);
  if (ring_.completions() > 0) ring_.gather(gather_time_);
}

/// What is left of the wait; not above 0: something has completed, or it is over. The kernel says in shared memory that
/// it has something, so looking costs no system call.
Nanos UringIo::poll_busily(Nanos timeout) {
  if (options_.busy_poll == Nanos(0)) return timeout;
  const Instant began = read_clock();
  const Nanos budget = std::min(options_.busy_poll, timeout);
  Nanos spent{0};
  while (spent < budget) {
    if (ring_.queued() > 0 || ring_.wants_entry()) ring_.submit_and_reap();
    if (ring_.completions() > 0) return Nanos(0);
    spent = read_clock() - began;
  }
  return timeout == Ring::kNoTimeout ? timeout : timeout - spent;
}

void UringIo::reap() {
  unsigned head = 0;
  unsigned seen = 0;
  const io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(ring_.raw(), head, cqe) {
    if (batch_.size() == options_.batch) break;
    ++seen;
    reap_one(*cqe);
  }
  io_uring_cq_advance(ring_.raw(), seen);
}

void UringIo::reap_one(const io_uring_cqe& cqe) {
  const OpTag tag = OpTag::from_word(cqe.user_data);
  const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
  switch (tag.kind()) {
    case OpKind::recv:
      return reap_recv(cqe);
    case OpKind::recv_datagrams:
      return reap_datagrams(cqe);
    case OpKind::watch:
      return reap_watch(cqe);
    case OpKind::poll_in:
    case OpKind::poll_out:
      batch_.push_back({.tag = tag, .result = cqe.res < 0 ? cqe.res : cqe.res & kPollBits, .more = more});
      return;
    case OpKind::none:
      if (tag == kWakeTag) reap_wake(cqe);
      return;  // else a cancel, which found its target gone or about to complete
    default:
      break;
  }
  if (!is_hung_up(tag)) {
    batch_.push_back({.tag = tag, .result = cqe.res, .more = more});
  } else if (!more) {
    batch_.push_back({.tag = watch_tag(tag), .result = hung_up_bits(tag)});
  }
}

void UringIo::reap_wake(const io_uring_cqe& cqe) {
  // Cleared before the caller looks at what it was woken for: a wake() that still finds it set published its reason
  // before, and that is seen after this exchange.
  (void)wake_pending_.exchange(false, std::memory_order_acq_rel);
  if ((cqe.flags & IORING_CQE_F_MORE) == 0) arm_wake();
}

void UringIo::reap_recv(const io_uring_cqe& cqe) {
  if (cqe.res == -ENOBUFS) streams_.ring.note_shortage();
  batch_.push_back({.tag = OpTag::from_word(cqe.user_data),
                    .result = cqe.res,
                    .buffer = claim_buffer(cqe, streams_, cqe.res > 0),
                    .more = (cqe.flags & IORING_CQE_F_MORE) != 0});
}

void UringIo::reap_datagrams(const io_uring_cqe& cqe) {
  if (cqe.res == -ENOBUFS) datagrams_->ring.note_shortage();
  const BufferId buffer = claim_buffer(cqe, *datagrams_, cqe.res >= 0);
  // The kernel counts what it puts before the payload as well.
  const std::int32_t result = cqe.res < 0 ? cqe.res : std::max(cqe.res - static_cast<std::int32_t>(kPayloadOffset), 0);
  batch_.push_back({.tag = OpTag::from_word(cqe.user_data),
                    .result = result,
                    .buffer = buffer,
                    .more = (cqe.flags & IORING_CQE_F_MORE) != 0});
}

void UringIo::reap_watch(const io_uring_cqe& cqe) {
  const OpTag tag = OpTag::from_word(cqe.user_data);
  const std::int32_t seen = cqe.res < 0 ? 0 : cqe.res & kHungUpBits;
  if ((cqe.flags & IORING_CQE_F_MORE) != 0) {
    if (seen != 0) end_watch(tag, seen);  // else a FIN, which is not what this poll is for
    return;
  }
  // A full completion queue ends a multishot poll early. With nothing seen that equals a cancel: arm again if wanted.
  const std::int32_t nothing = cqe.res < 0 ? cqe.res : -ECANCELED;
  batch_.push_back({.tag = tag, .result = seen != 0 ? seen : nothing});
}

BufferId UringIo::claim_buffer(const io_uring_cqe& cqe, Receiving& receiving, bool filled) {
  if ((cqe.flags & IORING_CQE_F_BUFFER) == 0) return kNoBuffer;
  const auto id = static_cast<BufferId>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
  receiving.ring.taken(id);
  if (filled) return id;
  receiving.buffers.give_back(id);  // some kernels spend a buffer on the end of a stream
  return kNoBuffer;
}

BufferGroup& UringIo::datagram_buffers() {
  MILLRACE_ASSERT(datagrams_.has_value(), "made for datagrams");
  return datagrams_->buffers;
}

ReceivedDatagrams UringIo::received(BufferId buffer) {
  return read_message({datagram_buffers().data(buffer), kDatagramBufferBytes});
}

Result<std::unique_ptr<Io>> make_uring_io(const UringOptions& options, const UringFeatures& features) {
  if (!features.buffer_ring || !features.multishot_recv) {
    return Error{fmt::format("this kernel's io_uring lacks {}; millrace needs Linux 6.1 or later (found: {})",
                             features.buffer_ring ? "multishot receive (6.0)" : "provided buffer rings (5.19)",
                             features.to_string())};
  }
  if (options.datagram_buffers != 0 && !features.multishot_recvmsg) {
    return Error{
        fmt::format("this kernel's io_uring lacks multishot recvmsg (6.0); UDP needs Linux 6.1 or later (found: {})",
                    features.to_string())};
  }
  auto io = std::make_unique<UringIo>(options, features);
  const char* step = "";
  if (const int error = io->open(step)) {
    return Error{fmt::format("{}: {}", step, explain_setup_failure(error, read_setup_context()))};
  }
  return std::unique_ptr<Io>(std::move(io));
}

}  // namespace millrace::io
