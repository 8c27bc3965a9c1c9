#include "network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::sim {

bool Socket::readable() const {
  if (fin_arrived || dead || error != 0) return true;
  // A full queue counts as readable whatever the low-water mark is (tcp_epollin_ready()).
  return !received.empty();
}

bool Socket::writable() const {
  if (dead || fin_queued || error != 0) return true;
  return peer != nullptr && room_to_send() * 3 >= capacity.send;  // sk_stream_min_wspace(): about a third is free
}

Socket& Network::create(const QueueSizes& capacity) {
  sockets_.push_back(std::make_unique<Socket>());
  Socket& socket = *sockets_.back();
  socket.id = static_cast<std::uint32_t>(sockets_.size());
  socket.capacity = capacity;
  return socket;
}

void Network::establish(Socket& a, Socket& b) {
  a.peer = &b;
  b.peer = &a;
  if (!context_.chance(context_.faults.link_failure)) return;
  context_.clock.after(context_.up_to(std::chrono::seconds(5)), [this, &a] { fail_link(a); });
}

std::int64_t Network::read(Socket& socket, std::span<std::byte> into) {
  if (!socket.received.empty()) {
    const std::size_t count = std::min(into.size(), socket.received.size());
    socket.received.pop(into.first(count));
    socket.bytes_read += count;
    if (socket.peer != nullptr) schedule_delivery(*socket.peer);
    return static_cast<std::int64_t>(count);
  }
  if (socket.fin_arrived) return 0;
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  return socket.dead ? 0 : -EAGAIN;
}

std::int64_t Network::write(Socket& socket, std::span<const std::byte> bytes) {
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (socket.dead || socket.fin_queued) return -EPIPE;
  if (socket.peer == nullptr) return -ENOTCONN;
  const std::size_t count = std::min(bytes.size(), socket.room_to_send());
  if (count == 0) return -EAGAIN;
  socket.unsent.push(bytes.first(count));
  socket.held_back = false;
  socket.bytes_written += count;
  schedule_delivery(socket);
  return static_cast<std::int64_t>(count);
}

int Network::shutdown_write(Socket& socket) {
  if (socket.dead || socket.peer == nullptr || (socket.fin_arrived && socket.fin_delivered)) return ENOTCONN;
  socket.fin_queued = true;
  schedule_delivery(socket);
  tell(socket);  // a hang-up now, when the peer had finished before
  return 0;
}

void Network::close(Socket& socket, io::CloseMode mode) {
  socket.closed = true;
  socket.watcher = nullptr;
  if (socket.dead || socket.peer == nullptr) return;
  if (mode == io::CloseMode::reset || !socket.received.empty()) {
    abort(socket);
    return;
  }
  socket.fin_queued = true;
  schedule_delivery(socket);
}

void Network::fail_link(Socket& socket) {
  if (socket.closed || socket.dead || socket.peer == nullptr) return;
  socket.link_failed = socket.peer->link_failed = true;
  reset_arrives(socket, ETIMEDOUT);
  send_reset(*socket.peer, ETIMEDOUT);
}

std::uint32_t Network::bytes_unsent(const Socket& socket) {
  if (socket.dead) return socket.unsent_lost;
  return static_cast<std::uint32_t>(socket.unsent.size()) + (socket.fin_queued && !socket.fin_delivered ? 1U : 0U);
}

void Network::schedule_delivery(Socket& from) {
  if (from.delivery_due || from.dead || (from.held_back && !from.fin_queued)) return;
  if (from.unsent.empty() && (!from.fin_queued || from.fin_delivered)) return;
  if (!from.unsent.empty() && from.peer->room_to_receive() == 0 && !from.peer->closed) return;  // a closed window
  from.delivery_due = true;
  context_.clock.after(context_.latency(), [this, &from] { deliver(from); });
}

void Network::deliver(Socket& from) {
  from.delivery_due = false;
  if (from.dead || from.peer->dead) return;  // its RST is on the way
  if (from.held_back && !from.fin_queued) return;
  if (!from.unsent.empty()) {
    deliver_bytes(from);
  } else if (from.fin_queued && !from.fin_delivered) {
    from.fin_delivered = true;
    from.peer->fin_arrived = true;
    from.peer->last_arrival = context_.clock.now();
    context_.trace.note("fin arrives", -1, static_cast<int>(from.peer->id));
    tell(*from.peer);
  }
  schedule_delivery(from);
}

void Network::deliver_bytes(Socket& from) {
  Socket& to = *from.peer;
  if (to.closed) {
    abort(to);
    return;
  }
  const std::size_t room = std::min(from.unsent.size(), to.room_to_receive());
  if (room == 0) return;
  const std::size_t count = context_.fragment(room);
  to.received.push(from.unsent.front(count));
  from.unsent.drop(count);
  to.bytes_arrived += count;
  to.last_arrival = context_.clock.now();
  tell(to);
  tell(from);
}

void Network::abort(Socket& socket) {
  kill(socket);
  socket.received.clear();
  context_.trace.note("rst leaves", -1, static_cast<int>(socket.id));
  send_reset(*socket.peer, ECONNRESET);
}

void Network::send_reset(Socket& to, int error) {
  context_.clock.after(context_.latency(), [this, &to, error] { reset_arrives(to, error); });
}

void Network::reset_arrives(Socket& socket, int error) {
  const bool over = socket.fin_arrived && socket.fin_delivered;  // TCP_CLOSE or TIME_WAIT: ignored
  if (socket.dead || over) return;
  const bool close_wait = socket.fin_arrived && !socket.fin_queued;
  kill(socket);
  socket.reset_arrived = true;
  socket.error = close_wait && error == ECONNRESET ? EPIPE : error;
  context_.trace.note("rst arrives", -1, static_cast<int>(socket.id), socket.error);
  tell(socket);
}

void Network::kill(Socket& socket) {
  socket.unsent_lost = bytes_unsent(socket);
  socket.dead = true;
  socket.unsent.clear();
}

void Network::tell(Socket& socket) {
  if (socket.watcher != nullptr) socket.watcher->socket_changed(socket);
}

}  // namespace millrace::sim
