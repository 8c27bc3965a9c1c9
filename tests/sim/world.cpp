#include "world.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace millrace::sim {

World::World(Context& context, Kernel& kernel, Oracle& oracle, std::vector<net::Endpoint> listeners,
             std::vector<BackendPlan> backends, const TrafficPlan& plan)
    : context_(context),
      kernel_(kernel),
      oracle_(oracle),
      listeners_(std::move(listeners)),
      backends_(std::move(backends)),
      plan_(plan) {
  kernel_.remote = this;
}

Peer& World::add_peer(Role role, const Script& script) {
  const auto id = static_cast<PeerId>(peers_.size());
  peers_.push_back(std::make_unique<Peer>(context_, kernel_.network, oracle_, id, role, script));
  oracle_.watch(*peers_.back());
  return *peers_.back();
}

void World::start() {
  for (std::uint32_t i = 0; i < plan_.clients; ++i) {
    Peer& client = add_peer(Role::client, draw_client());
    const net::Endpoint listener = listeners_[context_.random.below(listeners_.size())];
    context_.clock.after(context_.up_to(plan_.arrivals), [this, &client, listener] { knock(client, listener); });
  }
}

void World::finish() {
  finishing_ = true;
  for (std::size_t i = 0; i < peers_.size(); ++i) peers_[i]->finish();
}

bool World::over() const {
  return std::all_of(peers_.begin(), peers_.end(),
                     [](const auto& peer) { return peer->state() == Peer::State::ended; });
}

std::string World::describe_unfinished() const {
  std::string text;
  for (const auto& peer : peers_) {
    if (peer->state() != Peer::State::ended) text += peer->describe() + "\n";
  }
  return text;
}

// ---- clients ----

void World::knock(Peer& client, const net::Endpoint& listener) {
  Socket& socket = kernel_.network.create(plan_.queues);
  const auto host = static_cast<std::uint32_t>(0x0a010000 + context_.random.below(64));
  socket.local = net::Endpoint::ipv4(host, static_cast<std::uint16_t>(1024 + client.id()));
  switch (finishing_ ? Kernel::Knock::refused : kernel_.knock(socket, listener, plan_.server_queues)) {
    case Kernel::Knock::accepted:
      client.connected(socket);
      break;
    case Kernel::Knock::refused:
      client.give_up();
      break;
    case Kernel::Knock::backlog_full:  // the SYN is dropped and sent again
      context_.clock.after(std::chrono::seconds(1), [this, &client, listener] { knock(client, listener); });
      break;
  }
}

std::uint64_t World::draw_bytes() {
  if (plan_.bytes_bulk != 0 && context_.random.one_in(8))
    return context_.between(plan_.bytes_bulk / 2, plan_.bytes_bulk);
  return context_.random.one_in(10) ? context_.random.below(Stream::kHeader + 1)
                                    : context_.between(8, plan_.bytes_usual);
}

/// Chunks and pauses, the same for all kinds of peers.
Script World::draw_pace() {
  Script script;
  script.bytes = draw_bytes();
  const auto draw_chunk = [this] { return static_cast<std::uint32_t>(1) << context_.between(5, 14); };
  script.write_chunk = draw_chunk();
  script.read_chunk = draw_chunk();
  if (context_.random.one_in(2)) script.write_pause = plan_.pause_max;
  if (context_.random.one_in(2)) script.read_pause = plan_.pause_max;
  if (script.bytes > 20'000) {
    script.write_chunk = 1U << 14U;
    script.write_pause = Nanos(0);
  }
  return script;
}

Script World::draw_client() {
  Script script = draw_pace();
  script.fin_after_bytes = !context_.random.one_in(3);
  if (context_.random.one_in(8)) script.speaks_after = context_.between(1, 64);  // waits for a greeting
  if (context_.random.unit() >= plan_.graceful) make_quit(script);
  return script;
}

void World::make_quit(Script& script) {
  script.quits_by = context_.random.one_in(2) ? io::CloseMode::reset : io::CloseMode::normal;
  switch (context_.random.below(4)) {
    case 0:
      script.quits_at = context_.up_to(std::chrono::milliseconds(1)) + context_.up_to(plan_.pause_max * 20);
      break;
    case 1:  // sends and leaves
      script.quits_after_sent = script.bytes;
      break;
    case 2:
      script.quits_after_sent = context_.random.below(script.bytes + 1);
      script.quits_after_received = context_.random.below(plan_.bytes_usual);
      break;
    case 3:  // comes and leaves
      script.quits_after_sent = 0;
      break;
  }
}

// ---- backends ----

void World::connecting(Socket& socket, const net::Endpoint& remote) {
  const auto found = std::find_if(backends_.begin(), backends_.end(),
                                  [&](const BackendPlan& backend) { return backend.address == remote; });
  const Faults& faults = context_.faults;
  if (found == backends_.end() || context_.chance(faults.connect_error)) {
    constexpr std::array kErrors = {ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ECONNRESET, EADDRNOTAVAIL, ETIMEDOUT};
    const int error = kErrors[context_.random.below(kErrors.size())];
    context_.clock.after(context_.latency(), [this, &socket, error] { kernel_.connect_finished(socket, error); });
    return;
  }
  const Manner manner = finishing_ ? Manner::sink : found->manner;
  if (manner == Manner::unanswered || context_.chance(faults.lost_connect)) {
    context_.clock.after(std::chrono::seconds(127), [this, &socket] { kernel_.connect_finished(socket, ETIMEDOUT); });
    return;
  }
  const bool late = context_.chance(faults.late_connect);
  const Nanos delay = context_.latency() + (late ? context_.up_to(std::chrono::seconds(8)) : Nanos(0));
  context_.clock.after(delay, [this, &socket, manner] { answer(socket, manner); });
}

void World::answer(Socket& socket, Manner manner) {
  if (socket.closed) return;
  if (manner == Manner::refuses) return kernel_.connect_finished(socket, ECONNREFUSED);
  Socket& here = kernel_.network.create(plan_.queues);
  here.local = socket.remote;
  kernel_.network.establish(here, socket);
  Peer& peer = add_peer(Role::backend, draw_backend(manner));
  kernel_.connect_finished(socket, 0);
  peer.connected(here);
  if (finishing_) peer.finish();
}

Script World::draw_backend(Manner manner) {
  Script script = draw_pace();
  script.fin_after_bytes = context_.random.one_in(2);
  switch (manner) {
    case Manner::echo:
      script.echo = true;
      break;
    case Manner::answers:
      script.speaks_after = context_.between(1, 200);
      break;
    case Manner::sink:
      script.bytes = 0;
      break;
    case Manner::source:
      script.bytes *= 3;
      break;
    case Manner::quits:
    case Manner::resets:
      make_quit(script);
      script.quits_by = manner == Manner::quits ? io::CloseMode::normal : io::CloseMode::reset;
      break;
    case Manner::stalls:
      script.reads = false;
      script.bytes = 0;
      break;
    case Manner::greets:
    case Manner::refuses:
    case Manner::unanswered:
      break;
  }
  return script;
}

}  // namespace millrace::sim
