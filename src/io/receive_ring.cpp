#include "receive_ring.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "millrace/base/assert.hpp"

namespace millrace::io {

ReceiveRing::ReceiveRing(BufferGroup& group, std::uint16_t group_id)
    : group_(group),
      group_id_(group_id),
      entries_(std::bit_ceil(std::min(group.count(), group_id == kStreams ? kStreamsMax : kEntriesMax))),
      target_max_(std::min(group.count(), entries_)),
      target_(std::min(kFirstTarget, target_max_)) {}

ReceiveRing::~ReceiveRing() {
  if (shared_ != nullptr) ::munmap(shared_, entries_ * sizeof(io_uring_buf));
}

int ReceiveRing::open(Ring& ring) {
  void* memory =
      ::mmap(nullptr, entries_ * sizeof(io_uring_buf), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return errno;
  shared_ = static_cast<io_uring_buf_ring*>(memory);
  io_uring_buf_ring_init(shared_);
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
  registration.ring_entries = entries_;
  registration.bgid = group_id_;
  if (const int error = io_uring_register_buf_ring(ring.raw(), &registration, 0); error < 0) return -error;
  lend();
  return 0;
}

void ReceiveRing::refill() {
  adapt();
  lend();
}

void ReceiveRing::adapt() {
  if (shortage_seen_) {
    // When the group itself had nothing left, lending more is no remedy.
    if (filled_up_) target_ = std::min(target_ * 2, target_max_);
    shortage_seen_ = false;
    used_max_ = 0;
    period_ = 0;
    return;
  }
  if (lent_ < target_) used_max_ = std::max(used_max_, target_ - lent_);
  if (++period_ < kRefillsPerDecay) return;
  if (used_max_ < target_ / 4) target_ = std::max(target_ / 2, std::min(kFirstTarget, target_max_));
  used_max_ = 0;
  period_ = 0;
}

void ReceiveRing::lend() {
  const int mask = io_uring_buf_ring_mask(entries_);
  int added = 0;
  while (lent_ < target_) {
    const BufferId id = group_.take();
    if (id == kNoBuffer) break;
    io_uring_buf_ring_add(shared_, group_.data(id), group_.bytes_per_buffer(), id, mask, added);
    ++added;
    ++lent_;
  }
  filled_up_ = lent_ >= target_;
  if (added > 0) io_uring_buf_ring_advance(shared_, added);
}

void ReceiveRing::taken(BufferId id) {
  MILLRACE_ASSERT(id < group_.count(), "the kernel fills buffers of the group only");
  MILLRACE_ASSERT(lent_ > 0, "the kernel fills lent buffers only");
  --lent_;
  ++taken_;
  released_ = false;
}

void ReceiveRing::release_cold() {
  const bool used_round = taken_ >= lent_;
  taken_ = 0;
  if (used_round || !may_be_cold()) return;
  const auto mask = static_cast<std::uint32_t>(io_uring_buf_ring_mask(entries_));
  // The kernel takes from the oldest on; the first few stay warm.
  for (std::uint32_t age = lent_ - kFirstTarget; age > 0; --age) {
    const io_uring_buf& lent = shared_->bufs[(shared_->tail - age) & mask];
    ::madvise(group_.data(lent.bid), group_.bytes_per_buffer(), MADV_DONTNEED);
  }
  target_ = std::max(target_ / 2, std::min(kFirstTarget, target_max_));
  released_ = true;
}

}  // namespace millrace::io
