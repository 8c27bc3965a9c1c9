#include "millrace/admin/health_log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

namespace millrace::admin {

namespace {

std::string text_of(std::chrono::system_clock::time_point time) {
  const auto since = time.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  return fmt::format("{:%FT%T}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(seconds.count())),
                     std::chrono::floor<std::chrono::milliseconds>(since - seconds).count());
}

}  // namespace

void HealthLog::note(const health::Transition& transition, std::chrono::system_clock::time_point when) {
  HealthChange change{.time = text_of(when),
                      .pool = transition.target.pool,
                      .backend = transition.target.backend,
                      .from = std::string(name(transition.from)),
                      .to = std::string(name(transition.to)),
                      .reason = transition.reason};
  const std::lock_guard lock(mutex_);
  Row& row = rows_[pool::row(transition.target.id)];
  if (row.backend != change.backend) row = {.backend = change.backend};
  ++row.counts[static_cast<std::size_t>(transition.cause)];
  recent_.push_back(std::move(change));
  if (recent_.size() > kKept) recent_.pop_front();
}

HealthLog::Counts HealthLog::counts(pool::BackendId id, std::string_view backend) const {
  const std::lock_guard lock(mutex_);
  const auto found = rows_.find(pool::row(id));
  return found == rows_.end() || found->second.backend != backend ? Counts{} : found->second.counts;
}

std::vector<HealthChange> HealthLog::recent() const {
  const std::lock_guard lock(mutex_);
  return {recent_.begin(), recent_.end()};
}

}  // namespace millrace::admin
