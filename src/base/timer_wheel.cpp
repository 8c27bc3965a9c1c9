#include "millrace/base/timer_wheel.hpp"

#include <algorithm>
#include <bit>

#include "millrace/base/assert.hpp"

namespace millrace {
namespace {

constexpr std::int64_t kTickNanos = TimerWheel::kTick.count();
constexpr std::uint64_t kLastTick = static_cast<std::uint64_t>(Instant::max().time_since_epoch().count() / kTickNanos);

/// The last tick that has begun at `at`.
std::uint64_t tick_floor(Instant at) {
  const std::int64_t nanos = std::max<std::int64_t>(at.time_since_epoch().count(), 0);
  return static_cast<std::uint64_t>(nanos / kTickNanos);
}

/// The first tick that is not before `at`; kLastTick + 1 when that cannot be told as an Instant.
std::uint64_t tick_ceil(Instant at) {
  const std::int64_t nanos = std::max<std::int64_t>(at.time_since_epoch().count(), 0);
  return static_cast<std::uint64_t>(nanos / kTickNanos) + (nanos % kTickNanos != 0 ? 1U : 0U);
}

void make_ring(TimerLink& head) {
  head.prev = &head;
  head.next = &head;
}

void push_back(TimerLink& head, TimerLink& link) {
  link.prev = head.prev;
  link.next = &head;
  head.prev->next = &link;
  head.prev = &link;
}

/// Moves all of `from` to the end of `to`.
void splice_back(TimerLink& to, TimerLink& from) {
  from.next->prev = to.prev;
  from.prev->next = &to;
  to.prev->next = from.next;
  to.prev = from.prev;
  make_ring(from);
}

}  // namespace

TimerNode::~TimerNode() {
  MILLRACE_ASSERT(!armed(), "timer destroyed while armed");
}

TimerWheel::TimerWheel(Instant now) : tick_(tick_floor(now)) {
  static_assert(kLastTick >> (kLevels * kBits) == 0, "every tick must fit into the levels");
  make_ring(due_);
  for (TimerLink& each : heads_) make_ring(each);
}

TimerWheel::~TimerWheel() {
  const auto empty = [](TimerLink& ring) {
    while (ring.next != &ring) {
      TimerLink* first = ring.next;
      ring.next = first->next;
      first->prev = nullptr;
      first->next = nullptr;
    }
  };
  empty(due_);
  for (TimerLink& each : heads_) empty(each);
}

void TimerWheel::arm(TimerNode& node, Instant deadline) {
  const std::uint64_t tick = tick_ceil(deadline);
  if (tick > kLastTick) {
    disarm(node);
    return;
  }
  if (node.armed()) {
    if (node.tick_ == tick) return;
    unlink(node);
  } else {
    ++armed_;
  }
  node.tick_ = tick;
  link(node);
}

void TimerWheel::disarm(TimerNode& node) {
  if (!node.armed()) return;
  unlink(node);
  node.prev = nullptr;
  node.next = nullptr;
  --armed_;
}

TimerNode* TimerWheel::expire(Instant now) {
  const std::uint64_t to = tick_floor(now);
  if (to > tick_) advance(to);
  if (due_.next == &due_) return nullptr;
  auto* node = static_cast<TimerNode*>(due_.next);
  disarm(*node);
  return node;
}

Instant TimerWheel::next_deadline() const {
  if (due_.next != &due_) return Instant();
  Position next{};
  if (!find_next(next)) return kNever;
  return Instant(Nanos(static_cast<std::int64_t>(next.tick) * kTickNanos));
}

void TimerWheel::link(TimerNode& node) {
  if (node.tick_ <= tick_) {
    push_back(due_, node);
    return;
  }
  const auto highest_bit = static_cast<unsigned>(std::bit_width(node.tick_ ^ tick_)) - 1;
  const unsigned level = highest_bit / kBits;
  const auto bucket = static_cast<unsigned>(node.tick_ >> (level * kBits)) % kBuckets;
  push_back(head(level, bucket), node);
  occupied_[level] |= std::uint64_t{1} << bucket;
}

void TimerWheel::unlink(TimerNode& node) {
  TimerLink* const before = node.prev;
  before->next = node.next;
  node.next->prev = before;
  // Alone in its ring: `before` is the head of a bucket that is now empty (or of due_, which has no bit).
  if (before->next != before || before == &due_) return;
  const auto index = static_cast<unsigned>(before - heads_.data());
  occupied_[index / kBuckets] &= ~(std::uint64_t{1} << index % kBuckets);
}

/// The first occupied bucket; false when there is none. All buckets lie ahead of tick_: the digits above the bucket's
/// level are those of tick_, and its own digit is larger.
bool TimerWheel::find_next(Position& position) const {
  for (unsigned level = 0; level < kLevels; ++level) {
    if (occupied_[level] == 0) continue;
    const auto bucket = static_cast<unsigned>(std::countr_zero(occupied_[level]));
    const unsigned shift = level * kBits;
    const std::uint64_t above = tick_ >> (shift + kBits) << kBits;
    position = {(above | bucket) << shift, level, bucket};
    return true;
  }
  return false;
}

/// Goes from bucket to bucket, not from tick to tick: the cost is that of the timers met, however far the jump.
/// Passing no occupied bucket leaves every timer at the right level, because the digits that placed it stay.
void TimerWheel::advance(std::uint64_t to) {
  Position next{};
  while (find_next(next) && next.tick <= to) {
    tick_ = next.tick;
    spread(next);
  }
  tick_ = to;
}

/// Empties a bucket that tick_ has just reached: into due_, and from a higher level also into lower ones.
void TimerWheel::spread(const Position& position) {
  TimerLink& bucket = head(position.level, position.bucket);
  occupied_[position.level] &= ~(std::uint64_t{1} << position.bucket);
  if (position.level == 0) {
    splice_back(due_, bucket);
    return;
  }
  TimerLink* each = bucket.next;
  make_ring(bucket);
  while (each != &bucket) {
    auto* node = static_cast<TimerNode*>(each);
    each = each->next;
    link(*node);
  }
}

}  // namespace millrace
