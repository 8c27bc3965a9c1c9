#include "reload_report.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/base/rng.hpp"

namespace millrace::app {

namespace {

using admin::KeyChange;
using admin::NamedChange;

std::vector<KeyChange> changed_keys(const config::KeyValues& before, const config::KeyValues& after) {
  std::vector<KeyChange> changes;
  const auto value_in = [](const config::KeyValues& all, const std::string& key) {
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& entry) { return entry.first == key; });
    return found == all.end() ? std::string() : found->second;
  };
  for (const auto& [key, value] : after) {
    const std::string old = value_in(before, key);
    if (old != value) changes.push_back({.key = key, .before = old, .after = value});
  }
  for (const auto& [key, value] : before) {  // keys of the other protocol
    if (value_in(after, key).empty() && !value.empty()) changes.push_back({.key = key, .before = value, .after = ""});
  }
  return changes;
}

template <class T>
const T* find(const std::vector<T>& all, const std::string& name) {
  const auto found = std::find_if(all.begin(), all.end(), [&](const T& one) { return one.name == name; });
  return found == all.end() ? nullptr : &*found;
}

/// Names of `all` that `others` has not.
template <class T>
std::vector<std::string> missing_in(const std::vector<T>& all, const std::vector<T>& others) {
  std::vector<std::string> names;
  for (const T& one : all) {
    if (find(others, one.name) == nullptr) names.push_back(one.name);
  }
  return names;
}

template <class T>
std::vector<NamedChange> changed(const std::vector<T>& before, const std::vector<T>& after) {
  std::vector<NamedChange> changes;
  for (const T& one : after) {
    const T* old = find(before, one.name);
    if (old == nullptr) continue;
    std::vector<KeyChange> keys = changed_keys(key_values(*old), key_values(one));
    if (!keys.empty()) changes.push_back({.name = one.name, .keys = std::move(keys)});
  }
  return changes;
}

bool needs_restart(std::string_view key) {
  constexpr std::array<std::string_view, 3> kFixed = {"workers", "pin_workers", "busy_poll_us"};
  return std::find(kFixed.begin(), kFixed.end(), key) != kFixed.end();
}

}  // namespace

admin::ReloadReport compare(const config::Config& before, const config::Config& after) {
  admin::ReloadReport report;
  for (KeyChange& change : changed_keys(key_values(before.runtime), key_values(after.runtime))) {
    const bool fixed = needs_restart(change.key);
    change.key = "runtime." + change.key;
    (fixed ? report.needs_restart : report.runtime_changed).push_back(std::move(change));
  }
  for (KeyChange& change : changed_keys(key_values(before.admin), key_values(after.admin))) {
    if (change.key == "token") change.before = change.after = "(not shown)";
    change.key = "admin." + change.key;
    report.needs_restart.push_back(std::move(change));
  }
  report.listeners_added = missing_in(after.listeners, before.listeners);
  report.listeners_removed = missing_in(before.listeners, after.listeners);
  report.listeners_changed = changed(before.listeners, after.listeners);
  report.pools_added = missing_in(after.pools, before.pools);
  report.pools_removed = missing_in(before.pools, after.pools);
  for (const config::Pool& pool : after.pools) {
    const config::Pool* old = find(before.pools, pool.name);
    if (old == nullptr) continue;
    admin::PoolChange change{.name = pool.name,
                             .keys = changed_keys(key_values(*old), key_values(pool)),
                             .backends_added = missing_in(pool.backends, old->backends),
                             .backends_removed = missing_in(old->backends, pool.backends),
                             .backends_changed = changed(old->backends, pool.backends)};
    const bool same = change.keys.empty() && change.backends_added.empty() && change.backends_removed.empty() &&
                      change.backends_changed.empty();
    if (!same) report.pools_changed.push_back(std::move(change));
  }
  return report;
}

double hash_moved(const pool::Pool& before, const pool::Pool& after) {
  const auto hashes = [](const pool::Pool& pool) { return pool.primary_table && !pool.primary_table->empty(); };
  if (!hashes(before) || !hashes(after)) return 0;
  constexpr std::uint32_t kSamples = 1U << 16U;
  std::uint32_t moved = 0;
  for (std::uint64_t i = 0; i < kSamples; ++i) {
    const std::uint64_t hash = mix64(i);
    const std::string& old_name = before.backends[before.primary_table->at(hash)].name;
    if (old_name != after.backends[after.primary_table->at(hash)].name) ++moved;
  }
  return static_cast<double>(moved) / kSamples;
}

}  // namespace millrace::app
