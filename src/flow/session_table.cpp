#include "millrace/flow/session_table.hpp"

#include <algorithm>
#include <bit>

#include "millrace/base/assert.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::flow {

namespace {

// Chains hold two sessions each when the table is full, four when it is very large: a megabyte is enough for a table.
constexpr std::uint32_t kBucketsMax = 1U << 18U;
constexpr std::uint32_t kBucketsMin = 1U << 10U;

/// How many sessions one call may move to their rightful place.
constexpr std::uint32_t kLooksMax = 64;

std::uint32_t bucket_count(std::uint32_t capacity) {
  return std::clamp(std::bit_ceil(std::max(capacity / 2, 1U)), kBucketsMin, kBucketsMax);
}

}  // namespace

SessionTable::SessionTable(std::uint32_t capacity, std::uint32_t listeners, std::uint64_t seed)
    : slab_(capacity),
      seed_(seed),
      bucket_mask_(bucket_count(capacity) - 1),
      by_client_(bucket_count(capacity), kNone),
      by_place_(bucket_count(capacity), kNone),
      queues_(listeners) {}

// ---- finding ----

std::uint32_t& SessionTable::bucket(const ClientKey& key) {
  std::uint64_t hash = key.client.hash(seed_ ^ key.socket);
  if (key.local.family() != net::Family::none) hash ^= key.local.hash(~seed_);
  return by_client_[static_cast<std::uint32_t>(hash) & bucket_mask_];
}

std::uint32_t& SessionTable::bucket(std::uint32_t upstream, const net::IpEndpoint& backend) {
  return by_place_[static_cast<std::uint32_t>(backend.hash(seed_ ^ mix64(upstream))) & bucket_mask_];
}

UdpSession* SessionTable::find(const ClientKey& key) {
  for (std::uint32_t i = bucket(key); i != kNone; i = at(i).next_by_client) {
    if (at(i).key == key) return &at(i);
  }
  return nullptr;
}

UdpSession* SessionTable::find(std::uint32_t upstream, const net::IpEndpoint& backend) {
  for (std::uint32_t i = bucket(upstream, backend); i != kNone; i = at(i).next_by_place) {
    if (at(i).upstream == upstream && at(i).backend_address == backend) return &at(i);
  }
  return nullptr;
}

// ---- the life of a session ----

UdpSession* SessionTable::open(const ClientKey& key, std::uint32_t listener, Instant now) {
  UdpSession* session = slab_.take(key, listener, now);
  if (session == nullptr) return nullptr;
  std::uint32_t& first = bucket(key);
  session->next_by_client = first;
  first = session->id.index;
  push_back(*session);
  return session;
}

void SessionTable::close(UdpSession& session) {
  MILLRACE_ASSERT(!session.routed(), "a session is unrouted before it is closed");
  std::uint32_t* link = &bucket(session.key);
  while (*link != session.id.index) link = &at(*link).next_by_client;
  *link = session.next_by_client;
  remove(session);
  slab_.give_back(&session);
}

void SessionTable::route(UdpSession& session, std::uint32_t upstream, const net::IpEndpoint& backend) {
  MILLRACE_ASSERT(!session.routed(), "a session has one place at a time");
  MILLRACE_ASSERT(find(upstream, backend) == nullptr, "a place belongs to one session");
  session.upstream = upstream;
  session.backend_address = backend;
  if (session.attempts != 0xffff) ++session.attempts;
  std::uint32_t& first = bucket(upstream, backend);
  session.next_by_place = first;
  first = session.id.index;
}

void SessionTable::unroute(UdpSession& session) {
  MILLRACE_ASSERT(session.routed(), "it has a place");
  std::uint32_t* link = &bucket(session.upstream, session.backend_address);
  while (*link != session.id.index) link = &at(*link).next_by_place;
  *link = session.next_by_place;
  session.next_by_place = kNone;
  session.upstream = kNone;
}

void SessionTable::note_request(UdpSession& session, std::uint64_t datagrams, Instant now) {
  session.requests += datagrams;
  session.last_activity = now;
  session.awaits_reply = true;
  if (session.settled || session.requests < 2) return;
  remove(session);
  session.settled = true;
  push_back(session);
}

void SessionTable::note_reply(UdpSession& session, std::uint64_t datagrams, Instant now) {
  if (session.replies == 0) session.first_reply = now;
  session.replies += datagrams;
  session.last_activity = now;
  session.awaits_reply = false;
  session.failures = 0;
  session.not_reached = 0;
}

// ---- queues ----

SessionTable::Queue& SessionTable::queue_of(const UdpSession& session) {
  Queues& queues = queues_[session.listener];
  return session.settled ? queues.settled : queues.fresh;
}

void SessionTable::push_back(UdpSession& session) {
  Queue& queue = queue_of(session);
  session.queued_for = session.last_activity;
  session.older = queue.back;
  session.newer = kNone;
  (queue.back == kNone ? queue.front : at(queue.back).newer) = session.id.index;
  queue.back = session.id.index;
}

void SessionTable::remove(UdpSession& session) {
  Queue& queue = queue_of(session);
  (session.older == kNone ? queue.front : at(session.older).newer) = session.newer;
  (session.newer == kNone ? queue.back : at(session.newer).older) = session.older;
}

/// The session at the front whose place is its rightful one, or any when `looks` has run out.
UdpSession* SessionTable::front(Queue& queue, std::uint32_t& looks) {
  while (queue.front != kNone) {
    UdpSession& session = at(queue.front);
    if (session.last_activity == session.queued_for || looks == 0) return &session;
    --looks;
    remove(session);
    push_back(session);
  }
  return nullptr;
}

UdpSession* SessionTable::idle(std::uint32_t listener, Nanos idle_timeout, Instant now) {
  if (idle_timeout <= Nanos(0)) return nullptr;
  std::uint32_t looks = kLooksMax;
  Queues& queues = queues_[listener];
  for (Queue* queue : {&queues.fresh, &queues.settled}) {
    // Those behind the front have come or been moved there later: they are looked at when the front is due.
    if (queue->front == kNone || now - at(queue->front).queued_for < idle_timeout) continue;
    UdpSession* session = front(*queue, looks);
    if (session != nullptr && now - session->last_activity >= idle_timeout) return session;
  }
  return nullptr;
}

UdpSession* SessionTable::evictable(std::uint32_t listener) {
  std::uint32_t looks = kLooksMax;
  return front(queues_[listener].fresh, looks);
}

Instant SessionTable::next_idle(std::uint32_t listener, Nanos idle_timeout) const {
  Instant next = kNever;
  if (idle_timeout <= Nanos(0)) return next;
  const Queues& queues = queues_[listener];
  for (const Queue* queue : {&queues.fresh, &queues.settled}) {
    if (queue->front != kNone) next = std::min(next, at(queue->front).queued_for + idle_timeout);
  }
  return next;
}

}  // namespace millrace::flow
