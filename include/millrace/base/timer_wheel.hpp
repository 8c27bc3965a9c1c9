#pragma once
// TimerWheel: deadlines for very many objects, against a `now` that is given.
//
// Hierarchical timing wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP 1987): six levels of 64
// buckets, one tick is one millisecond, so deadlines up to about two years away fit; later ones are held at the horizon
// and put further on when they come round. Arming, re-arming and disarming are O(1) and never allocate. A timer never
// fires early and at most one tick late (plus the caller's delay).
//
// Intrusive: the node lives in the object that it times and must be disarmed before that object goes away. One thread.

#include <array>
#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace {

class TimerWheel;

/// One timer. Immovable while armed: buckets are doubly linked lists through these nodes.
class TimerNode {
 public:
  TimerNode() = default;
  ~TimerNode();
  TimerNode(const TimerNode&) = delete;
  TimerNode& operator=(const TimerNode&) = delete;

  [[nodiscard]] bool armed() const { return prev_ != nullptr; }
  /// Only meaningful while armed. Rounded up to the wheel's tick.
  [[nodiscard]] Instant deadline() const { return Instant(Nanos(static_cast<std::int64_t>(tick_) * 1'000'000)); }

 private:
  friend class TimerWheel;
  TimerNode* prev_ = nullptr;  // set exactly while armed
  TimerNode* next_ = nullptr;
  std::uint64_t tick_ = 0;
};

class TimerWheel {
 public:
  static constexpr Nanos kTick = std::chrono::milliseconds(1);

  explicit TimerWheel(Instant now);
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;
  ~TimerWheel();

  /// Arms `node` for `deadline`, or moves it there when it is armed already. A deadline in the past fires at the next
  /// expire(). `kNever` disarms.
  void arm(TimerNode& node, Instant deadline);
  void disarm(TimerNode& node);

  /// Moves the wheel to `now` and returns the next timer that is due, disarmed, or null when there is none left.
  /// Call it until it returns null (or stop early and go on later: nothing is lost).
  [[nodiscard]] TimerNode* expire(Instant now);

  /// A lower bound of the next deadline: never later than the earliest armed timer, kNever when none is armed.
  /// It may be earlier than any deadline (when a bucket of a higher level has to be spread out); waking then is cheap.
  [[nodiscard]] Instant next_deadline() const;

  [[nodiscard]] std::uint32_t armed() const { return armed_; }

 private:
  static constexpr unsigned kLevels = 6;
  static constexpr unsigned kBits = 6;
  static constexpr unsigned kBuckets = 1U << kBits;

  void link(TimerNode& node);
  static void unlink(TimerNode& node);
  void cascade(unsigned level, unsigned bucket);

  std::array<std::array<TimerNode, kBuckets>, kLevels> buckets_;  // list heads, each a ring through itself
  std::array<std::uint64_t, kLevels> occupied_{};                 // a bit per bucket; may be set for an empty bucket
  TimerNode due_;                                                 // ring of timers that are due and not yet handed out
  std::uint64_t tick_;  // everything up to and including this has been moved to due_
  std::uint32_t armed_ = 0;
};

}  // namespace millrace
