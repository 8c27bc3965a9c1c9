#pragma once
// TimerWheel: deadlines for very many objects, against a `now` that is given.
//
// Hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987): eight levels of
// 64 buckets, one tick is one millisecond, so that every Instant fits and there is no horizon to treat apart. A timer
// lies at the level of the highest base-64 digit in which its tick differs from the wheel's; so an occupied bucket of
// a lower level always comes before those of the higher ones, and the next bucket is found without a search.
// Arming, re-arming and disarming are O(1) and never allocate. A timer never fires early and at most one tick late
// (plus the caller's delay).
//
// Intrusive: the node lives in the object that it times and must be disarmed before that object goes away. One thread.
// Times before the clock's zero count as zero.

#include <array>
#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace {

class TimerWheel;

/// A place in a ring of timers: the base of a node, and the head of a bucket.
struct TimerLink {
  TimerLink* prev = nullptr;
  TimerLink* next = nullptr;
};

/// One timer. Immovable while armed: buckets are doubly linked lists through these nodes.
class TimerNode : private TimerLink {
 public:
  TimerNode() = default;
  ~TimerNode();  // asserts that it is not armed
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  [[nodiscard]] bool armed() const { return prev != nullptr; }
  /// Only meaningful while armed. Rounded up to the wheel's tick.
  [[nodiscard]] Instant deadline() const { return Instant(Nanos(static_cast<std::int64_t>(tick_) * 1'000'000)); }

 private:
  friend class TimerWheel;
  std::uint64_t tick_ = 0;
};

class TimerWheel {
 public:
  static constexpr Nanos kTick = std::chrono::milliseconds(1);

  explicit TimerWheel(Instant now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  ~TimerWheel();  // disarms what is still armed

  /// Arms `node` for `deadline`, or moves it there when it is armed already. A deadline in the past fires at the next
  /// expire(). `kNever` disarms (so does the last millisecond before it, which cannot be rounded up).
  void arm(TimerNode& node, Instant deadline);
  /// Does nothing when `node` is not armed.
  void disarm(TimerNode& node);

  /// Moves the wheel to `now` and returns the next timer that is due, disarmed, or null when there is none left.
  /// Call it until it returns null (or stop early and go on later: nothing is lost). A `now` before an earlier one
  /// leaves the wheel where it is.
  [[nodiscard]] TimerNode* expire(Instant now);

  /// A lower bound of the next deadline: never later than the earliest of the armed timers' deadline(), kNever when
  /// none is armed, zero when one is due already. It may be earlier than any deadline (when a bucket of a higher level
  /// has to be spread out); waking then is cheap, and happens at most once per level for a timer.
  [[nodiscard]] Instant next_deadline() const;

  [[nodiscard]] std::uint32_t armed() const { return armed_; }

 private:
  static constexpr unsigned kLevels = 8;
  static constexpr unsigned kBits = 6;
  static constexpr unsigned kBuckets = 1U << kBits;

  struct Position {
    std::uint64_t tick;  // when the bucket is reached
    unsigned level;
    unsigned bucket;
  };

  void link(TimerNode& node);
  void unlink(TimerNode& node);
  void advance(std::uint64_t to);
  void spread(const Position& position);
  [[nodiscard]] bool find_next(Position& position) const;
  [[nodiscard]] TimerLink& head(unsigned level, unsigned bucket) { return heads_[level * kBuckets + bucket]; }

  std::array<std::uint64_t, kLevels> occupied_{};  // a bit per bucket, set exactly while it holds a timer
  std::uint64_t tick_;                             // everything up to and including this has been moved to due_
  std::uint32_t armed_ = 0;
  TimerLink due_;                                    // ring of timers that are due and not yet handed out
  std::array<TimerLink, kLevels * kBuckets> heads_;  // each a ring through itself; level by level
};

}  // namespace millrace
