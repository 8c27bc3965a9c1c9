#include "datagram_peer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace millrace::sim {

// ---- clients ----

DatagramClient::DatagramClient(Context& context, DatagramNetwork& network, DatagramOracle& oracle,
                               const net::IpEndpoint& address, const DatagramScript& script)
    : context_(context),
      network_(network),
      oracle_(oracle),
      address_(address),
      script_(script),
      id_(oracle.add_client(address, script.to)) {}

void DatagramClient::speak() {
  if (done_) return;
  const net::IpEndpoint& to = script_.to[round_ % script_.to.size()];
  for (std::uint32_t i = 0; i < script_.burst; ++i) send(to, draw_length(i + 1 == script_.burst));
  ++round_;
  plan_next();
}

void DatagramClient::send(const net::IpEndpoint& to, std::uint32_t length) {
  const Note note{
      .kind = NoteKind::request, .client = id_, .number = oracle_.request_leaves(id_, to, length), .length = length};
  context_.trace.note("client sends", -1, static_cast<int>(id_), note.number, length);
  network_.from_world({.from = address_, .to = to, .payload = note.to_payload()});
}

std::uint32_t DatagramClient::draw_length(bool last) {
  const bool shorter = script_.lengths == Lengths::any || (script_.lengths == Lengths::last_shorter && last);
  return shorter ? static_cast<std::uint32_t>(context_.random.below(script_.bytes + 1)) : script_.bytes;
}

void DatagramClient::plan_next() {
  if (round_ >= script_.rounds) {
    done_ = true;
    return;
  }
  waiting_ = script_.waits;
  speak_after(waiting_ ? Nanos(std::chrono::milliseconds(500)) : context_.up_to(script_.pause_max));
}

void DatagramClient::speak_after(Nanos pause) {
  if (round_ == script_.rounds / 2) pause += script_.long_pause;
  context_.clock.after(pause, [this, plan = ++plan_] {
    if (plan == plan_) speak();
  });
}

void DatagramClient::arrives(const Datagram& datagram) {
  context_.trace.note("client gets", -1, static_cast<int>(id_), static_cast<std::int64_t>(datagram.payload.size()));
  oracle_.reply_arrives(id_, datagram);
  if (done_ || !std::exchange(waiting_, false)) return;
  speak_after(context_.up_to(script_.pause_max));
}

std::string DatagramClient::describe() const {
  return fmt::format("client {} ({}): {} of {} rounds", id_, address_.to_string(), round_, script_.rounds);
}

// ---- backends ----

DatagramBackend::DatagramBackend(Context& context, DatagramNetwork& network, DatagramOracle& oracle,
                                 const DatagramBackendPlan& plan)
    : context_(context),
      network_(network),
      oracle_(oracle),
      plan_(plan),
      alive_(plan.manner != DatagramManner::refuses) {}

void DatagramBackend::start() {
  if (plan_.manner != DatagramManner::mortal) return;
  context_.clock.after(context_.up_to(std::chrono::seconds(2)), [this] { change(); });
}

void DatagramBackend::change() {
  if (finishing_) return;
  alive_ = !alive_;
  context_.trace.note(alive_ ? "backend is back" : "backend dies", -1, plan_.address.port());
  if (changed) changed(alive_);
  context_.clock.after(context_.up_to(std::chrono::seconds(1)), [this] { change(); });
}

void DatagramBackend::finish() {
  finishing_ = true;
  const bool was_alive = std::exchange(alive_, true);
  if (!was_alive && changed) changed(true);
}

void DatagramBackend::arrives(const Datagram& datagram) {
  if (!alive_) return refuse(datagram);
  for_each_datagram(datagram, [this](const Datagram& one) { read(one); });
}

void DatagramBackend::read(const Datagram& datagram) {
  oracle_.request_arrives(datagram);
  const Note note = *Note::read(datagram.payload);  // the oracle has looked at it
  context_.trace.note("backend gets", -1, plan_.address.port(), note.number, note.length);
  if (plan_.manner == DatagramManner::silent && !finishing_) return;
  const bool late = plan_.manner == DatagramManner::late && !finishing_ && context_.random.one_in(2);
  const Nanos delay = late ? context_.up_to(std::chrono::seconds(5)) : context_.up_to(plan_.delay_max);
  context_.clock.after(delay, [this, datagram, note] { reply(datagram, note); });
}

void DatagramBackend::refuse(const Datagram& datagram) {
  const auto end =
      datagram.payload.begin() + static_cast<std::ptrdiff_t>(std::min(datagram.payload.size(), plan_.quote_max));
  network_.fail({.error = plan_.error,
                 .from = datagram.from,
                 .to = datagram.to,
                 .quote = Payload(datagram.payload.begin(), end)});
}

void DatagramBackend::reply(const Datagram& request, const Note& note) {
  for (std::uint32_t i = 0; i < plan_.replies; ++i) {
    // Who has said too little about himself can only be answered in kind.
    const bool long_reply = plan_.reply_bytes != 0 && note.client != Note::kUnknown;
    const std::uint32_t length = long_reply ? plan_.reply_bytes : note.length;
    const bool strange = plan_.manner == DatagramManner::strange && !finishing_ && context_.random.one_in(3);
    net::IpEndpoint from = plan_.address;
    if (strange) from.set_port(static_cast<std::uint16_t>(from.port() + 1));
    const Note answer{.kind = NoteKind::reply,
                      .client = note.client,
                      .number = oracle_.reply_leaves(note, length, strange),
                      .length = length};
    network_.from_world({.from = from, .to = request.from, .payload = answer.to_payload()});
  }
}

}  // namespace millrace::sim
