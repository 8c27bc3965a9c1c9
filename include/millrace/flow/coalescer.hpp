#pragma once
// Coalescer: where bulk directions rest between two reads. One per worker, on its thread.
//
// Waking for each segment of a fast stream costs more than moving it. So a direction that has moved much, and fast, is
// not polled when it has been read empty: it rests, and at the end of the interval all that rest are read again, each
// with everything that has come meanwhile. What a network card does with its interrupts (adaptive interrupt moderation;
// in Linux lib/dim), done for sockets.
//
// The interval adapts so that the busiest direction brings about `wanted_bytes` in it, and so that no receive queue
// gets so full that its window closes: a sender that stalls would cost more than is saved.

#include <cstdint>
#include <span>
#include <vector>

#include "millrace/base/time.hpp"
#include "millrace/flow/direction_id.hpp"
#include "millrace/io/io.hpp"

namespace millrace::flow {

/// docs/data-path.md says how these were found.
struct CoalesceLimits {
  std::uint32_t begin_bytes = 1024 * 1024;  // moved one way, without a byte the other way, before a direction rests
  std::uint32_t least_bytes = 32 * 1024;    // in one interval; what brings less is polled again
  std::uint32_t wanted_bytes = 2 * 1024 * 1024;  // in one interval, of the busiest direction
  Nanos interval_min = std::chrono::microseconds(400);
  Nanos interval_max = std::chrono::milliseconds(8);  // the longest that a byte may lie here
};

class Coalescer {
 public:
  explicit Coalescer(const CoalesceLimits& limits = {});

  /// Whether a direction that is polled, and has moved so much in that time, is to rest from now on.
  [[nodiscard]] bool worth_beginning(std::uint32_t bytes, Nanos elapsed) const;
  /// Enough was moved since worth_beginning() was asked last, to ask it again.
  [[nodiscard]] bool tells(std::uint32_t bytes) const { return bytes >= limits_.begin_bytes; }
  /// Whether one that has rested, and has moved so much since, is to rest again.
  [[nodiscard]] bool worth_going_on(std::uint32_t bytes) const { return bytes >= limits_.least_bytes; }

  /// How far the peer of a direction that rests is to be ahead: as much as is wanted in an interval, and half of that
  /// again. The kernel adapts its window to what is read in a round trip; with rests that is never more than the window
  /// let through, so that it would stay closed for most of each rest.
  [[nodiscard]] std::uint32_t window_bytes() const { return limits_.wanted_bytes + limits_.wanted_bytes / 2; }

  /// `bytes`: what it has moved in the interval that ends; 0 for one that begins.
  void rest(DirectionId direction, std::uint32_t bytes, Instant now);
  /// What has come for one whose rest is over, before it is read.
  void note_queue(io::ReceiveQueue queue);

  /// When the rest of all that rest ends; kNever when none does.
  [[nodiscard]] Instant due() const { return due_; }
  /// Those whose rest is over: all or none. Valid until the next call. Flows that have ended may be among them.
  [[nodiscard]] std::span<const DirectionId> wake(Instant now);

  [[nodiscard]] Nanos interval() const { return interval_; }

 private:
  void adapt();

  CoalesceLimits limits_;
  std::vector<DirectionId> resting_;
  std::vector<DirectionId> awake_;
  Instant due_ = kNever;
  Nanos interval_;
  double pressure_ = 0.0;  // of the busiest direction in this interval; 1: as much as is wanted
};

}  // namespace millrace::flow
