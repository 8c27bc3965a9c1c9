#include "protocols.hpp"

#include <string_view>

#include "schema.hpp"

namespace millrace::config {
namespace {

void settle_listener(Draft<Listener>& draft) {
  Listener& listener = draft.value;
  if (listener.protocol == Protocol::udp && draft.deciding("idle_timeout") == nullptr) {
    listener.idle_timeout = kUdpIdleTimeout;
  }
  reset_unused(listener);
}

/// A pool that nobody uses is none of UDP's.
bool only_udp_uses(std::string_view pool, const Drafts& drafts) {
  bool used = false;
  for (const Draft<Listener>& listener : drafts.listeners) {
    if (listener.value.pool != pool) continue;
    if (listener.value.protocol != Protocol::udp) return false;
    used = true;
  }
  return used;
}

void settle_health(Health& health) {
  if (health.port != 0) return;  // tcp, as it is
  if (health.send.empty() && health.expect.empty()) {
    health.type = HealthType::none;
    health.unasked = true;
  } else {
    health.type = HealthType::udp;
  }
}

}  // namespace

void settle_protocols(Drafts& drafts) {
  for (Draft<Listener>& listener : drafts.listeners) settle_listener(listener);
  for (Draft<Pool>& pool : drafts.pools) {
    const bool type_given = pool.deciding("health", "type") != nullptr;
    if (!type_given && only_udp_uses(pool.value.name, drafts)) settle_health(pool.value.health);
  }
}

}  // namespace millrace::config
