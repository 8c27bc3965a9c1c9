#include "datagram_oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace millrace::sim {
namespace {

/// Each datagram of a message. An empty one is one.
template <class F>
void for_each_datagram(std::span<const std::byte> bytes, std::uint32_t segment_bytes, F&& visit) {
  const std::size_t step = segment_bytes == 0 ? std::max<std::size_t>(bytes.size(), 1) : segment_bytes;
  std::size_t offset = 0;
  do {
    visit(bytes.subspan(offset, std::min(step, bytes.size() - offset)));
    offset += step;
  } while (offset < bytes.size());
}

Payload joined(std::span<const std::span<const std::byte>> slices) {
  Payload bytes;
  for (const auto& slice : slices) bytes.insert(bytes.end(), slice.begin(), slice.end());
  return bytes;
}

/// The error is about reaching the backend, or may be.
bool is_unreachable(int error) {
  return error != EAGAIN && error != EINVAL && error != EMSGSIZE && error != EIO && error != ENOBUFS &&
         error != ENOMEM && error != EPERM;
}

/// What can be read from a short datagram. Empty ones look like requests.
Note short_note(NoteKind kind, std::uint32_t client, std::uint32_t length) {
  return {.kind = length == 0 ? NoteKind::request : kind,
          .client = length < Note::kShort ? Note::kUnknown : client,
          .length = length};
}

}  // namespace

DatagramOracle::DatagramOracle(Context& context, DatagramRules rules, const pool::BackendTable& table)
    : context_(context), rules_(std::move(rules)), table_(table) {
  for (std::uint32_t i = 0; i < rules_.listeners.size(); ++i) {
    for (const net::IpEndpoint& address : rules_.listeners[i].addresses) {
      addresses_.push_back(address);
      listener_by_address_.push_back(i);
    }
  }
}

// ---- who and what ----

std::uint32_t DatagramOracle::address_index(const net::IpEndpoint& address) const {
  const auto found = std::find(addresses_.begin(), addresses_.end(), address);
  return found == addresses_.end() ? kNone : static_cast<std::uint32_t>(found - addresses_.begin());
}

const DatagramRules::Listener& DatagramOracle::listener_of(std::uint32_t address) const {
  return rules_.listeners[listener_by_address_[address]];
}

std::uint32_t DatagramOracle::add_client(const net::IpEndpoint& address, const std::vector<net::IpEndpoint>& uses) {
  const auto id = static_cast<std::uint32_t>(clients_.size());
  Client& client = clients_.emplace_back(Client{.address = address, .uses = {}});
  for (const net::IpEndpoint& local : uses) client.uses.push_back(address_index(local));
  client_by_address_[address] = id;
  return id;
}

std::uint32_t DatagramOracle::add_known(Known datagram) {
  known_.push_back(datagram);
  return static_cast<std::uint32_t>(known_.size() - 1);
}

std::uint32_t DatagramOracle::request_leaves(std::uint32_t client, const net::IpEndpoint& to, std::uint32_t length) {
  if (length < Note::kWhole) {
    ++tally(short_note(NoteKind::request, client, length)).left;
    return kNone;
  }
  return add_known({.kind = NoteKind::request, .client = client, .address = address_index(to), .length = length});
}

std::uint32_t DatagramOracle::reply_leaves(const Note& request, std::uint32_t length, bool from_stranger) {
  if (length < Note::kWhole) {
    if (!from_stranger) ++tally(short_note(NoteKind::reply, request.client, length)).left;
    return kNone;
  }
  Known reply{.kind = NoteKind::reply, .client = request.client, .length = length, .from_stranger = from_stranger};
  if (const auto address = address_used(request)) reply.address = *address;
  return add_known(reply);
}

DatagramOracle::Known* DatagramOracle::known(const Note& note) {
  if (note.number == kNone) return nullptr;
  if (note.number >= known_.size() || known_[note.number].client != note.client ||
      known_[note.number].kind != note.kind || known_[note.number].length != note.length) {
    context_.trace.fail("a datagram that nobody sent", fmt::format("number {}, client {}", note.number, note.client));
  }
  return &known_[note.number];
}

/// The local address that a datagram's conversation uses, when it can be told.
std::optional<std::uint32_t> DatagramOracle::address_used(const Note& note) {
  const Known* datagram = known(note);
  if (datagram != nullptr && datagram->address != kNone) return datagram->address;
  if (note.client == kNone || clients_[note.client].uses.size() != 1) return std::nullopt;
  return clients_[note.client].uses.front();
}

