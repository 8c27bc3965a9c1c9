#include "millrace/worker/source_limits.hpp"

#include <algorithm>

#include "load_cells.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::worker {

namespace {

constexpr std::uint32_t kCellsMax = 1U << 20U;      // 8 MiB
constexpr std::uint32_t kRateCellsMin = 1U << 16U;  // connections may be short: more addresses in a second than at once
constexpr unsigned kCountBits = 24;                 // more than there can be connections
constexpr unsigned kRateBits = 38;
constexpr std::uint64_t kStepsPerToken = 64;
constexpr std::uint64_t kNanosPerSecond = 1'000'000'000;

// A moment of the rate's clock lies up to a second ahead of the worker that wrote it, and further ahead of one that is
// late. The clock goes round in 2^38 steps (half a day for the highest rate, years for usual ones); if an address comes
// back exactly then, within these seconds, it is taken for one that has been here a moment ago.
constexpr std::uint64_t kLiveSeconds = 8;

std::uint32_t cells_for(std::uint32_t connections) {
  return std::min(connections, kCellsMax / 2) * 2;
}

}  // namespace

struct SourceLimits::Tables {
  std::unique_ptr<LoadCells> connections{};  // null: no limit
  std::unique_ptr<LoadCells> rate{};
  std::uint64_t clock = 0;  // of the rate: its steps in a nanosecond, times 2^64
};

SourceLimits::SourceLimits(std::span<const Rule> rules, std::uint64_t seed) : seed_(seed) {
  for (const Rule& rule : rules) {
    Tables& tables = listeners_.emplace_back();
    if (rule.connections != 0) {
      constexpr std::uint64_t kAll = (std::uint64_t{1} << kCountBits) - 1;
      tables.connections =
          std::make_unique<LoadCells>(LoadCells::Shape{.cells = cells_for(rule.connections_max),
                                                       .clock_bits = kCountBits,
                                                       .full = std::min<std::uint64_t>(rule.connections, kAll),
                                                       .live_max = kAll});
    }
    if (rule.rate == 0) continue;
    MILLRACE_ASSERT(rule.rate <= kRateMax, "the clock has steps enough");
    const std::uint64_t steps_per_second = rule.rate * kStepsPerToken;
    tables.clock = static_cast<std::uint64_t>((Uint128{steps_per_second} << 64U) / kNanosPerSecond);
    tables.rate =
        std::make_unique<LoadCells>(LoadCells::Shape{.cells = std::max(cells_for(rule.connections_max), kRateCellsMin),
                                                     .clock_bits = kRateBits,
                                                     .full = steps_per_second,
                                                     .live_max = steps_per_second * kLiveSeconds,
                                                     .replaces_least = true});
  }
}

SourceLimits::~SourceLimits() = default;

SourceLimits::Entry SourceLimits::admit(std::uint32_t listener, const net::IpEndpoint& client, Instant now) {
  const Tables& tables = listeners_[listener];
  Entry entry;
  if (client.family() == net::Family::none) return entry;
  net::IpEndpoint address = client;
  address.set_port(0);
  const std::uint64_t hash = address.hash(seed_);
  if (tables.connections != nullptr) {
    const LoadCells::Added added = tables.connections->add(hash, 1, 0);
    if (added.outcome == LoadCells::Outcome::over) return {.outcome = Outcome::too_many};
    if (added.outcome == LoadCells::Outcome::added) entry.hold = added.cell;
    if (added.outcome == LoadCells::Outcome::uncounted) uncounted_.fetch_add(1, std::memory_order_relaxed);
  }
  if (tables.rate != nullptr) {
    const std::uint64_t steps = scale(static_cast<std::uint64_t>(now.time_since_epoch().count()), tables.clock);
    const LoadCells::Added added = tables.rate->add(hash, kStepsPerToken, steps);
    if (added.outcome == LoadCells::Outcome::over) {
      release(listener, entry.hold);
      return {.outcome = Outcome::too_fast};
    }
  }
  return entry;
}

void SourceLimits::release(std::uint32_t listener, std::uint32_t hold) {
  if (hold != kUncounted) listeners_[listener].connections->subtract_one(hold);
}

std::uint64_t SourceLimits::counted() const {
  std::uint64_t sum = 0;
  for (const Tables& tables : listeners_) {
    if (tables.connections != nullptr) sum += tables.connections->total(0);
  }
  return sum;
}

}  // namespace millrace::worker
