// What a worker does for one connection: choose a backend, connect, choose another when that fails, account for its
// end.

#include "connection.hpp"

#include <algorithm>
#include <cerrno>

#include "access.hpp"
#include "access_records.hpp"
#include "millrace/base/assert.hpp"

namespace millrace::worker {

using flow::CloseReason;
using flow::Verdict;
using pool::PickOutcome;

namespace {

constexpr Nanos kTurnaround = std::chrono::seconds(1);             // before the same backend is tried again
constexpr Nanos kLocalFaultPause = std::chrono::milliseconds(50);  // before trying again when this machine is short

/// Whether a failed connect says something about this machine rather than about the backend (behaviour rule 11).
bool is_local_fault(int error) {
  switch (error) {
    case EADDRNOTAVAIL:  // source ports used up
    case EADDRINUSE:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EACCES:  // a local firewall rule
    case EPERM:
    case EAFNOSUPPORT:
      return true;
    default:
      return false;
  }
}

CloseReason close_reason(Refusal refusal) {
  switch (refusal) {
    case Refusal::connect_failed:
      return CloseReason::connect_failed;
    case Refusal::local_error:
      return CloseReason::local_error;
    default:
      return CloseReason::no_backend;
  }
}

}  // namespace

void Worker::begin_connection(ListenerState& listener, io::Fd client) {
  ListenerCounters& counters = counters_.listeners[listener.listener];
  counters_.accepted.add();
  counters.accepted.add();
  const pool::Pool& pool = pools_.at(snapshot_->listeners[listener.listener].pool);
  const bool hashed = pool.algorithm == balance::Algorithm::source_hash;
  const bool guarded = access_->guards(listener.listener);
  const bool logged = records_->wants(snapshot_->listeners[listener.listener]);
  net::Endpoint peer;
  if (hashed || guarded || logged) peer = io_.peer(client);
  Access::Entry entry;
  if (guarded) {
    // Whoever ends at once must not get round the limits that way: a backend would be connected to for nothing.
    if (peer.family() == net::Family::none) return turn_away(listener, client, peer, Refusal::client_gone);
    entry = access_->enter(listener.listener, net::IpEndpoint::from(peer), context_.now);
    if (entry.refusal) return turn_away(listener, client, peer, *entry.refusal);
  }
  Connection* connection =
      connections_.take(client, listener.listener, entry.hold, flow_options_[listener.listener], context_.now);
  if (connection == nullptr) {
    access_->leave(listener.listener, entry.hold);
    return turn_away(listener, client, peer, Refusal::no_slot);
  }
  counters.begun.add();
  if (hashed) {
    connection->client_hash = net::hash_client(peer, pool.hash.prefix_v4, pool.hash.prefix_v6,
                                               pool.hash.key == pool::HashKey::source_ip_port);
  }
  if (logged) {
    connection->record = records_->begin({.listener = listener.listener,
                                          .pool = snapshot_->listeners[listener.listener].pool,
                                          .client = peer,
                                          .local = io_.local(client)},
                                         {connection->flow.slot(), connection->flow.generation()});
  }
  connection->admitted = admission_.admit(listener.listener);
  if (connection->admitted) return connect(*connection);
  connection->flow.wait(context_, kNever);
  listener.parked.push_back({connection->flow.slot(), connection->flow.generation()});
}

/// A client for which nothing has been done yet.
void Worker::turn_away(const ListenerState& listener, io::Fd client, const net::Endpoint& peer, Refusal refusal) {
  const pool::Listener& described = snapshot_->listeners[listener.listener];
  if (records_->wants(described)) {
    records_->turned_away(
        {.listener = listener.listener, .pool = described.pool, .client = peer, .local = io_.local(client)},
        name(refusal), context_.now);
  }
  counters_.listeners[listener.listener].refused[static_cast<std::size_t>(refusal)].add();
  counters_.refused[static_cast<std::size_t>(refusal)].add();
  io_.close(client, io::CloseMode::reset);
}

/// Where it finds its next backend. What it has tried of another pool, or of this one before it changed, says nothing.
PoolInUse& Worker::pool_of(const Connection& connection) {
  return pools_.in_use(snapshot_->listeners[connection.listener].pool);
}

void Worker::count_local_fault(int error) {
  counters_.local_faults.add();
  if (error == EADDRNOTAVAIL) counters_.port_exhausted.add();
}

void Worker::handle(Connection& connection, Verdict verdict) {
  switch (verdict) {
    case Verdict::connected: {
      const Nanos took = context_.now - connection.connect_began;
      table_.clear_failures(connection.backend);
      counters_.backends[pool::row(connection.backend)].note_connected(took);
      if (connection.record != nullptr) connection.record->connect = took;
      break;
    }
    case Verdict::connect_failed:
      return on_connect_failed(connection);
    case Verdict::retry:
      return connect(connection);
    case Verdict::closed:
      return end_connection(connection);
    case Verdict::ongoing:
      break;
  }
  if (connection.flow.waits_for_buffers() && !connection.queued_for_buffers) {
    connection.queued_for_buffers = true;
    starved_.push_back({connection.flow.slot(), connection.flow.generation()});
  }
}

void Worker::connect(Connection& connection) {
  PoolInUse& in_use = pool_of(connection);
  const pool::Pool& pool = *in_use.pool;
  if (connection.pool_version != in_use.version) {
    connection.pool_version = in_use.version;
    connection.tried.clear();
  }
  if (connection.attempts > pool.retries) {
    const bool ours = is_local_fault(connection.flow.connect_error());
    return refuse(connection, ours ? Refusal::local_error : Refusal::connect_failed);
  }
  pool::PickRequest request{.client_hash = connection.client_hash, .tried = connection.tried};
  if (pool.algorithm == balance::Algorithm::random_two) request.random = rng_.next();
  const pool::Pick pick = in_use.picker.pick(request);
  switch (pick.outcome) {
    case PickOutcome::picked:
      connection.backend = pool.backends[pick.index].id;
      connection.picked = pick.index;
      connection.holds_backend = true;
      return connect_to(connection, pick.index);
    case PickOutcome::picked_again:  // give it a moment before it is asked again (behaviour rule 10)
      table_.release(pool.backends[pick.index].id);
      connection.tried.clear();
      return connection.flow.wait(context_, context_.now + std::min(pool.connect_timeout, kTurnaround));
    case PickOutcome::all_full:
    case PickOutcome::none:
      return refuse(connection, connection.attempts > 0 ? Refusal::connect_failed : Refusal::no_backend);
  }
}

void Worker::connect_to(Connection& connection, std::uint32_t backend_index) {
  PoolInUse& in_use = pool_of(connection);
  const pool::Pool& pool = *in_use.pool;
  const pool::Backend& backend = pool.backends[backend_index];
  ++connection.attempts;
  counters_.connect_attempts.add();
  connection.connect_began = context_.now;
  if (connection.record != nullptr) AccessRecords::note_attempt(*connection.record, backend);
  const int error = connection.flow.connect(context_, backend.address, source_for(in_use, backend),
                                            pool.connect_timeout, &counters_.backends[pool::row(backend.id)].traffic);
  if (error == 0) return;
  count_local_fault(error);
  release_backend(connection);
  if (connection.attempts > pool.retries) return refuse(connection, Refusal::local_error);
  connection.flow.wait(context_, context_.now + kLocalFaultPause);
}

void Worker::on_connect_failed(Connection& connection) {
  const PoolInUse& in_use = pool_of(connection);
  const pool::Pool& pool = *in_use.pool;
  const pool::BackendId id = connection.backend;
  const int error = connection.flow.connect_error();
  if (is_local_fault(error)) {
    count_local_fault(error);
  } else {
    counters_.connect_failures.add();
    counters_.backends[pool::row(id)].connect_failures[static_cast<std::size_t>(connect_failure(error))].add();
    const std::uint32_t in_a_row = table_.count_failure(id);
    if (probes_ != nullptr && pool.passive_failures != 0 && in_a_row % pool.passive_failures == 0) {
      probes_->request_probe(id);
    }
  }
  if (connection.pool_version == in_use.version) connection.tried.add(connection.picked);
  release_backend(connection);
  connect(connection);
}

net::Endpoint Worker::source_for(PoolInUse& pool, const pool::Backend& backend) {
  const std::vector<net::Endpoint>& sources = pool.pool->sources;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const net::Endpoint& source = sources[pool.next_source++ % sources.size()];
    if (source.family() == backend.address.family()) return source;
  }
  return {};
}