Note DatagramOracle::read(std::span<const std::byte> bytes, const char* where) const {
  const std::optional<Note> note = Note::read(bytes);
  if (!note)
    context_.trace.fail("datagrams were cut, joined or changed", fmt::format("{} bytes {}", bytes.size(), where));
  if (note->client != kNone && note->client >= clients_.size()) {
    context_.trace.fail("a datagram that nobody sent", fmt::format("client {}", note->client));
  }
  return *note;
}

std::string DatagramOracle::describe(SessionKey key) const {
  return fmt::format("client {} ({}) at {}", key.first, clients_[key.first].address.to_string(),
                     addresses_[key.second].to_string());
}

DatagramOracle::Place& DatagramOracle::place_of(const DatagramSocket& socket, const net::IpEndpoint& backend) {
  return places_[socket.address][backend];
}

// ---- counting ----

void DatagramOracle::count_handed(const Note& note, const Place* place) {
  Known* datagram = known(note);
  if (datagram == nullptr) {
    Tally& all = tally(note);
    ++all.handed;
    all.place = place;
    return;
  }
  if (datagram->handed++ == 0) datagram->order = ++order_;
  if (place != nullptr) datagram->place = place;
}

void DatagramOracle::count_forwarded(const Note& note) {
  Known* datagram = known(note);
  if (datagram == nullptr) {
    Tally& all = tally(note);
    if (++all.forwarded > all.handed) {
      context_.trace.fail("sent more often than it came", fmt::format("client {}, short ones", note.client));
    }
    return;
  }
  if (++datagram->forwarded > datagram->handed + datagram->returned) {
    context_.trace.fail("sent more often than it came", fmt::format("number {}, client {}", note.number, note.client));
  }
  check_order(*datagram);
}

/// One that came later must not have been sent before.
void DatagramOracle::check_order(const Known& datagram) {
  if (datagram.handed != 1 || datagram.troubled || datagram.address == kNone) return;
  std::uint64_t& last =
      last_order_[{static_cast<std::uint32_t>(datagram.kind), datagram.client, datagram.address, datagram.length}];
  if (datagram.order < last) {
    context_.trace.fail("out of order",
                        fmt::format("{}, {} bytes", describe({datagram.client, datagram.address}), datagram.length));
  }
  last = datagram.order;
}

// ---- what the worker gets ----

void DatagramOracle::handed_over(int /*worker*/, const DatagramSocket& socket, const io::ReceivedDatagrams& message) {
  const bool is_request = socket.listener >= 0;
  ++totals_.messages_in;
  (is_request ? totals_.from_clients : totals_.from_backends) += message.datagrams();
  if (message.truncated) return;  // as if it had not come
  Place* place = is_request ? nullptr : &place_of(socket, message.from);
  std::uint64_t nameless = 0;
  for_each_datagram(message.payload, message.segment_bytes, [&](std::span<const std::byte> bytes) {
    const Note note = read(bytes, "received");
    count_handed(note, place);
    if (note.client == kNone || !address_used(note)) ++nameless;
  });
  if (!is_request) return replies_handed(*place, message.datagrams());
  net::IpEndpoint local = message.to.family() == net::Family::none ? socket.address : message.to;
  local.set_port(socket.address.port());
  requests_handed({client_by_address_.at(message.from), address_index(local)}, message.datagrams(), nameless);
}

void DatagramOracle::requests_handed(SessionKey key, std::uint64_t datagrams, std::uint64_t nameless) {
  Session& session = sessions_[key];
  const DatagramRules::Listener& rules = listener_of(key.second);
  const Instant now = context_.clock.now();
  const bool idle = rules.idle_timeout > Nanos(0) && now - session.last_activity >= rules.idle_timeout;
  const bool old = !session.uncertain && rules.max_duration > Nanos(0) && now - session.started >= rules.max_duration;
  if (session.over || idle || old) session = Session{.started = now, .evictions_then = evictions(), .over = false};
  if (session.pass != now) {
    if (session.unsent) session.may_leave = true;  // what came last was dropped, and perhaps the session with it
    session.pass = now;
    session.nameless = 0;
    note_evictions(session);
    session.unsent = true;
  }
  context_.trace.note("requests of client", -1, static_cast<int>(key.first), static_cast<std::int64_t>(datagrams),
                      static_cast<std::int64_t>(session.requests));
  session.nameless += nameless;
  session.ever_nameless = session.ever_nameless || nameless > 0;
  session.requests += datagrams;
  session.last_activity = now;
}

