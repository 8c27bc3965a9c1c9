#include "millrace/worker/admission.hpp"

#include <algorithm>

#include "millrace/base/assert.hpp"

namespace millrace::worker {

namespace {

bool count_up(std::atomic<std::uint32_t>& count, std::uint32_t limit) {
  std::uint32_t before = count.load();
  while (before < limit) {
    if (count.compare_exchange_weak(before, before + 1)) return true;
  }
  return false;
}

}  // namespace

Admission::Admission(std::uint32_t max_connections, const std::vector<std::uint32_t>& listener_limits,
                     std::uint32_t workers)
    : max_connections_(max_connections) {
  set_limits(max_connections, listener_limits);
  for (std::uint32_t i = 0; i < workers; ++i) waiters_.push_back(std::make_unique<Waiter>());
}

void Admission::set_limits(std::uint32_t max_connections, const std::vector<std::uint32_t>& listener_limits) {
  MILLRACE_ASSERT(max_connections > 0, "a limit of no connections");
  max_connections_.store(max_connections);
  listeners_.grow(listener_limits.size());
  for (std::size_t i = 0; i < listener_limits.size(); ++i) listeners_[i].limit.store(listener_limits[i]);
  wake_waiters();
}

void Admission::set_waker(std::uint32_t worker, io::Io* io) {
  waiters_[worker]->io = io;
}

bool Admission::admit(std::uint32_t listener) {
  if (!count_up(total_, max_connections_.load(std::memory_order_relaxed))) return false;
  ListenerCount& count = listeners_[listener];
  if (count_up(count.active, count.limit_or_none())) return true;
  total_.fetch_sub(1);
  wake_waiters();  // one may have been refused by the place that was held for a moment
  return false;
}

void Admission::release(std::uint32_t listener) {
  total_.fetch_sub(1);
  listeners_[listener].active.fetch_sub(1);
  wake_waiters();
}

bool Admission::admit_session(std::uint32_t listener) {
  ListenerCount& count = listeners_[listener];
  return count_up(count.active, count.limit_or_none());
}

void Admission::release_session(std::uint32_t listener) {
  listeners_[listener].active.fetch_sub(1);
}

void Admission::wake_waiters() {
  // The waiter sets its flag and then looks at the counts; we lower the counts and then look at the flag. All of it is
  // sequentially consistent, so one of us sees the other.
  if (!anyone_waiting_.load()) return;
  anyone_waiting_.store(false);
  for (const auto& waiter : waiters_) {
    if (waiter->waiting.exchange(false) && waiter->io != nullptr) waiter->io->wake();
  }
}

std::uint32_t Admission::room(std::uint32_t listener) const {
  const auto left = [](std::uint32_t limit, std::uint32_t used) { return used < limit ? limit - used : 0; };
  const ListenerCount& count = listeners_[listener];
  return std::min(left(max_connections_.load(), total_.load()), left(count.limit_or_none(), count.active.load()));
}

void Admission::wait_for_room(std::uint32_t worker) {
  waiters_[worker]->waiting.store(true);
  anyone_waiting_.store(true);
}

}  // namespace millrace::worker
