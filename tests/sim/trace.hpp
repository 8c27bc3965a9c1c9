#pragma once
// Trace: what happened in one run, and how a run fails.
//
// Keeps the last events in a ring, as plain numbers, and formats them only when somebody asks; so every run can afford
// it. Every event also goes into a digest: two runs of one seed must have the same one.

#include <array>
#include <cstdint>
#include <functional>
#include <string>

#include "clock.hpp"

namespace millrace::sim {

/// A broken promise: of the production code, of the simulation, or of how one uses the other.
struct Violation {
  std::string oracle;  // which rule
  std::string detail;
};

class Trace {
 public:
  static constexpr std::size_t kKept = 512;

  explicit Trace(const Clock& clock) : clock_(clock) {}

  /// `what` must be a literal. `who`: the worker, or -1 for the network and the peers.
  void note(const char* what, int who, int number, std::int64_t a = 0, std::int64_t b = 0);
  /// The last `count` events, one a line.
  [[nodiscard]] std::string last(std::size_t count) const;
  [[nodiscard]] std::uint64_t digest() const { return digest_; }
  void print_as_it_goes() { verbose_ = true; }

  /// Ends the run: calls `on_violation`, which must not return; throws the Violation when there is none.
  [[noreturn]] void fail(std::string oracle, std::string detail) const;
  void check(bool condition, const char* oracle, const char* detail) const {
    if (!condition) fail(oracle, detail);
  }
  std::function<void(const Violation&)> on_violation;

 private:
  struct Event {
    Instant at;
    const char* what;
    int who;
    int number;
    std::int64_t a;
    std::int64_t b;
  };
  [[nodiscard]] static std::string format(const Event& event);

  const Clock& clock_;
  std::array<Event, kKept> events_{};
  std::uint64_t count_ = 0;
  std::uint64_t digest_ = 0;
  bool verbose_ = false;
};

}  // namespace millrace::sim
