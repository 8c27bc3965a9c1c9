#include "datagram_sessions.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::sim {
namespace {

bool has_passed(Nanos timeout, Nanos since) {
  return timeout > Nanos(0) && since >= timeout;
}

}  // namespace

DatagramSessions::DatagramSessions(Context& context, DatagramRules rules, const pool::BackendTable& table)
    : context_(context), rules_(std::move(rules)), table_(table) {
  for (std::uint32_t i = 0; i < rules_.listeners.size(); ++i) {
    for (const net::IpEndpoint& address : rules_.listeners[i].addresses) {
      addresses_.push_back(address);
      listener_by_address_.push_back(i);
    }
  }
}

std::uint32_t DatagramSessions::address_number(const net::IpEndpoint& address) const {
  const auto found = std::find(addresses_.begin(), addresses_.end(), address);
  return found == addresses_.end() ? kNone : static_cast<std::uint32_t>(found - addresses_.begin());
}

const DatagramRules::Listener& DatagramSessions::rules_of(const Key& key) const {
  return rules_.listeners[listener_by_address_[key.address]];
}

std::uint32_t DatagramSessions::backend_index(const Key& key, const net::IpEndpoint& address) const {
  const Pool& pool = pool_of(key);
  const auto found = std::find_if(pool.begin(), pool.end(), [&](const auto& b) { return b.address == address; });
  if (found == pool.end()) {
    context_.trace.fail("sent to somebody who is not in the pool", describe(key) + " to " + address.to_string());
  }
  return static_cast<std::uint32_t>(found - pool.begin());
}

std::string DatagramSessions::describe(const Key& key) const {
  return fmt::format("client {} at {}", key.client, addresses_[key.address].to_string());
}

// ---- what a worker gets ----

void DatagramSessions::requests_come(const Key& key, std::uint64_t datagrams, std::uint64_t nameless) {
  Session& session = sessions_[key];
  const DatagramRules::Listener& rules = rules_of(key);
  const Instant now = context_.clock.now();
  const bool old = !session.uncertain && has_passed(rules.max_duration, now - session.started);
  if (session.over || old || has_passed(rules.idle_timeout, now - session.last_activity)) {
    session = Session{.started = now, .evictions_then = evictions(), .over = false};
  }
  if (session.pass != now) begin_pass(session);
  context_.trace.note("requests of client", -1, static_cast<int>(key.client), static_cast<std::int64_t>(datagrams),
                      static_cast<std::int64_t>(session.requests));
  session.nameless += nameless;
  session.ever_nameless = session.ever_nameless || nameless > 0;
  session.requests += datagrams;
  session.last_activity = now;
}

void DatagramSessions::begin_pass(Session& session) {
  // What came last was dropped, and perhaps the session with it; then this one begins now.
  if (session.unsent) session.may_leave = session.uncertain = true;
  session.pass = context_.clock.now();
  session.nameless = 0;
  session.unsent = true;
  if (may_be_evicted(session)) {  // from now on it may be a new one
    session.may_leave_now = session.pass;
    session.uncertain = true;
    session.requests = 0;  // at least
  }
  session.sure = session.requests;
  session.evictions_then = evictions();
}

void DatagramSessions::replies_come(Place& place, std::uint64_t datagrams) {
  const Instant now = context_.clock.now();
  place.disturbed_at = now;
  if (!place.owner) return;
  Session& session = sessions_[*place.owner];
  if (session.over || session.place != &place) return;
  const DatagramRules::Listener& rules = rules_of(*place.owner);
  // It may have ended already, or else it goes on.
  if (has_passed(rules.idle_timeout, now - session.last_activity)) session.may_leave = true;
  context_.trace.note("replies for client", -1, static_cast<int>(place.owner->client),
                      static_cast<std::int64_t>(datagrams), static_cast<std::int64_t>(session.replies));
  session.last_activity = now;
  session.replies += datagrams;
  if (rules.responses == 0 || session.replies < session.requests * rules.responses) return;
  (session.uncertain ? session.may_leave : session.over) = true;
}

void DatagramSessions::error_comes(Place& place) {
  place.disturbed_at = context_.clock.now();
  send_fails(place);
}

void DatagramSessions::send_fails(Place& place) {
  if (place.owner) sessions_[*place.owner].may_leave = true;
}

void DatagramSessions::socket_refused(int worker) {
  refused_at_[worker] = context_.clock.now();
}

// ---- what it sends ----

void DatagramSessions::request_leaves(Place& place, const Key& key, const Sent& sent) {
  const std::uint32_t backend = backend_index(key, sent.backend);
  const bool taken = place.owner != key;  // perhaps back, from one that had taken it meanwhile
  if (taken) take(place, key, sent.worker);
  Session& session = sessions_[key];
  if (taken || session.place != &place) move(session, place, key, backend);
  session.unsent = false;
  place.last_activity = context_.clock.now();
  if (session.moved == place.last_activity && !sent.again) ++session.requests;
  if (session.evictions_then == evictions()) session.sure = session.requests;  // nobody was evicted in this pass
  check_health(session, pool_of(key), sent.again);
}

