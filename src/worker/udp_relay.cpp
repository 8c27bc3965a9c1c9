// The way of datagrams from clients: sessions, and the choice of a backend. What comes from backends, and what becomes
// of sends, is in udp_replies.cpp.

#include "udp_relay.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "millrace/base/assert.hpp"
#include "udp_limits.hpp"

namespace millrace::worker {

using flow::CloseReason;
using flow::UdpSession;
using io::OpKind;

namespace {

/// What becomes of the datagrams of a client that may not have a session.
Drop drop_of(Refusal refusal) {
  switch (refusal) {
    case Refusal::denied:
      return Drop::denied;
    case Refusal::source_limit:
      return Drop::source_limit;
    default:
      return Drop::rate_limit;
  }
}

}  // namespace

UdpRelay::UdpRelay(const Shared& shared, const WorkerOptions& options)
    : shared_(shared),
      io_(shared.io),
      counters_(shared.counters.udp),
      sessions_(options.sessions, static_cast<std::uint32_t>(shared.snapshot->listeners.size()),
                mix64(options.seed ^ 0x7564702dU)),
      upstreams_(shared.io, kUpstreamSide, options.upstream_sockets),
      outbox_(shared.io, kMessagesMax),
      departures_(kDepartures) {
  returned_.reserve(kReturnedMax);
}

UdpRelay::~UdpRelay() = default;

// ---- its sockets ----

void UdpRelay::add_socket(const ListenerSocket& socket) {
  note_listener(socket.listener);
  const ListeningSocket added{.fd = socket.fd, .listener = socket.listener, .address = io_.local(socket.fd)};
  const auto free =
      std::find_if(sockets_.begin(), sockets_.end(), [](const auto& one) { return one.fd == io::Fd::none; });
  if (free == sockets_.end()) {
    sockets_.push_back(added);
    starved_.reserve(sockets_.size());
  } else {
    *free = added;
  }
}

void UdpRelay::note_listener(std::uint32_t listener) {
  if (std::find(listeners_.begin(), listeners_.end(), listener) == listeners_.end()) listeners_.push_back(listener);
}

void UdpRelay::start() {
  for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
    if (std::exchange(sockets_[i].started, true)) continue;
    arm(i);
  }
}

void UdpRelay::adopt() {
  sessions_.set_listeners(static_cast<std::uint32_t>(shared_.snapshot->listeners.size()));
}

void UdpRelay::keep_sockets(std::span<const ListenerSocket> sockets, Instant now) {
  for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
    ListeningSocket& socket = sockets_[i];
    if (socket.fd == io::Fd::none || socket.ends_at != kNever || stopping_) continue;
    const auto wanted =
        std::find_if(sockets.begin(), sockets.end(), [&](const ListenerSocket& one) { return one.fd == socket.fd; });
    if (wanted != sockets.end()) {
      socket.listener = wanted->listener;
      note_listener(socket.listener);
      continue;
    }
    socket.ends_at = now + kOwedReplyMax;
    if (!socket.receiving || socket.cancelling) continue;
    socket.cancelling = true;
    io_.cancel(io::OpTag(OpKind::recv_datagrams, kListenerSide, 0, i));
  }
}

bool UdpRelay::keep_socket(io::Fd fd) {
  for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
    if (sockets_[i].fd != fd || sockets_[i].ends_at == kNever || stopping_) continue;
    sockets_[i].ends_at = kNever;
    if (ending_ == i) ending_.reset();
    starved_.push_back(i);  // it receives again, once what was begun has ended
    return true;
  }
  return false;
}

bool UdpRelay::has_socket(io::Fd fd) const {
  return std::any_of(sockets_.begin(), sockets_.end(), [fd](const ListeningSocket& one) { return one.fd == fd; });
}

// ---- routes ----

UdpRelay::Route& UdpRelay::route_of(std::uint32_t pool) {
  if (pool >= routes_.size()) routes_.resize(pool + 1);
  Route& route = routes_[pool];
  const PoolInUse& in_use = shared_.pools.in_use(pool);
  if (route.version == in_use.version) return route;
  route.version = in_use.version;
  set_targets(route, *in_use.pool);
  set_groups(route, *in_use.pool);
  return route;
}

