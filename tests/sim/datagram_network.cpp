#include "datagram_network.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace millrace::sim {
namespace {

constexpr std::uint32_t kUdpHeader = 8;

std::uint32_t ip_header(const net::IpEndpoint& address) {
  return address.family() == net::Family::ipv6 ? 40 : 20;
}

bool is_wildcard(const net::IpEndpoint& address) {
  return std::all_of(address.address().begin(), address.address().end(), [](std::uint8_t byte) { return byte == 0; });
}

net::IpEndpoint without_port(net::IpEndpoint address) {
  address.set_port(0);
  return address;
}

}  // namespace

// ---- sockets ----

bool DatagramSocket::tells_destination() const {
  return listener >= 0 && is_wildcard(address);
}

DatagramSocket* DatagramNetwork::bind(const net::IpEndpoint& address, bool shares_address) {
  net::IpEndpoint bound = address;
  if (bound.port() == 0) bound.set_port(free_port());
  if (bound.port() == 0) return nullptr;
  Sockets& here = by_port_[bound.port()];
  const bool taken = std::any_of(here.begin(), here.end(), [&](const DatagramSocket* other) {
    return in_conflict(other->address, bound) && !(shares_address && other->address == bound);
  });
  if (taken) return nullptr;
  sockets_.push_back(std::make_unique<DatagramSocket>());
  DatagramSocket& socket = *sockets_.back();
  socket.address = bound;
  socket.room = options.receive_room;
  here.push_back(&socket);
  return &socket;
}

bool DatagramNetwork::in_conflict(const net::IpEndpoint& a, const net::IpEndpoint& b) {
  return a.family() == b.family() && (is_wildcard(a) || is_wildcard(b) || a.address() == b.address());
}

std::uint16_t DatagramNetwork::free_port() {
  const auto first = context_.random.below(options.ports);
  for (std::uint32_t i = 0; i < options.ports; ++i) {
    const auto port = static_cast<std::uint16_t>(options.first_port + (first + i) % options.ports);
    const auto found = by_port_.find(port);
    if (found == by_port_.end() || found->second.empty()) return port;
  }
  return 0;
}

void DatagramNetwork::close(DatagramSocket& socket) {
  socket.closed = true;
  std::erase(by_port_[socket.address.port()], &socket);
  socket.received.clear();
  socket.errors.clear();
}

bool DatagramNetwork::is_here(const net::IpEndpoint& address) const {
  return std::any_of(options.addresses.begin(), options.addresses.end(),
                     [&](const net::IpEndpoint& mine) { return mine == without_port(address); });
}

// ---- sending ----

std::int64_t DatagramNetwork::send(DatagramSocket& socket, const net::IpEndpoint& to, const net::IpEndpoint& from,
                                   std::span<const std::byte> bytes, std::uint32_t segment_bytes) {
  const DatagramPath path = remote->path_to(to);
  const bool train = segment_bytes != 0 && segment_bytes < bytes.size();
  if (!train && bytes.size() > path.datagram_bytes_max) {
    // ip_local_error(): an unconnected socket has no destination port.
    if (socket.keeps_errors && socket.errors.size() < options.errors_max) {
      socket.errors.push_back(
          {.error = EMSGSIZE, .from = socket.address, .to = without_port(to), .quote = {}, .is_icmp = false});
    }
    return -EMSGSIZE;
  }
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (const int error = send_fault(); error != 0) return -error;
  if (train) {
    if (const int error = refusal(path, ip_header(to) + kUdpHeader + segment_bytes, segment_bytes)) return -error;
  }
  const net::IpEndpoint source = source_of(socket, from);
  if (train && path.keeps_trains) {
    carry({.from = source, .to = to, .payload = Payload(bytes.begin(), bytes.end()), .segment_bytes = segment_bytes},
          true);
    return static_cast<std::int64_t>(bytes.size());
  }
  for_each_datagram(bytes, train ? segment_bytes : 0, [&](std::span<const std::byte> one) {
    carry({.from = source, .to = to, .payload = Payload(one.begin(), one.end())}, true);
  });
  return static_cast<std::int64_t>(bytes.size());
}

int DatagramNetwork::send_fault() {
  if (context_.chance(context_.faults.datagram_again)) return EAGAIN;
  if (!context_.chance(context_.faults.datagram_send_error)) return 0;
  constexpr std::array kErrors = {ENOBUFS, ENOMEM, EPERM, ENETUNREACH, EHOSTUNREACH};
  return kErrors[context_.random.below(kErrors.size())];
}

/// Why a train cannot go this way; 0 when it can.
int DatagramNetwork::refusal(const DatagramPath& path, std::size_t packet_bytes, std::uint32_t segment_bytes) const {
  if (packet_bytes > path.mtu) return segment_bytes % 2 == 0 ? EINVAL : EMSGSIZE;  // by the version of the kernel
  return path.takes_trains ? 0 : EIO;
}

net::IpEndpoint DatagramNetwork::source_of(const DatagramSocket& socket, const net::IpEndpoint& from) const {
  net::IpEndpoint source = from.family() == net::Family::none ? socket.address : from;
  if (is_wildcard(source)) {
    const auto usual = std::find_if(options.addresses.begin(), options.addresses.end(),
                                    [&](const auto& mine) { return mine.family() == source.family(); });
    context_.trace.check(usual != options.addresses.end(), "simulation", "the machine has no address of that family");
    source = *usual;
  }
  source.set_port(socket.address.port());
  return source;
}

// ---- the way ----

