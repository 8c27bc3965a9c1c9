#pragma once
// PipePool: kernel pipes of one worker, kept for reuse. A pipe is taken by one direction of one flow at a time and
// comes back empty, or is closed when bytes are left in it. One thread.
//
// Directions take turns. However many have bytes to move, only a few hold a pipe at a time, and the others wait in the
// order in which they came: so few pipes serve many, and what went into one comes out again while it is in the cache.
// A pipe that waits for a slow reader is stalled, and keeps nobody from his turn.

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "millrace/flow/direction_id.hpp"
#include "millrace/io/io.hpp"

namespace millrace::flow {

/// docs/data-path.md says how the number of those that move was found.
struct PipeLimits {
  std::uint32_t open = 256;   // exist at any time, at most
  std::uint32_t kept = 64;    // empty ones, for reuse
  std::uint32_t moving = 16;  // are being filled and emptied at a time; above 0
};

class PipePool {
 public:
  PipePool(io::Io& io, const PipeLimits& limits);
  ~PipePool();
  PipePool(const PipePool&) = delete;
  PipePool& operator=(const PipePool&) = delete;

  /// Whether a direction may take a pipe at once; otherwise it waits for its turn.
  [[nodiscard]] bool turn_is_free() const { return waiting_.empty() && moving_ < limits_.moving; }
  void wait_for_turn(DirectionId direction) { waiting_.push_back(direction); }
  /// Whose turn it is; nobody when enough are moving. Flows that have ended may be among them.
  [[nodiscard]] std::optional<DirectionId> next_turn();
  /// Whether there is somebody.
  [[nodiscard]] bool turn_due() const { return !waiting_.empty() && moving_ < limits_.moving; }

  /// False when the bound is reached or the kernel has no descriptor left; copying goes on then.
  [[nodiscard]] bool take(io::Pipe& pipe);
  /// A pipe that is not stalled.
  void give_back(io::Pipe& pipe, bool empty);
  /// The bytes in a pipe wait for their reader; and do no longer.
  void stall() { --moving_; }
  void go_on() { ++moving_; }
  /// Closes the pipes that are kept; the ones that are out stay out.
  void trim();

  [[nodiscard]] std::uint32_t taken() const { return open_ - static_cast<std::uint32_t>(kept_.size()); }
  [[nodiscard]] std::uint32_t open() const { return open_; }

 private:
  io::Io& io_;
  PipeLimits limits_;
  std::uint32_t open_ = 0;
  std::uint32_t moving_ = 0;  // pipes that are taken and not stalled
  std::vector<io::Pipe> kept_;
  std::deque<DirectionId> waiting_;
};

}  // namespace millrace::flow