void UdpRelay::set_targets(Route& route, const pool::Pool& pool) {
  std::vector<net::IpEndpoint> wanted;
  for (const pool::Backend& backend : pool.backends) wanted.push_back(net::IpEndpoint::from(backend.address));
  route.targets.clear();
  for (const net::IpEndpoint& address : wanted) route.targets.push_back(target_for(route, address, wanted));
}

/// The number that an address has, or one that is free, or another one.
std::uint32_t UdpRelay::target_for(Route& route, const net::IpEndpoint& address,
                                   std::span<const net::IpEndpoint> wanted) {
  const auto has = [](std::span<const net::IpEndpoint> all, const net::IpEndpoint& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
  };
  std::optional<std::uint32_t> free;
  for (std::uint32_t i = 0; i < route.addresses.size(); ++i) {
    if (route.addresses[i] == address) return i;
    const bool unused = !has(wanted, route.addresses[i]) &&
                        std::all_of(route.groups.begin(), route.groups.end(),
                                    [&](const Route::Group& group) { return upstreams_.unused(group.number, i); });
    if (unused && !free) free = i;
  }
  if (free) {
    route.addresses[*free] = address;
    return *free;
  }
  route.addresses.push_back(address);
  for (const Route::Group& group : route.groups) upstreams_.add_target(group.number);
  return static_cast<std::uint32_t>(route.addresses.size() - 1);
}

void UdpRelay::set_groups(Route& route, const pool::Pool& pool) {
  std::vector<net::Endpoint> sources = pool.sources;
  const auto is_missing = [&](net::Family family) {
    const auto of_family = [family](const auto& one) { return one.family() == family; };
    return std::none_of(sources.begin(), sources.end(), of_family) &&
           std::any_of(route.addresses.begin(), route.addresses.end(), of_family);
  };
  if (is_missing(net::Family::ipv4)) sources.push_back(net::Endpoint::ipv4(0, 0));
  if (is_missing(net::Family::ipv6)) sources.push_back(net::Endpoint::ipv6({}, 0));
  for (Route::Group& group : route.groups) {
    group.wanted = std::find(sources.begin(), sources.end(), group.source) != sources.end();
  }
  const auto targets = static_cast<std::uint32_t>(route.addresses.size());
  for (const net::Endpoint& source : sources) {
    const auto same = [&](const Route::Group& group) { return group.source == source; };
    if (std::any_of(route.groups.begin(), route.groups.end(), same)) continue;
    route.groups.push_back({.source = source, .number = upstreams_.add_group(source, targets)});
  }
}

PoolInUse& UdpRelay::pool_of(std::uint32_t listener) {
  return shared_.pools.in_use(listener_of(listener).pool);
}

/// Of its backend.
BackendCounters& UdpRelay::counters_of(const UdpSession& session) {
  return shared_.counters.backends[session.backend];
}

void UdpRelay::arm(std::uint32_t socket) {
  sockets_[socket].receiving = true;
  io_.recv_datagrams(io::OpTag(OpKind::recv_datagrams, kListenerSide, 0, socket), sockets_[socket].fd);
}

void UdpRelay::on_completion(const io::Completion& completion, Instant now) {
  if (completion.tag.kind() == OpKind::send_datagrams) return on_sent(completion, now);
  if (completion.tag.side() == kUpstreamSide) return on_reply(completion.tag.slot(), completion, now);
  on_request(completion.tag.slot(), completion, now);
}

// ---- datagrams from clients ----

void UdpRelay::on_request(std::uint32_t number, const io::Completion& completion, Instant now) {
  if (completion.result >= 0) forward_request(number, completion.buffer, now);
  if (completion.more) return;
  ListeningSocket& socket = sockets_[number];
  socket.receiving = false;
  socket.cancelling = false;
  if (stopping_) return close_when_idle(socket);
  if (socket.ends_at != kNever) return;
  // Also without a lack of buffers, so that an error that stays cannot keep the pass from ending.
  starved_.push_back(number);
}

