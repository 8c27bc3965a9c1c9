#include "datagram_oracle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace millrace::sim {
namespace {

Payload joined(std::span<const std::span<const std::byte>> slices) {
  Payload bytes;
  for (const auto& slice : slices) bytes.insert(bytes.end(), slice.begin(), slice.end());
  return bytes;
}

std::uint64_t hash(std::span<const std::byte> bytes) {
  return net::hash_bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
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

// ---- who and what ----

std::uint32_t DatagramOracle::add_client(const net::IpEndpoint& address, const std::vector<net::IpEndpoint>& uses) {
  const auto id = static_cast<std::uint32_t>(clients_.size());
  Client& client = clients_.emplace_back(Client{.address = address, .uses = {}});
  for (const net::IpEndpoint& local : uses) client.uses.push_back(sessions_.address_number(local));
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
  return add_known(
      {.kind = NoteKind::request, .client = client, .address = sessions_.address_number(to), .length = length});
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

std::optional<DatagramSessions::Key> DatagramOracle::session_of(const Note& note) {
  if (note.client == kNone) return std::nullopt;
  const std::optional<std::uint32_t> address = address_used(note);
  if (!address) return std::nullopt;
  return DatagramSessions::Key{.client = note.client, .address = *address};
}

// ---- counting ----

void DatagramOracle::count_handed(const Note& note, const Place* place) {
  Known* datagram = known(note);
  if (datagram == nullptr) {
    Tally& all = tally(note);
    ++all.handed;
    if (place != nullptr) all.places.insert(place);
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
    context_.trace.fail(
        "out of order",
        fmt::format("{}, {} bytes", sessions_.describe({datagram.client, datagram.address}), datagram.length));
  }
  last = datagram.order;
}

// ---- what the worker gets ----

void DatagramOracle::handed_over(int /*worker*/, const DatagramSocket& socket, const io::ReceivedDatagrams& message) {
  const bool is_request = socket.listener >= 0;
  ++totals_.messages_in;
  (is_request ? totals_.from_clients : totals_.from_backends) += message.datagrams();
  if (message.truncated) return;  // as if it had not come
  Place* place = is_request ? nullptr : &sessions_.place(socket.address, message.from);
  std::uint64_t nameless = 0;
  for_each_datagram(message.payload, message.segment_bytes, [&](std::span<const std::byte> bytes) {
    const Note note = read(bytes, "received");
    count_handed(note, place);
    if (!session_of(note)) ++nameless;
  });
  if (!is_request) return sessions_.replies_come(*place, message.datagrams());
  net::IpEndpoint local = message.to.family() == net::Family::none ? socket.address : message.to;
  local.set_port(socket.address.port());
  const DatagramSessions::Key key{.client = client_by_address_.at(message.from),
                                  .address = sessions_.address_number(local)};
  sessions_.requests_come(key, message.datagrams(), nameless);
}

void DatagramOracle::error_taken(int /*worker*/, const DatagramSocket& socket, const io::DatagramError& error) {
  sessions_.error_comes(sessions_.place(socket.address, error.to));
  if (error.quote.size() > kQuotedWhole) return;
  const auto train = trains_.find(hash(error.quote));
  for_each_datagram(error.quote, train == trains_.end() ? 0 : train->second,
                    [this](std::span<const std::byte> bytes) { count_returned(bytes); });
}

/// A datagram that an error quotes, or the beginning of one.
void DatagramOracle::count_returned(std::span<const std::byte> bytes) {
  const std::optional<Note> note = Note::read(bytes);
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
  sessions_.socket_refused(worker);
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
    Known* datagram = known(note);
    if (datagram != nullptr && bytes.size() > kQuotedWhole) datagram->in_long_train = true;
    if (result >= 0) return count_forwarded(note);
    if (datagram != nullptr) {
      datagram->troubled = true;
      if (is_request) datagram->failed_by = &sessions_.place(socket.address, message.to);
    } else if (is_request) {
      ++tally(note).troubled[&sessions_.place(socket.address, message.to)];
    }
  });
  if (result >= 0) {
    ++totals_.messages_out;
    if (is_request && datagrams > 1 && bytes.size() <= kQuotedWhole) trains_[hash(bytes)] = message.segment_bytes;
    (is_request ? totals_.to_backends : totals_.to_clients) += datagrams;
  } else if (is_request && is_unreachable(-result)) {
    sessions_.send_fails(sessions_.place(socket.address, message.to));
  }
}

void DatagramOracle::check_request(int worker, const DatagramSocket& socket, const net::IpEndpoint& to,
                                   const Note& note) {
  Place& place = sessions_.place(socket.address, to);
  const std::optional<DatagramSessions::Key> key = session_of(note);
  if (!key) return sessions_.nameless_leaves(place, note.client);
  if (sessions_.has_moved_on(place, *key) && failed_by(place, note)) return;  // the way that it was to go before
  const Known* datagram = known(note);
  const bool again = datagram != nullptr && datagram->troubled;
  sessions_.request_leaves(place, *key, {.worker = worker, .backend = to, .again = again});
}

/// Whether a send of it has failed there, so that it may be sent again.
bool DatagramOracle::failed_by(const Place& place, const Note& note) {
  const Known* datagram = known(note);
  return datagram == nullptr ? tally(note).take_troubled(place) : datagram->failed_by == &place;
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
  const std::uint32_t from = sessions_.address_number(local);
  const bool is_used = std::find(client.uses.begin(), client.uses.end(), from) != client.uses.end();
  const bool is_owed = datagram == nullptr || datagram->address == kNone || datagram->address == from || excused;
  if (!is_used || !is_owed) {
    context_.trace.fail("a reply from an address that the client had not used",
                        fmt::format("client {}, from {}", to->second, local.to_string()));
  }
}

bool DatagramOracle::is_late(const Note& reply) {
  const auto late_by = [&](const Place* place) { return sessions_.is_late(*place, reply.client); };
  if (const Known* datagram = known(reply)) return datagram->place != nullptr && late_by(datagram->place);
  const std::set<const Place*>& places = tally(reply).places;
  return std::any_of(places.begin(), places.end(), late_by);
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

void DatagramOracle::settle_deaths(bool trains_kept) const {
  for (const Known& datagram : known_) {
    if (datagram.kind != NoteKind::request || datagram.arrived > 0 || datagram.length > kQuotedWhole) continue;
    if (trains_kept && datagram.in_long_train) continue;
    context_.trace.fail("a request was lost with a backend",
                        fmt::format("client {}, {} bytes: handed over {}, forwarded {}, returned {}", datagram.client,
                                    datagram.length, datagram.handed, datagram.forwarded, datagram.returned));
  }
}

}  // namespace millrace::sim