void DatagramNetwork::from_world(Datagram datagram) {
  carry(std::move(datagram), false);
}

void DatagramNetwork::carry(Datagram datagram, bool to_world) {
  if (context_.chance(context_.faults.datagram_loss)) {
    ++losses_.on_the_way;
    context_.trace.note("datagram lost", -1, datagram.to.port(), static_cast<std::int64_t>(datagram.payload.size()));
    return;
  }
  if (context_.chance(context_.faults.datagram_duplicate)) carry_once(datagram, to_world);
  carry_once(datagram, to_world);
}

void DatagramNetwork::carry_once(const Datagram& datagram, bool to_world) {
  Instant arrival = context_.clock.now() + context_.latency();
  Instant& last = last_arrival_[{datagram.from, datagram.to}];
  if (context_.chance(context_.faults.datagram_reorder)) {
    arrival += context_.up_to(std::chrono::milliseconds(20));
  } else {
    last = arrival = std::max(arrival, last);
  }
  context_.clock.at(arrival, [this, datagram, to_world] {
    if (to_world) {
      remote->arrives(datagram);
    } else {
      deliver(datagram);
    }
  });
}

DatagramSocket* DatagramNetwork::find(const net::IpEndpoint& to, const net::IpEndpoint& from) const {
  const auto found = by_port_.find(to.port());
  if (found == by_port_.end() || !is_here(to)) return nullptr;
  Sockets group;
  for (DatagramSocket* socket : found->second) {
    if (socket->address == to) group.push_back(socket);
  }
  if (group.empty()) {
    for (DatagramSocket* socket : found->second) {
      if (socket->address.family() == to.family() && is_wildcard(socket->address)) group.push_back(socket);
    }
  }
  return group.empty() ? nullptr : group[from.hash(to.hash(7)) % group.size()];
}

void DatagramNetwork::deliver(const Datagram& datagram) {
  DatagramSocket* socket = find(datagram.to, datagram.from);
  if (socket == nullptr) {
    ++losses_.no_socket;
    context_.trace.note("no socket", -1, datagram.to.port());
    return;
  }
  const std::size_t size = datagram.payload.size() + kOverhead;
  if (socket->received_bytes + size > socket->room && !socket->received.empty()) {
    ++losses_.queue_full;
    context_.trace.note("queue full", -1, socket->fd);
    return;
  }
  if (socket->received.empty()) socket->waits_since = context_.clock.now();
  socket->received.push_back(datagram);
  socket->received_bytes += size;
  changed(socket->fd);
}

// ---- receiving ----

bool DatagramNetwork::joins(const Train& train, const Datagram& next) {
  return next.from == train.from && next.to == train.to && !next.payload.empty() &&
         next.payload.size() <= train.segment_bytes && train.bytes.size() + next.payload.size() <= kBytesMax;
}

Train DatagramNetwork::take(DatagramSocket& socket) {
  socket.waits_since = context_.clock.now();
  const auto next = [&socket] {
    Datagram datagram = std::move(socket.received.front());
    socket.received.pop_front();
    socket.received_bytes -= datagram.payload.size() + kOverhead;
    return datagram;
  };
  Datagram first = next();
  Train train{.from = first.from, .to = first.to, .bytes = std::move(first.payload)};
  train.segment_bytes = static_cast<std::uint32_t>(train.bytes.size());
  std::uint32_t count = 1;
  bool full = train.bytes.empty();
  while (!full && count < io::kTrainDatagramsMax && !socket.received.empty() && joins(train, socket.received.front()) &&
         context_.chance(options.merges)) {
    const Datagram more = next();
    full = more.payload.size() < train.segment_bytes;
    train.bytes.insert(train.bytes.end(), more.payload.begin(), more.payload.end());
    ++count;
  }
  if (count == 1) train.segment_bytes = 0;
  return train;
}

const DatagramSocket* DatagramNetwork::stuck(Nanos patience) const {
  for (const auto& socket : sockets_) {
    const bool waits = !socket->closed && !socket->received.empty();
    if (waits && context_.clock.now() - socket->waits_since > patience) return socket.get();
  }
  return nullptr;
}

// ---- errors ----

void DatagramNetwork::fail(DatagramFailure failure) {
  if (context_.chance(context_.faults.icmp_loss)) return;
  const bool late = context_.chance(context_.faults.icmp_late);
  const Nanos delay = context_.latency() + (late ? context_.up_to(std::chrono::seconds(3)) : Nanos(0));
  context_.clock.after(delay, [this, failure = std::move(failure)] { failure_arrives(failure); });
}

void DatagramNetwork::failure_arrives(const DatagramFailure& failure) {
  DatagramSocket* socket = find(failure.from, failure.to);
  if (socket == nullptr || !socket->keeps_errors) return;
  context_.trace.note("icmp arrives", -1, socket->fd, failure.error, static_cast<std::int64_t>(failure.quote.size()));
  if (socket->errors.size() < options.errors_max) socket->errors.push_back(failure);
  socket->error = failure.error;
  changed(socket->fd);
}

std::optional<DatagramFailure> DatagramNetwork::take_error(DatagramSocket& socket) {
  if (socket.errors.empty()) return std::nullopt;
  DatagramFailure failure = std::move(socket.errors.front());
  socket.errors.pop_front();
  const bool another = !socket.errors.empty() && socket.errors.front().is_icmp;
  if (another) {
    socket.error = socket.errors.front().error;
  } else if (failure.is_icmp) {
    socket.error = 0;
  }
  return failure;
}

}  // namespace millrace::sim
