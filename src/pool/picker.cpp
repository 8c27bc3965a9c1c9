#include "millrace/pool/picker.hpp"

#include "millrace/balance/bounded_load.hpp"
#include "millrace/balance/first.hpp"

namespace millrace::pool {

using balance::Algorithm;

namespace {

constexpr int kFullRaces = 8;  // attempts when other workers keep taking the last free place

}  // namespace

Picker::Picker(const Pool& pool, BackendTable& table)
    : pool_(pool),
      table_(table),
      primary_(make_tier(0, pool.primaries, pool.primary_table)),
      backup_(make_tier(pool.primaries, static_cast<std::uint32_t>(pool.backends.size()), pool.backup_table)) {}

Picker::Tier Picker::make_tier(std::uint32_t begin, std::uint32_t end,
                               const std::optional<balance::Maglev>& hashes) const {
  std::vector<std::uint32_t> weights;
  for (std::uint32_t i = begin; i < end; ++i) weights.push_back(pool_.backends[i].weight);
  Cursor cursor = std::monostate{};
  switch (pool_.algorithm) {
    case Algorithm::least_conn:
      cursor = balance::LeastConn(weights);
      break;
    case Algorithm::round_robin:
      cursor = balance::SmoothWrr(weights);
      break;
    case Algorithm::random_two:
      cursor = balance::RandomTwo(weights);
      break;
    case Algorithm::source_hash:
    case Algorithm::first:
      break;
  }
  return {.begin = begin,
          .weights = std::move(weights),
          .hashes = hashes ? &*hashes : nullptr,
          .cursor = std::move(cursor)};
}

bool Picker::usable(std::uint32_t index, Health health) const {
  const Backend& backend = pool_.backends[index];
  return backend.weight != 0 && (health == Health::ignored || table_.health(backend.id) == HealthState::up);
}

bool Picker::any_up() const {
  for (std::uint32_t i = 0; i < pool_.backends.size(); ++i) {
    if (usable(i, Health::respected)) return true;
  }
  return false;
}

Pick Picker::pick(const PickRequest& request) {
  Pick found = pick_untried(request, request.tried);
  if (found.outcome == PickOutcome::none && !request.tried.empty()) {
    found = pick_untried(request, TriedSet{});
    if (found.outcome == PickOutcome::picked) found.outcome = PickOutcome::picked_again;
  }
  return found;
}

Pick Picker::pick_untried(const PickRequest& request, TriedSet tried) {
  failing_open_ = false;
  Pick found = pick_in(primary_, request, tried, Health::respected);
  if (found.outcome == PickOutcome::none) found = pick_in(backup_, request, tried, Health::respected);
  if (found.outcome != PickOutcome::none || !pool_.fail_open || any_up()) return found;
  failing_open_ = true;
  found = pick_in(primary_, request, tried, Health::ignored);
  if (found.outcome == PickOutcome::none) found = pick_in(backup_, request, tried, Health::ignored);
  return found;
}

Pick Picker::pick_in(Tier& tier, const PickRequest& request, TriedSet tried, Health health) {
  bool any_full = false;
  const auto eligible = [&](std::uint32_t i) {
    const std::uint32_t index = tier.begin + i;
    if (!usable(index, health) || tried.contains(index)) return false;
    const Backend& backend = pool_.backends[index];
    const bool full = backend.max_connections != 0 && table_.active(backend.id) >= backend.max_connections;
    any_full = any_full || full;
    return !full;
  };
  for (int race = 0; race < kFullRaces; ++race) {
    const std::optional<std::uint32_t> chosen = choose(tier, request, eligible);
    if (!chosen) break;
    const std::uint32_t index = tier.begin + *chosen;
    const Backend& backend = pool_.backends[index];
    if (table_.acquire(backend.id, backend.max_connections)) return {PickOutcome::picked, index};
    any_full = true;
  }
  return {any_full ? PickOutcome::all_full : PickOutcome::none, 0};
}

template <class Eligible>
std::optional<std::uint32_t> Picker::choose(Tier& tier, const PickRequest& request, Eligible&& eligible) const {
  const auto active = [&](std::uint32_t i) { return table_.active(pool_.backends[tier.begin + i].id); };
  switch (pool_.algorithm) {
    case Algorithm::least_conn:
      return std::get<balance::LeastConn>(tier.cursor).pick(active, eligible);
    case Algorithm::round_robin:
      return std::get<balance::SmoothWrr>(tier.cursor).pick(eligible);
    case Algorithm::random_two:
      return std::get<balance::RandomTwo>(tier.cursor).pick(request.random, active, eligible);
    case Algorithm::first:
      return balance::first(tier.weights, eligible);
    case Algorithm::source_hash:
      return choose_by_hash(tier, request.client_hash, eligible);
  }
  return std::nullopt;
}

template <class Eligible>
std::optional<std::uint32_t> Picker::choose_by_hash(Tier& tier, std::uint64_t hash, Eligible&& eligible) const {
  if (pool_.hash.load_factor <= 0.0) return tier.hashes->pick(hash, eligible);
  balance::BoundedLoad bound{.load_factor = pool_.hash.load_factor};
  const auto active = [&](std::uint32_t i) { return table_.active(pool_.backends[tier.begin + i].id); };
  for (std::uint32_t i = 0; i < tier.weights.size(); ++i) {
    if (!eligible(i)) continue;
    bound.total_active += active(i);
    bound.total_weight += tier.weights[i];
  }
  const auto has_room = [&](std::uint32_t i) { return eligible(i) && bound.has_room(active(i), tier.weights[i]); };
  const std::optional<std::uint32_t> chosen = tier.hashes->pick(hash, has_room);
  return chosen ? chosen : tier.hashes->pick(hash, eligible);  // counts moved meanwhile: rather too many than nowhere
}

}  // namespace millrace::pool