void UdpRelay::forward_request(std::uint32_t number, io::BufferId buffer, Instant now) {
  const io::ReceivedDatagrams received = io_.received(buffer);
  const std::uint64_t datagrams = received.datagrams();
  counters_.messages_received.add();
  counters_.datagrams_from_clients.add(datagrams);
  counters_.bytes_from_clients.add(received.payload.size());
  if (received.truncated) return drop(buffer, datagrams, Drop::truncated);
  const flow::ClientKey key{.client = received.from, .local = received.to, .socket = number};
  Drop refusal{};
  UdpSession* session = session_for(key, sockets_[number].listener, now, refusal);
  if (session == nullptr) return drop(buffer, datagrams, refusal);
  sessions_.note_request(*session, datagrams, now);
  if (const std::optional<Drop> problem = ensure_routed(*session, now)) {
    count_refusal(session->listener, *problem == Drop::no_backend ? Refusal::no_backend : Refusal::local_error);
    end(*session, CloseReason::no_backend, now);
    return drop(buffer, datagrams, *problem);
  }
  shared_.counters.listeners[session->listener].traffic.from_clients.add(received.payload.size());
  counters_of(*session).traffic.from_clients.add(received.payload.size());
  session->bytes_from_client += received.payload.size();
  if (!outbox_.add(*session, flow::Direction::to_backend, way_to_backend(*session), buffer, received.payload,
                   received.segment_bytes)) {
    count_drop(Drop::no_memory, 1);
  }
}

/// The client's session, a new one if it has none; null and a reason when it may not have one.
UdpSession* UdpRelay::session_for(const flow::ClientKey& key, std::uint32_t listener, Instant now, Drop& problem) {
  UdpSession* session = sessions_.find(key);
  if (session != nullptr) {
    CloseReason reason = CloseReason::none;
    if (!over(*session, now, reason)) return session;
    end(*session, reason, now);
  }
  return open(key, listener, now, problem);
}

UdpSession* UdpRelay::open(const flow::ClientKey& key, std::uint32_t listener, Instant now, Drop& problem) {
  const auto refuse = [&](Refusal refusal, Drop reason) -> UdpSession* {
    count_refusal(listener, refusal);
    problem = reason;
    return nullptr;
  };
  if (stopping_) {
    problem = Drop::stopping;
    return nullptr;
  }
  Access::Entry entry;
  if (shared_.access.guards(listener)) {
    // Before admit(), so that nobody is evicted for a client that may not come in.
    entry = shared_.access.enter(listener, key.client, now);
    if (entry.refusal) return refuse(*entry.refusal, drop_of(*entry.refusal));
  }
  if (!admit(listener, now)) {
    shared_.access.leave(listener, entry.hold);
    return refuse(Refusal::no_slot, Drop::session_limit);
  }
  UdpSession* session = sessions_.open(key, listener, now);
  if (session == nullptr) {
    shared_.admission.release_session(listener);
    shared_.access.leave(listener, entry.hold);
    return refuse(Refusal::no_slot, Drop::session_limit);
  }
  session->source_hold = entry.hold;
  counters_.sessions.add();
  shared_.counters.listeners[listener].begun.add();
  return session;
}

bool UdpRelay::over(const UdpSession& session, Instant now, CloseReason& reason) const {
  const pool::Listener& listener = listener_of(session.listener);
  if (session.listener != sockets_[session.key.socket].listener) {
    reason = CloseReason::drain;  // its address belongs to another listener now
  } else if (listener.idle_timeout > Nanos(0) && now - session.last_activity >= listener.idle_timeout) {
    reason = CloseReason::idle_timeout;
  } else if (listener.max_connection_duration > Nanos(0) && now - session.started >= listener.max_connection_duration) {
    reason = CloseReason::max_duration;
  }
  return reason != CloseReason::none;
}

bool UdpRelay::admit(std::uint32_t listener, Instant now) {
  if (sessions_.size() < sessions_.capacity() && shared_.admission.admit_session(listener)) return true;
  UdpSession* victim = sessions_.evictable(listener);
  if (victim == nullptr) return false;
  close(*victim, CloseReason::evicted, now);
  return true;  // in the victim's place: given back, another worker might take it
}

