#include "millrace/base/timer_wheel.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

#include "millrace/base/rng.hpp"

using millrace::Instant;
using millrace::kNever;
using millrace::Nanos;
using millrace::Rng;
using millrace::TimerNode;
using millrace::TimerWheel;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kTickNanos = TimerWheel::kTick.count();

constexpr Instant at(Nanos since_zero) {
  return Instant(since_zero);
}

std::int64_t nanos(Instant instant) {
  return instant.time_since_epoch().count();
}

/// `base` + `distance`, held within what an Instant can tell.
Instant plus(Instant base, std::int64_t distance) {
  std::int64_t sum = 0;
  if (__builtin_add_overflow(nanos(base), distance, &sum)) return distance > 0 ? Instant::max() : Instant();
  return Instant(Nanos(sum));
}

/// The wheel and a multimap that says what it should do.
class Model {
 public:
  explicit Model(std::uint64_t seed)
      : rng_(seed), now_(Instant(Nanos(start(rng_)))), wheel_(now_), deadlines_(nodes_.size(), kNever) {}

  void step() {
    switch (rng_.below(8)) {
      case 0:
      case 1:
      case 2:
        arm_somewhere();
        break;
      case 3:
        arm(pick(), kNever);
        break;
      case 4:
        disarm(pick());
        break;
      case 5:
        now_ = plus(now_, random_distance());
        expire(rng_.below(4));
        break;
      case 6:
        now_ = plus(now_, random_distance());
        expire(nodes_.size() + 1);
        break;
      default:
        wake_at_next_deadline();
    }
    check();
  }

  /// Wakes only when the wheel asks for it, until nothing is left.
  void run_out() {
    while (!by_deadline_.empty()) wake_at_next_deadline();
    REQUIRE(wheel_.armed() == 0);
    REQUIRE(wheel_.next_deadline() == kNever);
  }

 private:
  static std::int64_t start(Rng& rng) {
    const std::int64_t around = std::int64_t{1} << rng.below(60);
    return std::max<std::int64_t>(around + jitter(rng) * kTickNanos, 0);  // a clock is never before its zero
  }

  /// -1, 0 or 1.
  static std::int64_t jitter(Rng& rng) { return static_cast<std::int64_t>(rng.below(3)) - 1; }

  std::size_t pick() { return rng_.below(nodes_.size()); }

  /// From nothing to a century, all magnitudes alike; the neighbourhood of the levels' edges more than the rest.
  std::int64_t random_distance() {
    const std::uint64_t magnitude = rng_.one_in(20) ? 62 : 44;
    const std::uint64_t power = std::uint64_t{1} << rng_.below(magnitude);
    if (!rng_.one_in(4)) return static_cast<std::int64_t>(rng_.below(power + 1));
    const std::int64_t ticks = std::int64_t{1} << rng_.below(40);
    return ticks * kTickNanos + jitter(rng_);
  }

  Instant random_deadline() {
    if (rng_.one_in(50)) return plus(Instant::max(), -static_cast<std::int64_t>(rng_.below(3'000'000)));
    if (rng_.one_in(8)) return plus(now_, -random_distance());
    if (rng_.one_in(8)) {  // on the edge of a bucket of some level
      const auto shift = static_cast<unsigned>(6 * (1 + rng_.below(6)));
      const std::int64_t edge = ((nanos(now_) / kTickNanos >> shift) + 1) << shift;
      if (edge > nanos(Instant::max()) / kTickNanos) return kNever;
      return plus(Instant(Nanos(edge * kTickNanos)), jitter(rng_) * kTickNanos);
    }
    return plus(now_, random_distance());
  }

  void arm(std::size_t id, Instant deadline) {
    forget(id);
    wheel_.arm(nodes_[id], deadline);
    // Only what can be rounded up to a tick counts as a deadline.
    if (nanos(deadline) > Instant::max().time_since_epoch().count() / kTickNanos * kTickNanos) return;
    deadlines_[id] = deadline;
    by_deadline_.emplace(deadline, id);
  }

  // One random number per full expression, here and elsewhere: a seed is to mean the same with every compiler.
  void arm_somewhere() {
    const std::size_t id = pick();
    arm(id, random_deadline());
  }

  void disarm(std::size_t id) {
    forget(id);
    wheel_.disarm(nodes_[id]);
  }

  void forget(std::size_t id) {
    const auto [first, last] = by_deadline_.equal_range(deadlines_[id]);
    const auto found = std::find_if(first, last, [id](const auto& each) { return each.second == id; });
    if (found != last) by_deadline_.erase(found);
    deadlines_[id] = kNever;
  }

