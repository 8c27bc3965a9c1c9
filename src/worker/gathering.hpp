#pragma once
// Gathering: how long this worker lets pass before it looks at what has completed.
//
// At a high rate every wait ends with one or two completions, and going to sleep and being woken costs as much as what
// they bring. Then a wait lasts a little at least, and hands back what has come together. It is worth that delay only
// when much goes on, and in many flows: a few that answer one another would merely be slowed down. How long it lasts
// follows from how long the backends take to answer anyway: a tenth of that; a fifth where several workers share the
// connections, as less comes to each of them.
// One thread.

#include <algorithm>
#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace::worker {

class Gathering {
 public:
  /// `workers`: how many share the connections.
  explicit Gathering(std::uint32_t workers = 1) : share_(workers > 1 ? kShareOfSeveral : kShare) {}

  /// A completion of a flow; `stamp` is kept with the flow, and belongs to this class.
  void note_completion(std::uint16_t& stamp) {
    ++completions_;
    if (stamp == window_) return;
    stamp = window_;
    ++flows_;
  }

  /// Bytes have come from a client; `asked` is kept with the flow, and belongs to this class.
  static void note_request(std::uint32_t& asked, Instant now) { asked = stamp_of(now); }
  /// Bytes have come from the backend.
  void note_answer(std::uint32_t& asked, Instant now) {
    if (asked == 0) return;
    answer_us_ += stamp_of(now) - asked;
    ++answers_;
    asked = 0;
  }

  /// Asked at the end of each pass; 0: do not gather.
  [[nodiscard]] Nanos time(Instant now) {
    if (now - began_ >= kWindow) begin_window(now);
    return time_;
  }

  static constexpr Nanos kWindow = std::chrono::milliseconds(4);
  static constexpr std::uint64_t kRate = 64'000;  // completions a second
  static constexpr std::uint32_t kFlows = 16;     // of which they come, in a window
  static constexpr std::uint64_t kShare = 10;     // of the time that an answer takes: a wait lasts one part of so many
  static constexpr std::uint64_t kShareOfSeveral = 5;
  static constexpr Nanos kTimeMin = std::chrono::microseconds(10);
  static constexpr Nanos kTimeOneWay = std::chrono::microseconds(30);  // nobody answers
  static constexpr Nanos kTimeMax = std::chrono::microseconds(200);

 private:
  void begin_window(Instant now) {
    time_ = time_after(now - began_);
    began_ = now;
    completions_ = 0;
    flows_ = 0;
    answers_ = 0;
    answer_us_ = 0;
    if (++window_ == 0) window_ = 1;  // 0: a flow that has not been seen
  }

  [[nodiscard]] Nanos time_after(Nanos window) const {
    const double seconds = std::chrono::duration<double>(window).count();
    const bool pays = flows_ >= kFlows && static_cast<double>(completions_) >= static_cast<double>(kRate) * seconds;
    if (!pays) return Nanos(0);
    if (answers_ == 0) return kTimeOneWay;
    return std::clamp(Nanos(std::chrono::microseconds(answer_us_ / (answers_ * share_))), kTimeMin, kTimeMax);
  }

  /// Microseconds; it runs over after 71 minutes. 0 is left for "nobody has asked".
  [[nodiscard]] static std::uint32_t stamp_of(Instant now) {
    const auto stamp = static_cast<std::uint32_t>(now.time_since_epoch() / std::chrono::microseconds(1));
    return stamp == 0 ? 1 : stamp;
  }

  std::uint64_t share_;
  Instant began_;
  std::uint64_t completions_ = 0;
  std::uint64_t answers_ = 0;
  std::uint64_t answer_us_ = 0;  // of all of them together
  std::uint32_t flows_ = 0;
  std::uint16_t window_ = 1;
  Nanos time_{0};
};

}  // namespace millrace::worker