void UdpRelay::end(UdpSession& session, CloseReason reason, Instant now) {
  shared_.admission.release_session(session.listener);
  close(session, reason, now);
}

/// Ends a session and keeps its place among the listener's sessions.
void UdpRelay::close(UdpSession& session, CloseReason reason, Instant now) {
  if (session.routed()) unroute(session, now);
  counters_.sessions_closed[static_cast<std::size_t>(reason)].add();
  shared_.counters.listeners[session.listener].ended.add();
  shared_.access.leave(session.listener, session.source_hold);
  if (shared_.records.wants(listener_of(session.listener))) log_end(session, reason);
  sessions_.close(session);
}

void UdpRelay::log_end(const UdpSession& session, CloseReason reason) {
  const ListeningSocket& socket = sockets_[session.key.socket];
  net::IpEndpoint local = session.key.local;
  local.set_port(socket.address.port());
  shared_.records.end({.listener = session.listener,
                       .pool = listener_of(session.listener).pool,
                       .client = session.key.client.to_endpoint(),
                       .local = local.family() == net::Family::none ? socket.address : local.to_endpoint()},
                      session, flow::name(reason), io_.now());
}

// ---- the way to a backend ----

/// Finds the session's backend in its pool as it is now; false when it is not there any more.
bool UdpRelay::follow_pool(UdpSession& session, const PoolInUse& in_use) {
  if (session.pool_version == in_use.version) return true;
  const std::vector<pool::Backend>& backends = in_use.pool->backends;
  const auto found = std::find_if(backends.begin(), backends.end(),
                                  [&](const pool::Backend& one) { return pool::row(one.id) == session.backend; });
  if (found == backends.end()) return false;
  session.picked = static_cast<std::uint16_t>(found - backends.begin());
  session.pool_version = in_use.version;
  session.not_reached = 0;
  return true;
}

std::optional<Drop> UdpRelay::ensure_routed(UdpSession& session, Instant now) {
  if (!session.routed()) return route(session, now);
  const PoolInUse& in_use = pool_of(session.listener);
  const bool known = follow_pool(session, in_use);
  const pool::Pool& pool = *in_use.pool;
  const auto serves = [&](const pool::Backend& b) { return shared_.table.serves(b.id) && b.weight != 0; };
  if (known && !session.failed) {
    if (serves(pool.backends[session.picked]) || now < session.look_again) return std::nullopt;
    if (pool.fail_open && std::none_of(pool.backends.begin(), pool.backends.end(), serves)) {
      session.look_again = now + kLookAgain;  // all are as bad as this one
      return std::nullopt;
    }
  }
  // What has come back is known as this session's only while it is there.
  if (!session.failed) collect_errors(session.upstream);
  if (session.failed) note_departure(session);
  unroute(session, now);
  counters_.repicks.add();
  return route(session, now);
}

