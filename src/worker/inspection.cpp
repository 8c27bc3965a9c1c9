#include "millrace/worker/inspection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "connection.hpp"
#include "millrace/worker/worker.hpp"
#include "udp_relay.hpp"

namespace millrace::worker {

namespace {

constexpr std::uint32_t kSlotsAtOnce = 128;  // each one that is described costs a getpeername
constexpr std::uint64_t kSessionsFrom = std::uint64_t{1} << 32U;

std::string_view name(flow::TcpFlow::Stage stage) {
  switch (stage) {
    case flow::TcpFlow::Stage::connecting:
      return "connecting";
    case flow::TcpFlow::Stage::waiting:
      return "waiting";
    case flow::TcpFlow::Stage::relaying:
      return "relaying";
    case flow::TcpFlow::Stage::lingering:
      return "lingering";
    case flow::TcpFlow::Stage::closing:
    case flow::TcpFlow::Stage::closed:
      return "closing";
  }
  return "";
}

bool wants(const ConnectionFilter& filter, std::uint32_t listener, std::optional<pool::BackendId> backend) {
  const auto has = [](const std::vector<bool>& wanted, std::size_t index) {
    return index < wanted.size() && wanted[index];
  };
  if (!filter.listeners.empty() && !has(filter.listeners, listener)) return false;
  return filter.backends.empty() || (backend && has(filter.backends, pool::row(*backend)));
}

}  // namespace

std::string ConnectionId::to_string() const {
  return fmt::format("{}{}.{}.{}", udp ? "u" : "", worker, slot, generation);
}

std::optional<ConnectionId> ConnectionId::parse(std::string_view text) {
  ConnectionId id;
  id.udp = text.starts_with('u');
  if (id.udp) text.remove_prefix(1);
  const char* at = text.data();
  const char* const end = at + text.size();
  for (std::uint32_t* part : {&id.worker, &id.slot, &id.generation}) {
    if (part != &id.worker && (at == end || *at++ != '.')) return std::nullopt;
    const auto [rest, error] = std::from_chars(at, end, *part);
    if (error != std::errc()) return std::nullopt;
    at = rest;
  }
  return at == end ? std::optional(id) : std::nullopt;
}

std::optional<std::uint64_t> Worker::describe(std::uint64_t from, std::uint32_t count, const ConnectionFilter& filter,
                                              std::vector<ConnectionInfo>& out) {
  if (from < kSessionsFrom) {
    const std::uint64_t end = std::min<std::uint64_t>(from + count, connections_.touched());
    for (; from < end; ++from) {
      const Connection* connection = connections_.find(static_cast<std::uint32_t>(from));
      if (connection == nullptr) continue;
      std::optional<pool::BackendId> backend;
      if (connection->holds_backend) backend = connection->backend;
      if (!wants(filter, connection->listener, backend)) continue;
      const flow::TcpFlow& flow = connection->flow;
      out.push_back({.id = {.worker = index_, .slot = flow.slot(), .generation = flow.generation(), .udp = false},
                     .listener = connection->listener,
                     .backend = backend,
                     .client = io_.peer(flow.client_fd()),
                     .stage = name(flow.stage()),
                     .age = context_.now - flow.started(),
                     .from_client = flow.bytes_from(flow::Side::client),
                     .from_backend = flow.bytes_from(flow::Side::backend)});
    }
    return from < connections_.touched() ? from : kSessionsFrom;
  }
  if (udp_ == nullptr) return std::nullopt;
  std::uint64_t slot = from - kSessionsFrom;
  const std::uint64_t end = std::min<std::uint64_t>(slot + count, udp_->slots());
  for (; slot < end; ++slot) {
    const flow::UdpSession* session = udp_->in_slot(static_cast<std::uint32_t>(slot));
    if (session == nullptr) continue;
    std::optional<pool::BackendId> backend;
    if (session->routed()) backend = pool::BackendId{session->backend};
    if (!wants(filter, session->listener, backend)) continue;
    out.push_back(
        {.id = {.worker = index_, .slot = session->id.index, .generation = session->id.generation, .udp = true},
         .listener = session->listener,
         .backend = backend,
         .client = session->key.client.to_endpoint(),
         .stage = "session",
         .age = context_.now - session->started,
         .from_client = session->requests,
         .from_backend = session->replies});
  }
  if (slot >= udp_->slots()) return std::nullopt;
  return kSessionsFrom + slot;
}

bool Worker::kill(const ConnectionId& id) {
  if (id.udp) return udp_ != nullptr && udp_->kill({id.slot, id.generation}, context_.now);
  Connection* connection = connections_.find(id.slot, id.generation);
  if (connection == nullptr) return false;
  handle(*connection, connection->flow.abort(context_, flow::CloseReason::killed));
  return true;
}

bool ListConnections::run(Worker& worker) {
  next_ = worker.describe(*next_, kSlotsAtOnce, filter_, found_);
  return !next_ || found_.size() >= limit_;
}

bool KillConnection::run(Worker& worker) {
  killed_ = worker.kill(id_);
  return true;
}

}  // namespace millrace::worker
