#include "access.hpp"

namespace millrace::worker {

Access::Entry Access::enter(std::uint32_t listener_index, const net::IpEndpoint& client, Instant now) {
  const pool::Listener& listener = snapshot_->listeners[listener_index];
  const bool allowed = listener.allow.empty() || listener.allow.contains(client);
  if (!allowed || listener.deny.contains(client)) return {.refusal = Refusal::denied};
  if (limits_ == nullptr) return {};
  const SourceLimits::Entry entry = limits_->admit(listener_index, client, now);
  switch (entry.outcome) {
    case SourceLimits::Outcome::admitted:
      return {.refusal = std::nullopt, .hold = entry.hold};
    case SourceLimits::Outcome::too_many:
      return {.refusal = Refusal::source_limit};
    case SourceLimits::Outcome::too_fast:
      return {.refusal = Refusal::rate_limit};
  }
  return {};
}

}  // namespace millrace::worker
