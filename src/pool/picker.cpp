#include "millrace/pool/picker.hpp"

#include <algorithm>
#include <tuple>

#include "millrace/balance/bounded_load.hpp"
#include "millrace/balance/first.hpp"

namespace millrace::pool {

using balance::Algorithm;

namespace {

constexpr int kFullRaces = 8;  // attempts when other workers keep taking the last free place

}  // namespace

Picker::Picker(const Pool& pool, BackendTable& table)
    : pool_(&pool),
      table_(&table),
      primary_(make_tier(0, pool.primaries, pool.primary_table)),
      backup_(make_tier(pool.primaries, static_cast<std::uint32_t>(pool.backends.size()), pool.backup_table)),
      hash_decides_(pool.hash.load_factor <= 0.0 && primary_.hashes != nullptr && !primary_.hashes->empty()) {}

Picker::Tier Picker::make_tier(std::uint32_t begin, std::uint32_t end,
                               const std::optional<balance::Maglev>& hashes) const {
  std::vector<Place> places;
  std::vector<std::uint32_t> weights;
  for (std::uint32_t i = begin; i < end; ++i) {
    const Backend& backend = pool_->backends[i];
    const std::uint32_t limit = backend.max_connections != 0 ? backend.max_connections : kNoLimit;
    places.push_back({.id = backend.id, .limit = std::min(limit, kNoLimit)});
    weights.push_back(backend.weight);
  }
  Cursor cursor = std::monostate{};
  switch (pool_->algorithm) {
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
          .places = std::move(places),
          .weights = std::move(weights),
          .hashes = hashes ? &*hashes : nullptr,
          .cursor = std::move(cursor)};
}

void Picker::skip(std::uint32_t picks) {
  const auto idle = [](std::uint32_t) { return 0U; };
  const auto all = [](std::uint32_t) { return true; };
  for (Tier* tier : {&primary_, &backup_}) {
    for (std::uint32_t i = 0; i < picks; ++i) {
      if (auto* least_conn = std::get_if<balance::LeastConn>(&tier->cursor)) std::ignore = least_conn->pick(idle, all);
      if (auto* round_robin = std::get_if<balance::SmoothWrr>(&tier->cursor)) std::ignore = round_robin->pick(all);
    }
  }
}

bool Picker::usable(std::uint32_t index, Health health) const {
  const Backend& backend = pool_->backends[index];
  if (backend.weight == 0 || table_->barred(backend.id)) return false;
  return health == Health::ignored || table_->health(backend.id) == HealthState::up;
}

bool Picker::any_up() const {
  for (std::uint32_t i = 0; i < pool_->backends.size(); ++i) {
    if (usable(i, Health::respected)) return true;
  }
  return false;
}

Pick Picker::pick(const PickRequest& request) {
  if (hash_decides_ && request.tried.empty()) {
    const Pick home = pick_home(request.client_hash);
    if (home.outcome == PickOutcome::picked) return home;
  }
  Pick found = pick_untried(request, request.tried);
  if (found.outcome == PickOutcome::none && !request.tried.empty()) {
    found = pick_untried(request, TriedSet{});
    if (found.outcome == PickOutcome::picked) found.outcome = PickOutcome::picked_again;
  }
  return found;
}

/// What pick_in() would find, without the preparations for asking around; none when it has to.
Pick Picker::pick_home(std::uint64_t client_hash) {
  const std::uint32_t index = primary_.hashes->at(client_hash);
  const Place place = primary_.places[index];
  if (table_->standing(place.id) >= place.limit || !acquire(place)) return {};
  failing_open_ = false;
  return {PickOutcome::picked, index};
}

bool Picker::acquire(const Place& place) {
  return table_->acquire(place.id, place.limit == kNoLimit ? 0 : place.limit);
}

Pick Picker::pick_untried(const PickRequest& request, TriedSet tried) {
  failing_open_ = false;
  Pick found = pick_in(primary_, request, tried, Health::respected);
  if (found.outcome == PickOutcome::none) found = pick_in(backup_, request, tried, Health::respected);
  if (found.outcome != PickOutcome::none || !pool_->fail_open || any_up()) return found;
  failing_open_ = true;
  found = pick_in(primary_, request, tried, Health::ignored);
  if (found.outcome == PickOutcome::none) found = pick_in(backup_, request, tried, Health::ignored);
  return found;
}

Pick Picker::pick_in(Tier& tier, const PickRequest& request, TriedSet tried, Health health) {
  bool any_full = false;
  const View standing{
      .table = *table_,
      .places = tier.places.data(),
      .counted = health == Health::ignored ? BackendTable::kActive | BackendTable::kBarred : ~std::uint32_t{0}};
  // The algorithms ask for none of weight 0. One that is down is not full, whatever its connections.
  const auto eligible = [&](std::uint32_t i) {
    if (tried.contains(tier.begin + i)) return false;
    const std::uint32_t now = standing(i);
    const bool free = now < standing.places[i].limit;
    if (!free && now < BackendTable::kOut) any_full = true;
    return free;
  };
  for (int race = 0; race < kFullRaces; ++race) {
    const std::optional<std::uint32_t> chosen = choose(tier, request, standing, eligible);
    if (!chosen) break;
    if (acquire(tier.places[*chosen])) return {PickOutcome::picked, tier.begin + *chosen};
    any_full = true;
  }
  return {any_full ? PickOutcome::all_full : PickOutcome::none, 0};
}

template <class Eligible>
std::optional<std::uint32_t> Picker::choose(Tier& tier, const PickRequest& request, View active,
                                            Eligible&& eligible) const {
  switch (pool_->algorithm) {
    case Algorithm::least_conn:
      return std::get<balance::LeastConn>(tier.cursor).pick(active, eligible);
    case Algorithm::round_robin:
      return std::get<balance::SmoothWrr>(tier.cursor).pick(eligible);
    case Algorithm::random_two:
      return std::get<balance::RandomTwo>(tier.cursor).pick(request.random, active, eligible);
    case Algorithm::first:
      return balance::first(tier.weights, eligible);
    case Algorithm::source_hash:
      return choose_by_hash(tier, request.client_hash, active, eligible);
  }
  return std::nullopt;
}

template <class Eligible>
std::optional<std::uint32_t> Picker::choose_by_hash(Tier& tier, std::uint64_t hash, View active,
                                                    Eligible&& eligible) const {
  if (pool_->hash.load_factor <= 0.0) return tier.hashes->pick(hash, eligible);
  balance::BoundedLoad bound{.load_factor = pool_->hash.load_factor};
  for (std::uint32_t i = 0; i < tier.weights.size(); ++i) {
    if (tier.weights[i] == 0 || !eligible(i)) continue;
    bound.total_active += active(i);
    bound.total_weight += tier.weights[i];
  }
  const auto has_room = [&](std::uint32_t i) { return eligible(i) && bound.has_room(active(i), tier.weights[i]); };
  const std::optional<std::uint32_t> chosen = tier.hashes->pick(hash, has_room);
  return chosen ? chosen : tier.hashes->pick(hash, eligible);  // counts moved meanwhile: rather too many than nowhere
}

}  // namespace millrace::pool