/// A session that may have been evicted may be a new one from now on.
void DatagramOracle::note_evictions(Session& session) {
  if (may_be_evicted(session)) {
    session.may_leave_now = context_.clock.now();
    session.uncertain = true;
    session.requests = 0;  // at least
  }
  session.sure = session.requests;
  session.evictions_then = evictions();
}

bool DatagramOracle::may_be_evicted(const Session& session) const {
  return session.sure <= 1 && evictions() != session.evictions_then;
}

void DatagramOracle::replies_handed(Place& place, std::uint64_t datagrams) {
  place.disturbed_at = context_.clock.now();
  if (!place.owner) return;
  Session& session = sessions_[*place.owner];
  if (session.over || session.place != &place) return;
  const DatagramRules::Listener& rules = listener_of(place.owner->second);
  const Instant now = context_.clock.now();
  const bool idle = rules.idle_timeout > Nanos(0) && now - session.last_activity >= rules.idle_timeout;
  if (idle) session.may_leave = true;  // it may have ended already, or else it goes on
  context_.trace.note("replies for client", -1, static_cast<int>(place.owner->first),
                      static_cast<std::int64_t>(datagrams), static_cast<std::int64_t>(session.replies));
  session.last_activity = now;
  session.replies += datagrams;
  if (rules.responses == 0 || session.replies < session.requests * rules.responses) return;
  (session.uncertain ? session.may_leave : session.over) = true;
}

void DatagramOracle::error_taken(int /*worker*/, const DatagramSocket& socket, const io::DatagramError& error) {
  Place& place = place_of(socket, error.to);
  place.disturbed_at = context_.clock.now();
  if (place.owner) sessions_[*place.owner].may_leave = true;
  if (error.quote.size() > kQuotedWhole) return;
  const std::optional<Note> note = Note::read(error.quote);
  if (!note || note->kind != NoteKind::request) return;
  ++totals_.returned;
  Known* datagram = known(*note);
  if (datagram == nullptr) {
    ++tally(*note).handed;
    return;
  }
  ++datagram->returned;
  datagram->troubled = true;
}

void DatagramOracle::socket_refused(int worker) {
  refused_at_[worker] = context_.clock.now();
}

// ---- what the worker sends ----

void DatagramOracle::sending(int worker, const DatagramSocket& socket, const io::DatagramsToSend& message) {
  const Payload bytes = joined(message.slices);
  for_each_datagram(bytes, message.segment_bytes, [&](std::span<const std::byte> one) {
    const Note note = read(one, "sent");
    const bool is_request = socket.listener < 0;
    if (note.length > 0 && (note.kind == NoteKind::request) != is_request) {
      context_.trace.fail("sent the way that it came", fmt::format("number {}", note.number));
    }
    if (is_request) {
      check_request(worker, socket, message.to, note);
    } else {
      check_reply(socket, message, note);
    }
  });
}

void DatagramOracle::sent(int /*worker*/, const DatagramSocket& socket, const io::DatagramsToSend& message,
                          std::span<const std::byte> bytes, std::int32_t result) {
  const bool is_request = socket.listener < 0;
  std::uint64_t datagrams = 0;
  for_each_datagram(bytes, message.segment_bytes, [&](std::span<const std::byte> one) {
    ++datagrams;
    const Note note = read(one, "sent");
    if (result >= 0) return count_forwarded(note);
    if (Known* datagram = known(note)) {
      datagram->troubled = true;
      if (is_request) datagram->failed_by = &place_of(socket, message.to);
    } else if (is_request) {
      ++tally(note).troubled[&place_of(socket, message.to)];
    }
  });
  if (result >= 0) {
    ++totals_.messages_out;
    (is_request ? totals_.to_backends : totals_.to_clients) += datagrams;
  } else if (is_request && is_unreachable(-result)) {
    const Place& place = place_of(socket, message.to);
    if (place.owner) sessions_[*place.owner].may_leave = true;
  }
}