std::optional<Drop> UdpRelay::route(UdpSession& session, Instant now) {
  const std::uint32_t pool_index = listener_of(session.listener).pool;
  PoolInUse& in_use = shared_.pools.in_use(pool_index);
  const pool::Pool& pool = *in_use.pool;
  pool::PickRequest request;
  if (pool.algorithm == balance::Algorithm::source_hash) {
    request.client_hash = net::hash_client(session.key.client.to_endpoint(), pool.hash.prefix_v4, pool.hash.prefix_v6,
                                           pool.hash.key == pool::HashKey::source_ip_port);
  }
  if (pool.algorithm == balance::Algorithm::random_two) request.random = shared_.rng.next();
  if (session.pool_version == in_use.version) {
    request.tried = pool::TriedSet(session.not_reached);
    if (session.failed) request.tried.add(session.picked);
  }
  session.not_reached = request.tried.bits();
  const pool::Pick pick = in_use.picker.pick(request);
  if (pick.outcome == pool::PickOutcome::picked_again) session.not_reached = 0;  // another round
  if (pick.outcome == pool::PickOutcome::none || pick.outcome == pool::PickOutcome::all_full) return Drop::no_backend;

  Route& route = route_of(pool_index);
  const pool::Backend& backend = pool.backends[pick.index];
  const std::uint32_t target = route.targets[pick.index];
  flow::UpstreamSockets::Taken taken;
  const std::optional<std::uint32_t> group = group_for(route, backend.address.family());
  if (group) taken = take_place(session, *group, target, now);
  if (taken.socket == flow::UpstreamSockets::kNone) {
    shared_.table.release(backend.id);
    shared_.counters.local_faults.add();
    if (taken.error == EADDRNOTAVAIL) shared_.counters.port_exhausted.add();
    return Drop::no_socket;
  }
  session.backend = static_cast<std::uint32_t>(pool::row(backend.id));
  session.picked = static_cast<std::uint16_t>(pick.index);
  session.pool_version = in_use.version;
  session.group = *group;
  session.target = target;
  session.place = taken.place;
  session.failed = false;
  const bool up = shared_.table.serves(backend.id);
  session.look_again = up ? Instant::min() : now + kLookAgain;
  counters_of(session).connections.add();
  sessions_.route(session, taken.socket, route.addresses[target]);
  return std::nullopt;
}

/// A place on an upstream socket; when none can be had, the oldest fresh sessions give up theirs.
flow::UpstreamSockets::Taken UdpRelay::take_place(const UdpSession& session, std::uint32_t group, std::uint32_t target,
                                                  Instant now) {
  flow::UpstreamSockets::Taken taken = upstreams_.take(group, target, now);
  for (int i = 0; i < kEvictionsForPlace && taken.socket == flow::UpstreamSockets::kNone; ++i) {
    UdpSession* victim = sessions_.evictable(session.listener);
    if (victim == nullptr || victim == &session) break;
    end(*victim, CloseReason::evicted, now);
    taken = upstreams_.take(group, target, now);
  }
  return taken;
}

void UdpRelay::unroute(UdpSession& session, Instant now) {
  shared_.table.release(pool::BackendId{session.backend});
  upstreams_.give_back(session.group, session.target, session.place, now);
  sessions_.unroute(session);
}

/// Sources of the backend's family are used in turn.
std::optional<std::uint32_t> UdpRelay::group_for(Route& route, net::Family family) {
  for (std::size_t i = 0; i < route.groups.size(); ++i) {
    const Route::Group& group = route.groups[route.next_group++ % route.groups.size()];
    if (group.wanted && group.source.family() == family) return group.number;
  }
  return std::nullopt;
}

flow::Way UdpRelay::way_to_backend(const UdpSession& session) const {
  return {.fd = upstreams_.fd(session.upstream), .socket = session.upstream, .to = session.backend_address, .from = {}};
}

flow::Way UdpRelay::way_to_client(const UdpSession& session) const {
  const flow::ClientKey& key = session.key;
  return {.fd = sockets_[key.socket].fd, .socket = key.socket, .to = key.client, .from = key.local};
}

// ---- the end of a pass, and of it all ----

void UdpRelay::end_of_pass(Instant now) {
  resend_returned(now);
  end_idle(now);
  end_sockets(now);
  if (stopping_ && now >= stop_at_) abort(CloseReason::drain);
  flush();
  adapt_gathering(now);
  if (io_.datagram_buffers().free_count() > 0) {
    for (const std::uint32_t number : starved_) {
      const ListeningSocket& socket = sockets_[number];
      const bool rests = socket.fd != io::Fd::none && !socket.receiving;
      if (rests && !stopping_ && socket.ends_at == kNever) arm(number);
    }
    starved_.clear();
    upstreams_.resume();
  }
  if (stopping_) return close_sockets();
  wake_at_ = upstreams_.trim(now);
}

void UdpRelay::adapt_gathering(Instant now) {
  if (now - window_began_ < kGatherWindow) return;
  const double seconds = std::chrono::duration<double>(now - window_began_).count();
  const auto datagrams = static_cast<double>(window_datagrams_);
  const bool pays = datagrams >= static_cast<double>(kGatherRate) * seconds &&
                    datagrams >= kGatherMerge * static_cast<double>(window_messages_);
  window_began_ = now;
  window_datagrams_ = 0;
  window_messages_ = 0;
  gathering_ = pays;
}

