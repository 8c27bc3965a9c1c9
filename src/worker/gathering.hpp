#pragma once
// Gathering: whether this worker lets a little time pass before it looks at what has completed.
//
// At a high rate every wait ends with one or two completions, and going to sleep and being woken costs as much as what
// they bring. Then a wait lasts kGatherTime at least, and hands back what has come together. It is worth that delay
// only when much goes on, and in many flows: a few that answer one another would merely be slowed down.
// One thread.

#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace::worker {

class Gathering {
 public:
  /// A completion of a flow; `stamp` is kept with the flow, and belongs to this class.
  void note_completion(std::uint16_t& stamp) {
    ++completions_;
    if (stamp == window_) return;
    stamp = window_;
    ++flows_;
  }

  /// Asked at the end of each pass.
  [[nodiscard]] bool pays(Instant now) {
    if (now - began_ >= kWindow) begin_window(now);
    return pays_;
  }

  static constexpr Nanos kWindow = std::chrono::milliseconds(4);
  static constexpr std::uint64_t kRate = 64'000;  // completions a second
  static constexpr std::uint32_t kFlows = 16;     // of which they come, in a window
  static constexpr Nanos kGatherTime = std::chrono::microseconds(30);

 private:
  void begin_window(Instant now) {
    const double seconds = std::chrono::duration<double>(now - began_).count();
    pays_ = flows_ >= kFlows && static_cast<double>(completions_) >= static_cast<double>(kRate) * seconds;
    began_ = now;
    completions_ = 0;
    flows_ = 0;
    if (++window_ == 0) window_ = 1;  // 0: a flow that has not been seen
  }

  Instant began_;
  std::uint64_t completions_ = 0;
  std::uint32_t flows_ = 0;
  std::uint16_t window_ = 1;
  bool pays_ = false;
};

}  // namespace millrace::worker