void DatagramOracle::check_request(int worker, const DatagramSocket& socket, const net::IpEndpoint& to,
                                   const Note& note) {
  const std::optional<std::uint32_t> address = note.client == kNone ? std::nullopt : address_used(note);
  if (!address) return check_nameless(place_of(socket, to), note);
  const Pool& pool = rules_.pools[listener_of(*address).pool];
  const auto backend = std::find_if(pool.begin(), pool.end(), [&](const auto& b) { return b.address == to; });
  const SessionKey key{note.client, *address};
  if (backend == pool.end()) {
    context_.trace.fail("sent to somebody who is not in the pool", describe(key) + " to " + to.to_string());
  }
  Known* datagram = known(note);
  Session& session = sessions_[key];
  Place& place = place_of(socket, to);
  if (session.place != &place && (!place.owner || place.owner == key)) {
    // One that is sent once more may go the way that it was to go before.
    if (datagram == nullptr ? tally(note).take_troubled(place) : datagram->failed_by == &place) return;
  }
  const bool taken = place.owner != key;  // perhaps back, from one that had taken it meanwhile
  if (taken) take_place(worker, place, key);
  if (taken || session.place != &place) move(session, place, static_cast<std::uint32_t>(backend - pool.begin()), key);
  session.unsent = false;
  place.last_activity = context_.clock.now();
  if (session.moved == place.last_activity && !(datagram != nullptr && datagram->troubled)) ++session.requests;
  if (session.evictions_then == evictions()) session.sure = session.requests;  // nobody was evicted in this pass
  check_health(session, pool, datagram);
}

/// One that does not say whose it is: of the place's owner if that is possible, else of somebody who has taken it.
void DatagramOracle::check_nameless(Place& place, const Note& note) {
  if (note.client != kNone) place.former.insert(note.client);  // now, or later
  if (!place.owner) return;
  Session& owner = sessions_[*place.owner];
  if (owner.pass == context_.clock.now() && owner.nameless > 0) {
    --owner.nameless;
    owner.unsent = false;
    static_cast<void>(tolerate(owner, rules_.pools[listener_of(place.owner->second).pool]));
    if (owner.moved == owner.pass) ++owner.requests;
    return;
  }
  owner.may_leave = true;
  place.former.insert(place.owner->first);
  place.owner.reset();
}

void DatagramOracle::take_place(int worker, Place& place, SessionKey key) {
  const Instant now = context_.clock.now();
  if (place.owner) {
    const Session& owner = sessions_[*place.owner];
    if (owner.place == &place && !may_have_left(owner, *place.owner)) {
      context_.trace.fail("two sessions in one place", describe(*place.owner) + "; " + describe(key));
    }
    const auto refused = refused_at_.find(worker);
    // At the stop a worker gives its ports back at once, and another may get one of them.
    const bool shortage =
        stopping || (refused != refused_at_.end() && refused->second == now) || short_of_sockets(worker);
    if (now - place.last_activity < kRest && !shortage && place.owner->first != key.first) {
      context_.trace.fail("a place did not rest", describe(*place.owner) + "; " + describe(key));
    }
    place.former.insert(place.owner->first);
  }
  place.owner = key;
}

void DatagramOracle::move(Session& session, Place& place, std::uint32_t backend, SessionKey key) {
  const bool begins = session.place == nullptr || session.place == &place;
  if (!begins && !may_have_left(session, key)) {
    context_.trace.fail("a session moved without a reason", describe(key));
  }
  context_.trace.note(begins ? "session begins" : "session moves", -1, static_cast<int>(key.first), backend,
                      key.second);
  // Who was there before without a place may have had one all the same: short datagrams do not tell.
  const bool unseen = session.started < context_.clock.now() && (begins || session.ever_nameless);
  session.uncertain = !begins || unseen;
  if (unseen) session.tolerated_until = context_.clock.now() + kLookAgain;
  session.requests = 0;  // what came before in this pass may have been dropped: they are counted as they are sent
  session.replies = 0;
  session.moved = context_.clock.now();
  session.sure = 0;
  if (begins) session.started = context_.clock.now();
  const bool at_once = place.disturbed_at == context_.clock.now();  // it was there already, and not the owner before
  session.may_leave = at_once || (session.may_leave && session.place == &place);
  session.over = false;
  session.place = &place;
  session.backend = backend;
}

/// Whether it can be that the session has left its place: it has ended, or has been led to another.
bool DatagramOracle::may_have_left(const Session& session, SessionKey key) const {
  const DatagramRules::Listener& rules = listener_of(key.second);
  const Instant now = context_.clock.now();
  if (session.over || session.may_leave || stopping) return true;
  if (session.unsent && session.pass != now) return true;  // its last request was dropped
  if (rules.idle_timeout > Nanos(0) && now - session.last_activity >= rules.idle_timeout) return true;
  if (rules.max_duration > Nanos(0) && now - session.started >= rules.max_duration) return true;
  if (session.uncertain && (rules.responses != 0 || rules.max_duration > Nanos(0))) return true;
  if (may_be_evicted(session) || session.may_leave_now == now) return true;
  return table_.health(rules_.pools[rules.pool][session.backend].id) != pool::HealthState::up;
}

