#include "oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace millrace::sim {

Oracle::Oracle(Context& context, Limits limits)
    : context_(context),
      limits_(std::move(limits)),
      by_listener_(limits_.listeners.size()),
      by_backend_(limits_.backends.size()) {}

void Oracle::watch(Peer& peer) {
  peers_.push_back(&peer);
}

SimIo::Hooks Oracle::hooks(int worker) {
  return {.first_op = [this, worker](io::OpTag tag, Socket& socket) { first_op(worker, tag, socket); },
          .moved = [this](Socket& from) { moved(from); },
          .connecting = [this](Socket& socket, const net::Endpoint& remote) { connecting(socket, remote); },
          .closing = [this](Socket& socket) { closing(socket); }};
}

// ---- which sockets belong together ----

void Oracle::first_op(int worker, io::OpTag tag, Socket& socket) {
  Flow*& flow = by_key_[{worker, tag.slot(), tag.generation()}];
  if (flow == nullptr) flow = &flows_.emplace_back();
  if (by_socket_.size() <= socket.id) by_socket_.resize(socket.id + 1);
  by_socket_[socket.id] = flow;
  const bool accepted = socket.peer != nullptr;
  if (!accepted) {
    flow->backend = &socket;
    return;
  }
  if (flow->client != nullptr) {
    context_.trace.fail("two clients in one flow", fmt::format("{} socket {}", tag.to_string(), socket.id));
  }
  flow->client = &socket;
  count_listener(*flow);
}

Oracle::Flow* Oracle::flow_of(const Socket& end) const {
  return end.id < by_socket_.size() ? by_socket_[end.id] : nullptr;
}

const Peer* Oracle::partner(const Peer& peer) const {
  if (peer.socket() == nullptr) return nullptr;
  const Socket* here = peer.socket()->peer;
  const Flow* flow = flow_of(*here);
  if (flow == nullptr) return nullptr;
  const Socket* there = here == flow->client ? flow->backend : flow->client;
  if (there == nullptr || there->peer == nullptr || there->peer->holder < 0) return nullptr;
  return peers_[static_cast<std::size_t>(there->peer->holder)];
}

// ---- limits ----

std::size_t Oracle::index_of(const std::vector<Limits::Of>& list, const net::Endpoint& address) const {
  const auto found =
      std::find_if(list.begin(), list.end(), [&](const Limits::Of& of) { return of.address == address; });
  if (found == list.end()) context_.trace.fail("an address that is not in the configuration", address.to_string());
  return static_cast<std::size_t>(found - list.begin());
}

void Oracle::add(std::uint32_t& number, int change, std::uint32_t limit, const char* which) const {
  number = static_cast<std::uint32_t>(static_cast<int>(number) + change);
  if (limit != 0 && number > limit) {
    context_.trace.fail("max_connections", fmt::format("{}: {} connections, limit {}", which, number, limit));
  }
}

void Oracle::connecting(Socket& socket, const net::Endpoint& remote) {
  Flow& flow = *flow_of(socket);
  flow.connected = true;
  const std::size_t backend = index_of(limits_.backends, remote);
  add(by_backend_[backend], +1, limits_.backends[backend].connections, "backend");
  add(connections_, +1, limits_.connections, "global");
  count_listener(flow);
}

void Oracle::count_listener(Flow& flow) {
  if (flow.client == nullptr || !flow.connected) return;
  flow.listener_counted = true;
  const std::size_t listener = index_of(limits_.listeners, flow.client->local);
  add(by_listener_[listener], +1, limits_.listeners[listener].connections, "listener");
}

void Oracle::closing(Socket& socket) {
  Flow* flow = flow_of(socket);
  if (flow == nullptr || flow->backend != &socket || !flow->connected) return;
  flow->connected = false;
  add(by_backend_[index_of(limits_.backends, socket.remote)], -1, 0, "backend");
  add(connections_, -1, 0, "global");
  if (!std::exchange(flow->listener_counted, false)) return;
  add(by_listener_[index_of(limits_.listeners, flow->client->local)], -1, 0, "listener");
}

void Oracle::moved(const Socket& from) const {
  const Flow* flow = flow_of(from);
  if (flow == nullptr || flow->client == nullptr || flow->backend == nullptr) return;
  const Socket& to = &from == flow->client ? *flow->backend : *flow->client;
  if (to.reset_arrived) return;  // what comes until the receive is cancelled is thrown away, and so is what was held
  const std::uint64_t held = from.bytes_read - to.bytes_written;
  if (held > limits_.held_bytes) {
    context_.trace.fail("bounded memory", fmt::format("socket {}: {} bytes are held", from.id, held));
  }
}

// ---- bytes ----