/// Of the first socket whose time has come: a piece of its sessions, and then the socket.
void UdpRelay::end_sockets(Instant now) {
  if (stopping_) return;
  if (!ending_) {
    const auto due = std::find_if(sockets_.begin(), sockets_.end(),
                                  [now](const ListeningSocket& one) { return one.ends_at <= now; });
    if (due == sockets_.end()) return;
    ending_ = static_cast<std::uint32_t>(due - sockets_.begin());
    ended_next_ = 0;
  }
  const std::uint32_t number = *ending_;
  ListeningSocket& socket = sockets_[number];
  const std::uint32_t end = std::min(ended_next_ + kEndedPerPass, sessions_.slots());
  for (; ended_next_ < end; ++ended_next_) {
    UdpSession* session = sessions_.in_slot(ended_next_);
    if (session != nullptr && session->key.socket == number) this->end(*session, CloseReason::drain, now);
  }
  if (ended_next_ < sessions_.slots() || socket.receiving || socket.sends > 0 || outbox_.waiting()) return;
  io_.close(socket.fd, io::CloseMode::normal);
  socket = {};
  ending_.reset();
}

void UdpRelay::end_idle(Instant now) {
  std::uint32_t left = kEndedPerPass;
  for (const std::uint32_t listener : listeners_) {
    const Nanos idle_timeout = listener_of(listener).idle_timeout;
    for (; left > 0; --left) {
      UdpSession* session = sessions_.idle(listener, idle_timeout, now);
      if (session == nullptr) break;
      end(*session, CloseReason::idle_timeout, now);
    }
  }
}

Instant UdpRelay::next_wake() const {
  if (stopping_) return sessions_.size() > 0 ? stop_at_ : kNever;
  Instant wake = wake_at_;
  for (const ListeningSocket& socket : sockets_) wake = std::min(wake, socket.ends_at);
  for (const std::uint32_t listener : listeners_) {
    wake = std::min(wake, sessions_.next_idle(listener, listener_of(listener).idle_timeout));
  }
  return wake;
}

void UdpRelay::stop(Instant now, Instant deadline) {
  if (stopping_) return;
  stopping_ = true;
  stop_at_ = std::min(deadline, now + kOwedReplyMax);
  for (std::uint32_t i = 0; i < sockets_.size(); ++i) {
    ListeningSocket& socket = sockets_[i];
    if (!socket.receiving || socket.cancelling) continue;
    socket.cancelling = true;
    io_.cancel(io::OpTag(OpKind::recv_datagrams, kListenerSide, 0, i));
  }
  sessions_.for_each([&](UdpSession& session) {
    if (!session.awaits_reply) end(session, CloseReason::drain, now);
  });
}

void UdpRelay::abort(CloseReason reason) {
  sessions_.for_each([&](UdpSession& session) { end(session, reason, session.last_activity); });
}

bool UdpRelay::kill(SlotId id, Instant now) {
  UdpSession* session = sessions_.find(id);
  if (session == nullptr) return false;
  end(*session, CloseReason::killed, now);
  return true;
}

void UdpRelay::close_sockets() {
  if (sessions_.size() > 0) return;
  upstreams_.close_all();
  for (ListeningSocket& socket : sockets_) close_when_idle(socket);
}

void UdpRelay::close_when_idle(ListeningSocket& socket) {
  if (socket.fd == io::Fd::none || socket.receiving || socket.sends > 0 || sessions_.size() > 0 || outbox_.waiting()) {
    return;
  }
  io_.close(socket.fd, io::CloseMode::normal);
  socket.fd = io::Fd::none;
}

bool UdpRelay::finished() const {
  return stopping_ && sessions_.size() == 0 && upstreams_.open() == 0 && outbox_.idle() &&
         std::all_of(sockets_.begin(), sockets_.end(), [](const auto& s) { return s.fd == io::Fd::none; });
}

}  // namespace millrace::worker