void DatagramOracle::check_health(Session& session, const Pool& pool, const Known* datagram) const {
  if (is_up(pool[session.backend]) || tolerate(session, pool)) return;
  const bool once_more = datagram != nullptr && datagram->troubled;  // on the way that was chosen before
  if (context_.clock.now() < session.tolerated_until || once_more) return;
  context_.trace.fail("sent to a backend that is not up", pool[session.backend].address.to_string());
}

bool DatagramOracle::is_up(const DatagramRules::Backend& backend) const {
  return backend.weight != 0 && table_.health(backend.id) == pool::HealthState::up;
}

/// Where none is up, any will do, for a while.
bool DatagramOracle::tolerate(Session& session, const Pool& pool) const {
  if (std::any_of(pool.begin(), pool.end(), [this](const auto& backend) { return is_up(backend); })) return false;
  session.tolerated_until = context_.clock.now() + kLookAgain;
  return true;
}

void DatagramOracle::check_reply(const DatagramSocket& socket, const io::DatagramsToSend& message, const Note& note) {
  const auto to = client_by_address_.find(message.to);
  if (to == client_by_address_.end()) {
    context_.trace.fail("sent to somebody who never asked", message.to.to_string());
  }
  Known* datagram = known(note);
  const Client& client = clients_[to->second];
  if (datagram != nullptr && datagram->from_stranger) {
    context_.trace.fail("a stranger's datagram was forwarded", fmt::format("to client {}", to->second));
  }
  const bool excused = is_late(note);
  if (note.client != kNone && note.client != to->second && !excused) {
    context_.trace.fail("a reply to somebody else", fmt::format("number {}: for client {}, sent to client {}",
                                                                note.number, note.client, to->second));
  }
  net::IpEndpoint local = message.from.family() == net::Family::none ? socket.address : message.from;
  local.set_port(socket.address.port());
  const std::uint32_t from = address_index(local);
  const bool is_used = std::find(client.uses.begin(), client.uses.end(), from) != client.uses.end();
  const bool is_owed = datagram == nullptr || datagram->address == kNone || datagram->address == from || excused;
  if (!is_used || !is_owed) {
    context_.trace.fail("a reply from an address that the client had not used",
                        fmt::format("client {}, from {}", to->second, local.to_string()));
  }
}

/// The session that it belongs to has, or may have, left the place by which it has come: another one may have it now.
bool DatagramOracle::is_late(const Note& reply) {
  const Known* datagram = known(reply);
  const Place* place = datagram != nullptr ? datagram->place : tally(reply).place;
  if (place == nullptr) return false;
  if (place->former.contains(reply.client)) return true;
  const std::optional<SessionKey>& owner = place->owner;
  return owner && owner->first == reply.client && may_have_left(sessions_[*owner], *owner);
}

// ---- what arrives ----

void DatagramOracle::request_arrives(const Datagram& datagram) {
  const Note note = read(datagram.payload, "at a backend");
  if (Known* request = known(note)) {
    ++request->arrived;
  } else {
    ++tally(note).arrived;
  }
}

void DatagramOracle::reply_arrives(std::uint32_t client, const Datagram& datagram) {
  const Note note = read(datagram.payload, "at a client");
  if (Known* reply = known(note)) {
    if (note.client == client) ++reply->arrived;
  } else if (note.client == kNone || note.client == client) {
    ++tally(note).arrived;
  }
}

// ---- the end ----

void DatagramOracle::settle_calm() const {
  for (const Known& datagram : known_) {
    if (datagram.arrived == 1 || datagram.from_stranger) continue;
    context_.trace.fail(
        datagram.arrived == 0 ? "a datagram was lost" : "a datagram was duplicated",
        fmt::format("client {}, {} bytes, {}: handed over {}, forwarded {}, arrived {}", datagram.client,
                    datagram.length, datagram.kind == NoteKind::request ? "request" : "reply", datagram.handed,
                    datagram.forwarded, datagram.arrived));
  }
  for (const auto& [whose, tally] : tallies_) {
    if (tally.left == tally.arrived) continue;
    context_.trace.fail("short datagrams were lost or duplicated",
                        fmt::format("client {}: {} left, {} arrived", whose.second, tally.left, tally.arrived));
  }
}

void DatagramOracle::settle_deaths() const {
  for (const Known& datagram : known_) {
    if (datagram.kind != NoteKind::request || datagram.arrived > 0 || datagram.length > kQuotedWhole) continue;
    context_.trace.fail("a request was lost with a backend",
                        fmt::format("client {}, {} bytes: handed over {}, forwarded {}, returned {}", datagram.client,
                                    datagram.length, datagram.handed, datagram.forwarded, datagram.returned));
  }
}

}  // namespace millrace::sim