  std::size_t expire(std::size_t limit) {
    std::size_t count = 0;
    for (; count < limit; ++count) {
      TimerNode* node = wheel_.expire(now_);
      if (node == nullptr) {
        // At most one tick late: whatever was due a tick ago has been handed out.
        if (!by_deadline_.empty()) REQUIRE(nanos(by_deadline_.begin()->first) > nanos(now_) - kTickNanos);
        break;
      }
      const auto id = static_cast<std::size_t>(node - nodes_.data());
      REQUIRE(!node->armed());
      REQUIRE(deadlines_[id] != kNever);  // armed, as far as we know
      REQUIRE(deadlines_[id] <= now_);    // never early
      forget(id);
      // What a handler does: arms itself again, or ends others that may be due in this very pass.
      if (rng_.one_in(4)) arm(id, plus(now_, 1 + random_distance()));
      if (rng_.one_in(4)) disarm(pick());
    }
    return count;
  }

  void wake_at_next_deadline() {
    if (by_deadline_.empty()) return;
    // A timer is moved at most once per level, so wake-ups that bring nothing are few.
    for (int in_vain = 0;; ++in_vain) {
      REQUIRE(in_vain <= 8);
      const Instant next = wheel_.next_deadline();
      REQUIRE(next != kNever);
      if (in_vain > 0) REQUIRE(next > now_);
      now_ = std::max(now_, next);
      if (expire(nodes_.size() + 1) > 0 || by_deadline_.empty()) return;
    }
  }

  void check() {
    REQUIRE(wheel_.armed() == by_deadline_.size());
    Instant earliest = kNever;
    for (std::size_t id = 0; id < nodes_.size(); ++id) {
      REQUIRE(nodes_[id].armed() == (deadlines_[id] != kNever));
      if (!nodes_[id].armed()) continue;
      const std::int64_t rounding = nanos(nodes_[id].deadline()) - std::max<std::int64_t>(nanos(deadlines_[id]), 0);
      REQUIRE((rounding >= 0 && rounding < kTickNanos));
      earliest = std::min(earliest, nodes_[id].deadline());
    }
    REQUIRE(wheel_.next_deadline() <= earliest);
    REQUIRE((wheel_.next_deadline() == kNever) == by_deadline_.empty());
  }

  Rng rng_;
  Instant now_;
  std::array<TimerNode, 24> nodes_;
  TimerWheel wheel_;  // after the nodes: it goes first, and disarms them
  std::vector<Instant> deadlines_;
  std::multimap<Instant, std::size_t> by_deadline_;
};

}  // namespace

TEST_CASE("timer wheel: does what a sorted list would do") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    Model model(seed);
    for (int i = 0; i < 200; ++i) model.step();
    if (seed % 2 == 0) model.run_out();
  }
}

TEST_CASE("timer wheel: empty") {
  TimerWheel wheel(at(5s));
  CHECK(wheel.armed() == 0);
  CHECK(wheel.next_deadline() == kNever);
  CHECK(wheel.expire(at(100h)) == nullptr);
}

TEST_CASE("timer wheel: fires at its tick, neither before nor later") {
  TimerWheel wheel(at(1s));
  TimerNode node;
  wheel.arm(node, at(1500ms));
  CHECK(wheel.armed() == 1);
  CHECK(node.deadline() == at(1500ms));
  CHECK(wheel.expire(at(1500ms - 1ns)) == nullptr);
  CHECK(wheel.expire(at(1500ms)) == &node);
  CHECK_FALSE(node.armed());
  CHECK(wheel.armed() == 0);
  CHECK(wheel.expire(at(1500ms)) == nullptr);
}

TEST_CASE("timer wheel: a deadline within a tick is rounded up") {
  TimerWheel wheel(at(0s));
  TimerNode node;
  wheel.arm(node, at(10ms + 1ns));
  CHECK(node.deadline() == at(11ms));
  CHECK(wheel.expire(at(11ms - 1ns)) == nullptr);
  CHECK(wheel.expire(at(11ms)) == &node);
}

TEST_CASE("timer wheel: a deadline in the past fires at the next expire, whatever the clock says") {
  TimerWheel wheel(at(10s));
  TimerNode past;
  TimerNode before_zero;
  wheel.arm(past, at(3s));
  wheel.arm(before_zero, at(-7s));
  CHECK(wheel.next_deadline() <= at(3s));
  CHECK(wheel.expire(at(10s)) == &past);
  CHECK(wheel.expire(at(9s)) == &before_zero);  // a clock that goes back is ignored
  CHECK(wheel.expire(at(10s)) == nullptr);
}

TEST_CASE("timer wheel: kNever disarms") {
  TimerWheel wheel(at(0s));
  TimerNode node;
  wheel.arm(node, kNever);
  CHECK_FALSE(node.armed());
  wheel.arm(node, at(1s));
  wheel.arm(node, kNever);
  CHECK_FALSE(node.armed());
  CHECK(wheel.armed() == 0);
  CHECK(wheel.next_deadline() == kNever);
  CHECK(wheel.expire(at(2s)) == nullptr);
}

