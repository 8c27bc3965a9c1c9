#include "millrace/worker/source_limits.hpp"

#include <algorithm>

#include "load_cells.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/base/rng.hpp"
#include "millrace/pool/snapshot.hpp"

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

struct SourceLimits::Rate {
  Rate(std::uint32_t cells, std::uint32_t per_second)
      : rate(per_second),
        clock(static_cast<std::uint64_t>((Uint128{per_second * kStepsPerToken} << 64U) / kNanosPerSecond)),
        loads({.cells = cells,
               .clock_bits = kRateBits,
               .full = per_second * kStepsPerToken,
               .live_max = per_second * kStepsPerToken * kLiveSeconds,
               .replaces_least = true}) {}

  std::uint32_t rate;   // tokens a second
  std::uint64_t clock;  // its steps in a nanosecond, times 2^64
  LoadCells loads;
};

/// Read by all workers while one thread changes them. The table of connections stays once it is there: connections that
/// it counts hold places in it.
struct SourceLimits::Tables {
  Tables() = default;
  ~Tables() {
    delete connections.load();
    delete rate.load();
  }
  Tables(const Tables&) = delete;
  Tables& operator=(const Tables&) = delete;

  std::atomic<LoadCells*> connections{nullptr};  // null: there was never a limit
  std::atomic<Rate*> rate{nullptr};              // null: no limit
};

SourceLimits::SourceLimits(std::span<const Rule> rules, std::uint64_t seed)
    : seed_(seed), listeners_(pool::kListenersMax) {
  set_rules(rules);
}

void SourceLimits::set_rules(std::span<const Rule> rules) {
  listeners_.grow(rules.size());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    set_connections(listeners_[i], rules[i]);
    set_rate(listeners_[i], rules[i]);
  }
}

void SourceLimits::forget_old_rules() {
  old_rates_.clear();
}

void SourceLimits::set_connections(Tables& tables, const Rule& rule) {
  constexpr std::uint64_t kAll = (std::uint64_t{1} << kCountBits) - 1;
  const std::uint64_t limit = rule.connections == 0 ? kAll : std::min<std::uint64_t>(rule.connections, kAll);
  if (LoadCells* present = tables.connections.load()) return present->set_full(limit);
  if (rule.connections == 0) return;
  auto made = std::make_unique<LoadCells>(LoadCells::Shape{
      .cells = cells_for(rule.connections_max), .clock_bits = kCountBits, .full = limit, .live_max = kAll});
  tables.connections.store(made.release(), std::memory_order_release);
}

void SourceLimits::set_rate(Tables& tables, const Rule& rule) {
  MILLRACE_ASSERT(rule.rate <= kRateMax, "the clock has steps enough");
  Rate* present = tables.rate.load();
  if (rule.rate == (present == nullptr ? 0 : present->rate)) return;
  std::unique_ptr<Rate> made;
  if (rule.rate != 0) {
    made = std::make_unique<Rate>(std::max(cells_for(rule.connections_max), kRateCellsMin), rule.rate);
  }
  tables.rate.store(made.release(), std::memory_order_release);
  old_rates_.emplace_back(present);
}

SourceLimits::~SourceLimits() = default;

SourceLimits::Entry SourceLimits::admit(std::uint32_t listener, const net::IpEndpoint& client, Instant now) {
  const Tables& tables = listeners_[listener];
  Entry entry;
  if (client.family() == net::Family::none) return entry;
  net::IpEndpoint address = client;
  address.set_port(0);
  const std::uint64_t hash = address.hash(seed_);
  if (LoadCells* connections = tables.connections.load(std::memory_order_acquire)) {
    const LoadCells::Added added = connections->add(hash, 1, 0);
    if (added.outcome == LoadCells::Outcome::over) return {.outcome = Outcome::too_many};
    if (added.outcome == LoadCells::Outcome::added) entry.hold = added.cell;
    if (added.outcome == LoadCells::Outcome::uncounted) uncounted_.fetch_add(1, std::memory_order_relaxed);
  }
  if (Rate* rate = tables.rate.load(std::memory_order_acquire)) {
    const std::uint64_t steps = scale(static_cast<std::uint64_t>(now.time_since_epoch().count()), rate->clock);
    const LoadCells::Added added = rate->loads.add(hash, kStepsPerToken, steps);
    if (added.outcome == LoadCells::Outcome::over) {
      release(listener, entry.hold);
      return {.outcome = Outcome::too_fast};
    }
  }
  return entry;
}

void SourceLimits::release(std::uint32_t listener, std::uint32_t hold) {
  if (hold != kUncounted) listeners_[listener].connections.load(std::memory_order_acquire)->subtract_one(hold);
}

std::uint64_t SourceLimits::counted() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < listeners_.size(); ++i) {
    if (const LoadCells* connections = listeners_[i].connections.load()) sum += connections->total(0);
  }
  return sum;
}

}  // namespace millrace::worker