/// Of the place's owner if that is possible, else of somebody who has taken it.
void DatagramSessions::nameless_leaves(Place& place, std::uint32_t client) {
  if (client != kNone) place.former.insert(client);  // now, or later
  if (!place.owner) return;
  Session& owner = sessions_[*place.owner];
  if (owner.pass == context_.clock.now() && owner.nameless > 0) {
    --owner.nameless;
    owner.unsent = false;
    if (owner.moved == owner.pass) ++owner.requests;
    static_cast<void>(tolerate(owner, pool_of(*place.owner)));
    return;
  }
  owner.may_leave = true;
  place.former.insert(place.owner->client);
  place.owner.reset();
}

void DatagramSessions::take(Place& place, const Key& key, int worker) {
  if (place.owner) {
    const Session& owner = sessions_[*place.owner];
    const std::string both = describe(*place.owner) + "; " + describe(key);
    if (owner.place == &place && !may_have_left(owner, *place.owner)) {
      context_.trace.fail("two sessions in one place", both);
    }
    const bool rested = context_.clock.now() - place.last_activity >= kRest;
    if (!rested && place.owner->client != key.client && !is_short(worker)) {
      context_.trace.fail("a place did not rest", both);
    }
    place.former.insert(place.owner->client);
  }
  place.owner = key;
}

/// Whether places need not rest: no other socket could be opened. At the stop a worker gives its ports back at once,
/// and another may get one of them.
bool DatagramSessions::is_short(int worker) const {
  const auto refused = refused_at_.find(worker);
  const bool refused_now = refused != refused_at_.end() && refused->second == context_.clock.now();
  return stopping || refused_now || short_of_sockets(worker);
}

void DatagramSessions::move(Session& session, Place& place, const Key& key, std::uint32_t backend) {
  const Instant now = context_.clock.now();
  const bool begins = session.place == nullptr || session.place == &place;
  if (!begins && !may_have_left(session, key)) {
    context_.trace.fail("a session moved without a reason", describe(key));
  }
  context_.trace.note(begins ? "session begins" : "session moves", -1, static_cast<int>(key.client), backend,
                      key.address);
  // Who was there before without a place may have had one all the same: short datagrams do not tell.
  const bool unseen = session.started < now && (begins || session.ever_nameless);
  const bool still = session.uncertain && session.moved == now;  // it has done so in this pass before
  session.uncertain = !begins || unseen || still;
  if (unseen) session.tolerated_until = now + kLookAgain;
  if (begins) session.started = now;
  session.moved = now;
  session.requests = 0;  // what came before in this pass may have been dropped: they are counted as they are sent
  session.replies = 0;
  session.sure = 0;
  const bool at_once = place.disturbed_at == now;  // by then it may have been there, and not the owner before
  session.may_leave = at_once || (session.may_leave && session.place == &place);
  session.over = false;
  session.place = &place;
  session.backend = backend;
}

// ---- what may be ----

bool DatagramSessions::may_be_evicted(const Session& session) const {
  return session.sure <= 1 && evictions() != session.evictions_then;
}

/// It has ended, or has been led to another place.
bool DatagramSessions::may_have_left(const Session& session, const Key& key) const {
  const DatagramRules::Listener& rules = rules_of(key);
  const Instant now = context_.clock.now();
  if (session.over || session.may_leave || session.may_leave_now == now || stopping) return true;
  if (session.unsent && session.pass != now) return true;  // its last request was dropped
  if (has_passed(rules.idle_timeout, now - session.last_activity)) return true;
  if (has_passed(rules.max_duration, now - session.started)) return true;
  if (session.uncertain && (rules.responses != 0 || rules.max_duration > Nanos(0))) return true;
  return may_be_evicted(session) || !is_up(pool_of(key)[session.backend]);
}

bool DatagramSessions::has_moved_on(const Place& place, const Key& key) {
  return sessions_[key].place != &place && (!place.owner || place.owner == key);
}

bool DatagramSessions::is_late(const Place& place, std::uint32_t client) {
  if (place.former.contains(client)) return true;
  return place.owner && place.owner->client == client && may_have_left(sessions_[*place.owner], *place.owner);
}

// ---- health ----

bool DatagramSessions::is_up(const DatagramRules::Backend& backend) const {
  return backend.weight != 0 && table_.health(backend.id) == pool::HealthState::up;
}

void DatagramSessions::check_health(Session& session, const Pool& pool, bool again) const {
  if (is_up(pool[session.backend]) || tolerate(session, pool)) return;
  // What is sent again may go the way that was chosen before.
  if (again || context_.clock.now() < session.tolerated_until) return;
  context_.trace.fail("sent to a backend that is not up", pool[session.backend].address.to_string());
}

/// Where none is up, any will do, for a while.
bool DatagramSessions::tolerate(Session& session, const Pool& pool) const {
  if (std::any_of(pool.begin(), pool.end(), [this](const auto& backend) { return is_up(backend); })) return false;
  session.tolerated_until = context_.clock.now() + kLookAgain;
  return true;
}

}  // namespace millrace::sim