TEST_CASE("timer wheel: the last moments before kNever do not overflow") {
  TimerWheel wheel(at(0s));
  TimerNode last;
  TimerNode too_late;
  const Instant last_tick = Instant(Nanos(Instant::max().time_since_epoch().count() / kTickNanos * kTickNanos));
  wheel.arm(last, last_tick);
  wheel.arm(too_late, last_tick + 1ns);
  CHECK(last.armed());
  CHECK_FALSE(too_late.armed());
  CHECK(wheel.expire(last_tick - 1ns) == nullptr);
  CHECK(wheel.next_deadline() == last_tick);
  CHECK(wheel.expire(kNever) == &last);
}

TEST_CASE("timer wheel: re-arming moves a timer either way, disarming is idempotent") {
  TimerWheel wheel(at(0s));
  TimerNode node;
  wheel.arm(node, at(1h));
  wheel.arm(node, at(2ms));
  CHECK(wheel.armed() == 1);
  CHECK(wheel.next_deadline() == at(2ms));
  wheel.arm(node, at(3h));
  CHECK(wheel.next_deadline() > at(2ms));
  CHECK(wheel.expire(at(2h)) == nullptr);
  wheel.disarm(node);
  wheel.disarm(node);
  CHECK(wheel.armed() == 0);
  CHECK(wheel.expire(at(4h)) == nullptr);
}

TEST_CASE("timer wheel: a large jump hands out everything, in the order of the ticks") {
  TimerWheel wheel(at(0s));
  std::vector<std::unique_ptr<TimerNode>> nodes;
  const std::array<Nanos, 6> deadlines{400 * 24h, 1h, 5ms, 64ms, 70s, 63ms};
  for (const Nanos deadline : deadlines) {
    nodes.push_back(std::make_unique<TimerNode>());
    wheel.arm(*nodes.back(), at(deadline));
  }
  std::vector<Nanos> order;
  while (TimerNode* node = wheel.expire(at(1000 * 24h))) {
    const auto found = std::find_if(nodes.begin(), nodes.end(), [&](const auto& each) { return each.get() == node; });
    order.push_back(deadlines[static_cast<std::size_t>(found - nodes.begin())]);
  }
  CHECK(order.size() == deadlines.size());
  CHECK(std::is_sorted(order.begin(), order.end()));
}

TEST_CASE("timer wheel: timers due in the same pass may be disarmed or moved by each other's handlers") {
  TimerWheel wheel(at(0s));
  TimerNode a;
  TimerNode b;
  TimerNode c;
  wheel.arm(a, at(1ms));
  wheel.arm(b, at(1ms));
  wheel.arm(c, at(1ms));
  CHECK(wheel.expire(at(5ms)) == &a);
  wheel.disarm(b);
  wheel.arm(c, at(50ms));
  wheel.arm(a, at(6ms));
  CHECK(wheel.expire(at(5ms)) == nullptr);
  CHECK(wheel.armed() == 2);
  CHECK(wheel.next_deadline() == at(6ms));
  CHECK(wheel.expire(at(6ms)) == &a);
  CHECK(wheel.expire(at(50ms)) == &c);
}

TEST_CASE("timer wheel: stopping early loses nothing") {
  TimerWheel wheel(at(0s));
  std::array<TimerNode, 5> nodes;
  for (TimerNode& node : nodes) wheel.arm(node, at(3ms));
  CHECK(wheel.expire(at(3ms)) == &nodes[0]);
  CHECK(wheel.armed() == 4);
  CHECK(wheel.next_deadline() <= at(3ms));
  for (std::size_t i = 1; i < nodes.size(); ++i) CHECK(wheel.expire(at(10ms)) == &nodes[i]);
  CHECK(wheel.expire(at(10ms)) == nullptr);
}

TEST_CASE("timer wheel: a far timer costs few wake-ups, each of which gets nearer") {
  TimerWheel wheel(at(123456789ms));
  TimerNode node;
  const Instant deadline = at(123456789ms + 100 * 365 * 24h + 777ms);
  wheel.arm(node, deadline);
  int wakes = 0;
  for (Instant now = at(123456789ms);; ++wakes) {
    const Instant next = wheel.next_deadline();
    REQUIRE(next > now);
    REQUIRE(next <= deadline);
    now = next;
    if (wheel.expire(now) == &node) break;
  }
  CHECK(wakes < 8);
  CHECK_FALSE(node.armed());
}

TEST_CASE("timer wheel: what has been disarmed causes no wake-up") {
  TimerWheel wheel(at(0s));
  TimerNode near;
  TimerNode far;
  wheel.arm(near, at(20s));
  wheel.arm(far, at(30h));
  const Instant with_both = wheel.next_deadline();
  wheel.disarm(near);
  CHECK(wheel.next_deadline() > with_both);
  CHECK(wheel.next_deadline() > at(1h));
  wheel.disarm(far);
}

TEST_CASE("timer wheel: its end disarms what is left") {
  TimerNode waiting;
  TimerNode due;
  {
    TimerWheel wheel(at(1s));
    wheel.arm(waiting, at(5s));
    wheel.arm(due, at(0s));
  }
  CHECK_FALSE(waiting.armed());
  CHECK_FALSE(due.armed());
}