void Worker::refuse(Connection& connection, Refusal refusal) {
  counters_.listeners[connection.listener].refused[static_cast<std::size_t>(refusal)].add();
  counters_.refused[static_cast<std::size_t>(refusal)].add();
  handle(connection, connection.flow.abort(context_, close_reason(refusal)));
}

void Worker::release_backend(Connection& connection) {
  if (!connection.holds_backend) return;
  connection.holds_backend = false;
  table_.release(connection.backend);
}

/// Of the two connections, as far as it was asked for.
void Worker::count_tcp_info(const Connection& connection) {
  counters_.listeners[connection.listener].tcp.note(context_.tcp_info(flow::Side::client));
  const io::TcpInfo& backend = context_.tcp_info(flow::Side::backend);
  if (backend.known) counters_.backends[pool::row(connection.backend)].tcp.note(backend);
}

void Worker::end_connection(Connection& connection) {
  count_tcp_info(connection);
  if (connection.record != nullptr) records_->end(connection.record, connection.flow, connection.attempts, context_);
  release_backend(connection);
  if (connection.admitted) admission_.release(connection.listener);
  access_->leave(connection.listener, connection.source_hold);
  counters_.listeners[connection.listener].ended.add();
  counters_.closed[static_cast<std::size_t>(connection.flow.close_reason())].add();
  connections_.give_back(&connection);
  // Descriptors are free again: whoever paused for the lack of them may go on.
  for (ListenerState& listener : listeners_) listener.paused_until = Instant::min();
}

}  // namespace millrace::worker
