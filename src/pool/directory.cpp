#include "millrace/pool/directory.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "millrace/base/assert.hpp"
#include "snapshot_parts.hpp"

namespace millrace::pool {

namespace {

Error too_many(const char* what, std::size_t limit) {
  return Error{fmt::format("this process has known {} {} already, no more fit; restart it", limit, what)};
}

}  // namespace

Directory::Directory() : snapshot_(std::make_shared<Snapshot>()) {}

Result<Directory::Changes> Directory::update(const config::Config& config, const BackendTable& table) {
  Directory next = *this;
  Result<Changes> changes = next.make(config, table);
  if (changes) *this = std::move(next);
  return changes;
}

Result<Directory::Changes> Directory::make(const config::Config& config, const BackendTable& table) {
  free_rows(table);
  std::vector<bool> was_present;
  for (Owner& owner : owners_) was_present.push_back(std::exchange(owner.present, false));

  Changes changes;
  auto next = std::make_shared<Snapshot>(*snapshot_);
  next->leaving.clear();
  std::vector<bool> kept(next->pools.size());
  for (const config::Pool& pool : config.pools) {
    const std::uint32_t index = next->find_pool(pool.name).value_or(static_cast<std::uint32_t>(next->pools.size()));
    if (index == kPoolsMax) return too_many("pools", kPoolsMax);
    if (index == next->pools.size()) {
      next->pools.emplace_back();
      configs_.emplace_back();
      kept.push_back(false);
    }
    kept[index] = true;
    const std::shared_ptr<const Pool>& before = next->pools[index];
    if (before != nullptr && !before->retired && configs_[index] == pool) {
      for (const Backend& backend : before->backends) owners_[row(backend.id)].present = true;
      continue;
    }
    std::shared_ptr<const Pool> made = make_pool(pool, index, changes);
    if (made == nullptr) return too_many("backends", kBackendsMax);
    next->pools[index] = std::move(made);
    configs_[index] = pool;
    changes.pools.push_back(index);
  }
  for (std::uint32_t index = 0; index < kept.size(); ++index) {
    if (kept[index] || next->pools[index]->retired) continue;
    auto retired = std::make_shared<Pool>(*next->pools[index]);
    retired->retired = true;
    next->pools[index] = std::move(retired);
    changes.pools.push_back(index);
  }
  take_away(*next, changes);

  for (Listener& listener : next->listeners) listener.retired = true;
  for (const config::Listener& listener : config.listeners) {
    const std::optional<std::uint32_t> pool = next->find_pool(listener.pool);
    MILLRACE_ASSERT(pool.has_value(), "a validated listener names a pool");
    Listener made = build_listener(listener, *pool);
    if (const std::optional<std::uint32_t> index = next->find_listener(listener.name)) {
      next->listeners[*index] = std::move(made);
    } else {
      if (next->listeners.size() == kListenersMax) return too_many("listeners", kListenersMax);
      next->listeners.push_back(std::move(made));
    }
  }

  for (std::uint32_t row = 0; row < owners_.size(); ++row) {
    const Owner& owner = owners_[row];
    if (owner.present || owner.free) continue;
    if (row < was_present.size() && was_present[row]) changes.left.push_back(BackendId{row});
    next->leaving.push_back(
        {.pool = owner.pool,
         .backend = {.id = BackendId{row}, .name = owner.name, .address = owner.address, .weight = 0}});
  }
  snapshot_ = std::move(next);
  return changes;
}

/// A retired pool serves who was let in before it was; by rows that are another's now it does not.
void Directory::take_away(Snapshot& next, Changes& changes) {
  const auto is_another = [&](const Backend& backend) {
    return std::find(changes.fresh.begin(), changes.fresh.end(), backend.id) != changes.fresh.end();
  };
  for (std::uint32_t index = 0; index < next.pools.size() && !changes.fresh.empty(); ++index) {
    const Pool& pool = *next.pools[index];
    if (!pool.retired || std::none_of(pool.backends.begin(), pool.backends.end(), is_another)) continue;
    auto less = std::make_shared<Pool>(pool);
    std::erase_if(less->backends, is_another);
    less->primaries = count_primaries(*less);
    build_hashes(*less);
    next.pools[index] = std::move(less);
    if (std::find(changes.pools.begin(), changes.pools.end(), index) == changes.pools.end()) {
      changes.pools.push_back(index);
    }
  }
}

void Directory::free_rows(const BackendTable& table) {
  for (auto entry = rows_.begin(); entry != rows_.end();) {
    Owner& owner = owners_[row(entry->second)];
    if (owner.present || table.active(entry->second) != 0) {
      ++entry;
      continue;
    }
    owner.free = true;
    entry = rows_.erase(entry);
  }
}

/// Null when there is no row left.
std::shared_ptr<const Pool> Directory::make_pool(const config::Pool& from, std::uint32_t index, Changes& changes) {
  auto pool = std::make_shared<Pool>(build_pool(from));
  for (const config::Backend& written : from.backends) {  // rows in the order of the file
    const BackendId id = place(index, written, changes);
    if (row(id) >= kBackendsMax) return nullptr;
    const auto named = std::find_if(pool->backends.begin(), pool->backends.end(),
                                    [&](const Backend& one) { return one.name == written.name; });
    named->id = id;
  }
  const Pool* before = index < snapshot_->pools.size() ? snapshot_->pools[index].get() : nullptr;
  for (Backend& backend : pool->backends) {
    if (before == nullptr || before->retired) continue;
    const auto same_id = [&](const Backend& one) { return one.id == backend.id; };
    const auto old = std::find_if(before->backends.begin(), before->backends.end(), same_id);
    const auto old_written = std::find_if(configs_[index].backends.begin(), configs_[index].backends.end(),
                                          [&](const config::Backend& one) { return one.name == backend.name; });
    const bool changed = old == before->backends.end() || old_written == configs_[index].backends.end() ||
                         old_written->weight != backend.weight;
    if (!changed) backend.weight = old->weight;  // perhaps set by the operator
  }
  build_hashes(*pool);
  return pool;
}

BackendId Directory::place(std::uint32_t pool, const config::Backend& backend, Changes& changes) {
  const Key key{.pool = pool, .name = backend.name, .address = backend.address.to_string()};
  if (const auto known = rows_.find(key); known != rows_.end()) {
    Owner& owner = owners_[row(known->second)];
    const bool back = std::any_of(snapshot_->leaving.begin(), snapshot_->leaving.end(),
                                  [&](const LeavingBackend& one) { return one.backend.id == known->second; });
    if (back) changes.returned.push_back(known->second);
    owner.present = true;
    return known->second;
  }
  const auto free = std::find_if(owners_.begin(), owners_.end(), [](const Owner& owner) { return owner.free; });
  const BackendId id{static_cast<std::uint32_t>(free - owners_.begin())};
  if (row(id) == kBackendsMax) return id;
  if (free == owners_.end()) owners_.emplace_back();
  owners_[row(id)] = {.pool = pool, .name = backend.name, .address = backend.address, .present = true, .free = false};
  rows_[key] = id;
  changes.fresh.push_back(id);
  return id;
}

void Directory::set_weight(std::uint32_t pool, std::uint32_t backend, std::uint32_t weight) {
  auto changed = std::make_shared<Pool>(*snapshot_->pools[pool]);
  changed->backends[backend].weight = weight;
  build_hashes(*changed);
  auto next = std::make_shared<Snapshot>(*snapshot_);
  next->pools[pool] = std::move(changed);
  snapshot_ = std::move(next);
}

}  // namespace millrace::pool