void Oracle::received(const Peer& by, std::uint64_t header, std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset + bytes.size() < Stream::kHeader) return;
  const auto sender = Stream::sender(header);
  if (!sender || *sender >= peers_.size()) {
    context_.trace.fail("a stream that nobody sent", by.describe() + fmt::format(", header {:x}", header));
  }
  const Peer& from = *peers_[*sender];
  const Peer* expected = partner(by);
  if (expected != &from) {
    context_.trace.fail("bytes of another flow", by.describe() + "; they are from " + from.describe() +
                                                     "; paired with " +
                                                     (expected == nullptr ? "nobody" : expected->describe()));
  }
  if (offset + bytes.size() > from.sent()) {
    context_.trace.fail("more received than sent", by.describe() + "; " + from.describe());
  }
  if (!Stream(*sender).matches(offset, bytes)) {
    context_.trace.fail("wrong bytes", fmt::format("{} at offset {}, from {}", by.describe(), offset, from.describe()));
  }
}

void Oracle::end_of_stream(const Peer& seen_by) {
  context_.trace.note("peer sees fin", -1, static_cast<int>(seen_by.id()),
                      static_cast<std::int64_t>(seen_by.received()));
  const Peer* from = partner(seen_by);
  if (from == nullptr) return;  // a client that was refused
  const Socket& near = *from->socket()->peer;
  if (near.fin_arrived && near.bytes_arrived == seen_by.received()) return;
  false_fins_.push_back(seen_by.id());
  if (!timeouts_possible) {
    context_.trace.fail("a FIN that nobody sent, or before the last byte",
                        fmt::format("{}; {}; the proxy was sent {} bytes{}", seen_by.describe(), from->describe(),
                                    near.bytes_arrived, near.fin_arrived ? " and FIN" : ""));
  }
}

void Oracle::error(const Peer&) {}

/// Three seconds are far more than all latencies, pauses and faults of a run can add up to for one transfer.
bool Oracle::waits_in_vain(const Peer& sender, const Peer& receiver) const {
  const Instant since = context_.clock.now() - std::chrono::seconds(3);
  const Socket& near = *sender.socket()->peer;
  const Socket& far = *receiver.socket()->peer;
  if (!receiver.has_waited_since(since) || near.last_arrival > since) return false;
  if (near.reset_arrived || far.reset_arrived || far.dead || far.fin_queued) return false;
  return near.fin_arrived || near.bytes_arrived > receiver.received();
}

void Oracle::check_nobody_waits() const {
  for (const Peer* peer : peers_) {
    const Peer* other = partner(*peer);
    if (other == nullptr || !waits_in_vain(*other, *peer)) continue;
    context_.trace.fail(
        "something is stuck in the proxy",
        fmt::format("{} waits for {}; the proxy was sent {} bytes{}", peer->describe(), other->describe(),
                    other->socket()->peer->bytes_arrived, other->socket()->peer->fin_arrived ? " and FIN" : ""));
  }
}

// ---- the end ----

/// What `receiver` was owed of `sender`'s stream and did not get; empty when all is well.
std::string Oracle::complaint(const Peer& sender, const Peer& receiver) const {
  const Socket& near = *sender.socket()->peer;
  const Socket& far = *receiver.socket()->peer;
  if (near.link_failed || far.link_failed || receiver.has_quit()) return {};
  if (near.reset_arrived || far.reset_arrived) return {};
  if (!near.fin_arrived && sender.has_quit()) return {};
  const bool got_all = receiver.fin_seen() && receiver.error() == 0 && receiver.received() == near.bytes_arrived;
  if (near.fin_arrived && got_all) return {};
  return fmt::format("{}; {}\n", sender.describe(), receiver.describe());
}

/// A connect that was given up may stand at the backend all the same. Both sides then see a reset and not a byte: that
/// is a refusal, not a cut-off stream.
static bool refused_late(const Peer& client, const Peer& backend) {
  return client.received() == 0 && client.error() != 0 && backend.received() == 0 && backend.error() != 0;
}

void Oracle::settle(const Excuses& excuses, bool all_served) const {
  std::set<const Peer*> unhappy;  // by its client
  std::string complaints;
  std::uint64_t unserved = 0;
  for (const Peer* peer : peers_) {
    if (peer->role() != Role::client || peer->socket() == nullptr) continue;
    const Peer* backend = partner(*peer);
    if (backend == nullptr) {
      unserved += peer->has_quit() || peer->socket()->link_failed ? 0U : 1U;
      continue;
    }
    if (refused_late(*peer, *backend)) {
      ++unserved;
      continue;
    }
    const std::string complaint_here = complaint(*peer, *backend) + complaint(*backend, *peer);
    const bool false_fin = std::count(false_fins_.begin(), false_fins_.end(), peer->id()) != 0 ||
                           std::count(false_fins_.begin(), false_fins_.end(), backend->id()) != 0;
    if (complaint_here.empty() && !false_fin) continue;
    unhappy.insert(peer);
    complaints += (false_fin ? "false FIN: " + peer->describe() + "\n" : std::string()) + complaint_here;
  }
  if (unhappy.size() > excuses.cut_short) {
    context_.trace.fail("not everything arrived", fmt::format("{} flows, of which {} are excused:\n{}", unhappy.size(),
                                                              excuses.cut_short, complaints));
  }
  if (all_served && unserved > excuses.refused) {
    context_.trace.fail("not everyone was served", fmt::format("{} clients", unserved));
  }
}

}  // namespace millrace::sim
