// Datagrams from backends, errors that ICMP brings, and what becomes of sends.

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "millrace/base/assert.hpp"
#include "udp_limits.hpp"
#include "udp_relay.hpp"

namespace millrace::worker {

using flow::CloseReason;
using flow::Direction;
using flow::UdpSession;

namespace {

/// Whether an error says that a datagram did not reach the backend's program.
bool is_unreachable(int error) {
  switch (error) {
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENOPROTOOPT:  // ICMP "protocol unreachable"
    case EPROTO:
    case EACCES:  // "administratively prohibited"
    case ENONET:
      return true;
    default:
      return false;
  }
}

/// Whether the kernel may have refused a message because it is a train: larger datagrams than the way takes, or a
/// device or a rule that cannot cut trains up.
bool may_refuse_trains(int error) {
  return error == EINVAL || error == EMSGSIZE || error == EIO || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

Drop drop_reason(int error) {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return Drop::send_buffer;
    case EMSGSIZE:
      return Drop::too_large;
    default:
      return Drop::send_failed;
  }
}

}  // namespace

// ---- datagrams from backends ----

void UdpRelay::on_reply(std::uint32_t upstream, const io::Completion& completion, Instant now) {
  if (completion.result >= 0) forward_reply(upstream, completion.buffer, now);
  if (completion.more) return;
  const int error = completion.result < 0 ? -completion.result : 0;
  if (error != 0 && error != ENOBUFS && error != ECANCELED) take_errors(upstream, now);
  upstreams_.receive_ended(upstream, error == ENOBUFS);
}

void UdpRelay::forward_reply(std::uint32_t upstream, io::BufferId buffer, Instant now) {
  const io::ReceivedDatagrams received = io_.received(buffer);
  const std::uint64_t datagrams = received.datagrams();
  counters_.messages_received.add();
  counters_.datagrams_from_backends.add(datagrams);
  if (received.truncated) return drop(buffer, datagrams, Drop::truncated);
  UdpSession* session = sessions_.find(upstream, received.from);
  if (session == nullptr) return drop(buffer, datagrams, Drop::no_session);
  sessions_.note_reply(*session, datagrams, now);
  shared_.table.clear_failures(pool::BackendId{session->backend});
  shared_.counters.listeners[session->listener].traffic.from_backends.add(received.payload.size());
  counters_of(*session).traffic.from_backends.add(received.payload.size());
  session->bytes_from_backend += received.payload.size();
  if (!outbox_.add(*session, Direction::to_client, way_to_client(*session), buffer, received.payload,
                   received.segment_bytes)) {
    count_drop(Drop::no_memory, 1);
  }
  const std::uint32_t responses = listener_of(session->listener).responses;
  const bool answered = responses != 0 && session->replies >= session->requests * responses;
  if (answered || stopping_) end(*session, answered ? CloseReason::responses : CloseReason::drain, now);
}

// ---- backends that are not reached ----

void UdpRelay::take_errors(std::uint32_t upstream, Instant now) {
  collect_errors(upstream);
  // Not before all errors are taken: the session must be found for each of them.
  resend_returned(now);
}

void UdpRelay::collect_errors(std::uint32_t upstream) {
  const io::Fd fd = upstreams_.fd(upstream);
  if (fd == io::Fd::none) return;
  for (std::uint32_t i = 0; i < kErrorsAtOnce; ++i) {
    const std::optional<io::DatagramError> taken = io_.take_error(fd);
    if (!taken) break;
    if (!is_unreachable(taken->error)) continue;
    if (UdpSession* session = sessions_.find(upstream, taken->to)) {
      note_failure(*session);
      keep_returned(*session, taken->quote);
    } else if (const Departure& left = departure(upstream, taken->to); left.upstream == upstream) {
      session = sessions_.find(left.session);
      if (session != nullptr && left.backend == taken->to) keep_returned(*session, taken->quote);
    }
  }
}

/// Errors about datagrams that were under way when the first one came find the session by this.
void UdpRelay::note_departure(const UdpSession& session) {
  departure(session.upstream, session.backend_address) = {
      .upstream = session.upstream, .backend = session.backend_address, .session = session.id};
}

UdpRelay::Departure& UdpRelay::departure(std::uint32_t upstream, const net::IpEndpoint& backend) {
  return departures_[backend.hash(upstream) % departures_.size()];
}

void UdpRelay::note_failure(UdpSession& session) {
  const pool::Pool& pool = *pool_of(session.listener).pool;
  const pool::BackendId id{session.backend};
  const std::uint32_t in_a_row = shared_.table.count_failure(id);
  shared_.counters.connect_failures.add();
  counters_of(session).connect_failures[static_cast<std::size_t>(ConnectFailure::unreachable)].add();
  if (shared_.probes != nullptr && pool.passive_failures != 0 && in_a_row % pool.passive_failures == 0) {
    shared_.probes->request_probe(id);
  }
  if (session.failed) return;
  session.failed = true;
  if (session.failures < 0xff) ++session.failures;
}

/// Copies a message that ICMP quotes, if it is there whole: it is one that was sent lately. A train that was not cut up
/// on its way (to a backend on this machine) is quoted as one.
void UdpRelay::keep_returned(const UdpSession& session, std::span<const std::byte> quote) {
  if (session.failures > pool_of(session.listener).pool->retries || returned_.size() >= kReturnedMax) return;
  if (quote.size() > kQuoteWholeMax) return;
  const std::string_view bytes{reinterpret_cast<const char*>(quote.data()), quote.size()};
  const std::optional<std::uint32_t> segment_bytes = session.sent_messages.segment_bytes(net::hash_bytes(bytes));
  if (!segment_bytes) return;
  const io::BufferId buffer = io_.datagram_buffers().take();
  if (buffer == io::kNoBuffer) return;
  if (!quote.empty()) std::memcpy(io_.datagram_buffers().data(buffer), quote.data(), quote.size());
  returned_.push_back({.session = session.id,
                       .buffer = buffer,
                       .bytes = static_cast<std::uint32_t>(quote.size()),
                       .segment_bytes = *segment_bytes});
}

void UdpRelay::resend_returned(Instant now) {
  std::size_t next = 0;
  while (next < returned_.size()) {  // more may come meanwhile
    const Returned returned = returned_[next++];
    UdpSession* session = sessions_.find(returned.session);
    const std::uint32_t segment = returned.segment_bytes;
    const std::uint32_t datagrams = segment == 0 ? 1 : (returned.bytes + segment - 1) / segment;
    if (session == nullptr || ensure_routed(*session, now)) {
      drop(returned.buffer, datagrams, Drop::refused);
      continue;
    }
    counters_.resent.add(datagrams);
    const std::span<const std::byte> payload{io_.datagram_buffers().data(returned.buffer), returned.bytes};
    if (!outbox_.add(*session, Direction::to_backend, way_to_backend(*session), returned.buffer, payload, segment)) {
      count_drop(Drop::no_memory, 1);
    }
  }
  returned_.clear();
}

// ---- sends ----

void UdpRelay::flush() {
  outbox_.flush([this](Message& message) {
    ++window_messages_;
    window_datagrams_ += message.datagrams;
    if (message.direction == Direction::to_client) {
      ++sockets_[message.way.socket].sends;
      return;
    }
    if (UdpSession* session = sessions_.find(message.session)) {
      // It may have found another backend since the message was put here.
      if (session->routed()) message.way = way_to_backend(*session);
      note_sent(*session, message);
    }
    upstreams_.send_begun(message.way.socket);
  });
}

/// Remembers what ICMP may bring back. Of a train that is either all of it, or each datagram by itself: most devices
/// cut it up.
void UdpRelay::note_sent(UdpSession& session, const Message& message) {
  const bool train = message.datagrams > 1;
  if (message.bytes <= kQuoteWholeMax) {
    session.sent_messages.add(outbox_.hash(message), train ? message.segment_bytes : 0);
  }
  if (!train) return;
  const std::uint32_t first = message.datagrams - std::min(message.datagrams, kTrainRemembered);
  for (std::uint32_t i = first; i < message.datagrams; ++i) {
    const std::uint32_t bytes = std::min(message.segment_bytes, message.bytes - i * message.segment_bytes);
    if (bytes <= kQuoteWholeMax) session.sent_messages.add(outbox_.hash(message, i), 0);
  }
}

void UdpRelay::on_sent(const io::Completion& completion, Instant now) {
  Message& message = outbox_.completed(completion);
  const flow::Way way = message.way;
  const Direction direction = message.direction;
  if (completion.result >= 0) {
    counters_.messages_sent.add();
    const bool to_client = direction == Direction::to_client;
    (to_client ? counters_.datagrams_to_clients : counters_.datagrams_to_backends).add(message.datagrams);
    if (to_client) counters_.bytes_to_clients.add(message.bytes);
    outbox_.done(message);
  } else {
    on_send_failed(message, -completion.result, now);
  }
  if (direction == Direction::to_backend) return upstreams_.send_ended(way.socket);
  ListeningSocket& socket = sockets_[way.socket];
  MILLRACE_ASSERT(socket.sends > 0, "a send ends once");
  --socket.sends;
  if (stopping_) close_when_idle(socket);
}

void UdpRelay::on_send_failed(Message& message, int error, Instant now) {
  if (message.datagrams > 1 && may_refuse_trains(error)) {
    if (UdpSession* session = sessions_.find(message.session)) {
      std::uint16_t& largest = session->train_segment_max[static_cast<std::size_t>(message.direction)];
      largest = std::min(largest, static_cast<std::uint16_t>(message.segment_bytes - 1));
    }
    counters_.trains_refused.add();
    if (!outbox_.split(message)) count_drop(Drop::no_memory, 1);
    return;
  }
  if (message.direction == Direction::to_backend) {
    if (is_unreachable(error)) return on_not_reached(message, now);
    take_errors(message.way.socket, now);  // what is kept counts against the socket's receive buffer
  }
  give_up(message, drop_reason(error));
}

/// The message was not sent: an error was pending on the socket, perhaps because of another session's backend, or there
/// is no way to this one.
void UdpRelay::on_not_reached(Message& message, Instant now) {
  take_errors(message.way.socket, now);
  UdpSession* session = sessions_.find(message.session);
  if (session == nullptr || message.attempts >= kAttemptsMax) return give_up(message, Drop::refused);
  const bool same_way = session->routed() && !session->failed && way_to_backend(*session) == message.way;
  if (same_way && message.attempts > 1) note_failure(*session);
  if (session->failures > pool_of(session->listener).pool->retries) return give_up(message, Drop::refused);
  if (ensure_routed(*session, now)) return give_up(message, Drop::refused);
  outbox_.again(message, way_to_backend(*session));
}

void UdpRelay::give_up(Message& message, Drop reason) {
  count_drop(reason, message.datagrams);
  outbox_.done(message);
}

void UdpRelay::drop(io::BufferId buffer, std::uint64_t datagrams, Drop reason) {
  count_drop(reason, datagrams);
  outbox_.drop(buffer);
}

/// Of a client that gets no session, or loses it before its datagram is on the way.
void UdpRelay::count_refusal(std::uint32_t listener, Refusal refusal) {
  shared_.counters.listeners[listener].refused[static_cast<std::size_t>(refusal)].add();
}

void UdpRelay::count_drop(Drop reason, std::uint64_t datagrams) {
  counters_.dropped[static_cast<std::size_t>(reason)].add(datagrams);
}

}  // namespace millrace::worker
