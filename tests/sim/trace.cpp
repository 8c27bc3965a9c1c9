#include "trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "millrace/base/rng.hpp"

namespace millrace::sim {

void Trace::note(const char* what, int who, int number, std::int64_t a, std::int64_t b) {
  const Event event{clock_.now(), what, who, number, a, b};
  events_[count_++ % kKept] = event;
  for (const std::int64_t word : {static_cast<std::int64_t>(event.at.time_since_epoch().count()),
                                  static_cast<std::int64_t>(who) << 32 ^ number, a, b}) {
    digest_ = mix64(digest_ ^ static_cast<std::uint64_t>(word));
  }
  if (verbose_) std::puts(format(event).c_str());
}

std::string Trace::format(const Event& event) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(event.at.time_since_epoch()).count();
  const std::string who = event.who < 0 ? std::string("net") : fmt::format("w{}", event.who);
  return fmt::format("{:>6}.{:06} {:<4}{:<22} #{:<6} {:>8} {:>8}", micros / 1'000'000, micros % 1'000'000, who,
                     event.what, event.number, event.a, event.b);
}

std::string Trace::last(std::size_t count) const {
  count = std::min({count, kKept, static_cast<std::size_t>(count_)});
  std::string text;
  for (std::uint64_t i = count_ - count; i < count_; ++i) text += format(events_[i % kKept]) + "\n";
  return text;
}

void Trace::fail(std::string oracle, std::string detail) const {
  Violation violation{std::move(oracle), std::move(detail)};
  if (!on_violation) throw violation;
  on_violation(violation);
  std::abort();
}

}  // namespace millrace::sim
