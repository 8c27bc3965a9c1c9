#include "millrace/flow/upstream_sockets.hpp"

#include <algorithm>
#include <cerrno>

#include "millrace/base/assert.hpp"

namespace millrace::flow {

namespace {

constexpr Nanos kTrimEvery = std::chrono::seconds(1);
constexpr std::uint32_t kTrimLooks = 1024;

}  // namespace

std::uint32_t UpstreamSockets::add_group(const net::Endpoint& source, std::uint32_t targets) {
  groups_.push_back({.source = source, .sockets = {}, .targets = std::vector<Target>(targets)});
  return static_cast<std::uint32_t>(groups_.size() - 1);
}

// ---- places ----

UpstreamSockets::Taken UpstreamSockets::take(std::uint32_t group_number, std::uint32_t target_number, Instant now) {
  Group& group = groups_[group_number];
  Target& target = group.targets[target_number];
  if (target.resting.empty() || now - target.resting.front().since < kRest) {
    const Taken taken = take_fresh(group_number, target);
    if (taken.socket != kNone || target.resting.empty()) return taken;
  }
  const Taken taken = take_place(group, target.resting.front().place);
  if (taken.socket != kNone) target.resting.pop_front();
  return taken;
}

/// A place that the target has never had.
UpstreamSockets::Taken UpstreamSockets::take_fresh(std::uint32_t group_number, Target& target) {
  Group& group = groups_[group_number];
  if (target.touched == group.sockets.size()) {
    if (open_ >= open_max_) return {.error = EMFILE};
    group.sockets.push_back(static_cast<std::uint32_t>(sockets_.size()));
    sockets_.push_back({.group = group_number});
  }
  const Taken taken = take_place(group, target.touched);
  if (taken.socket != kNone) ++target.touched;
  return taken;
}

UpstreamSockets::Taken UpstreamSockets::take_place(Group& group, std::uint32_t place) {
  const std::uint32_t number = group.sockets[place];
  if (const int error = use(number)) return {.error = error};
  if (sockets_[number].sessions++ == 0) --unused_;
  return {.socket = number, .place = place};
}

void UpstreamSockets::give_back(std::uint32_t group_number, std::uint32_t target, std::uint32_t place, Instant now) {
  Group& group = groups_[group_number];
  group.targets[target].resting.push_back({.place = place, .since = now});
  Socket& socket = sockets_[group.sockets[place]];
  MILLRACE_ASSERT(socket.sessions > 0, "a place is given back once");
  if (--socket.sessions > 0) return;
  ++unused_;
  socket.unused_since = now;
}

// ---- sockets ----

/// Makes sure that it is open and stays so. 0 or errno.
int UpstreamSockets::use(std::uint32_t number) {
  Socket& socket = sockets_[number];
  socket.closing = false;  // a receive that is being cancelled is armed again when it has ended
  if (socket.fd != io::Fd::none) return 0;
  return open_ < open_max_ ? open_socket(socket, number) : EMFILE;
}

int UpstreamSockets::open_socket(Socket& socket, std::uint32_t number) {
  const io::FdResult opened = io_.open_datagram({.source = groups_[socket.group].source, .remote = {}});
  if (opened.fd == io::Fd::none) return opened.error;
  socket.fd = opened.fd;
  ++open_;
  ++unused_;
  arm(socket, number);
  return 0;
}

void UpstreamSockets::arm(Socket& socket, std::uint32_t number) {
  socket.receiving = true;
  io_.recv_datagrams(io::OpTag(io::OpKind::recv_datagrams, side_, 0, number), socket.fd);
}

void UpstreamSockets::receive_ended(std::uint32_t number, bool no_buffer) {
  Socket& socket = sockets_[number];
  MILLRACE_ASSERT(socket.receiving, "a receive ends once");
  socket.receiving = false;
  socket.cancelling = false;
  if (socket.closing) return close_when_idle(socket);
  if (!no_buffer) return arm(socket, number);
  socket.starved = true;
  starved_.push_back(number);
}

void UpstreamSockets::resume() {
  for (const std::uint32_t number : starved_) {
    Socket& socket = sockets_[number];
    socket.starved = false;
    if (socket.fd != io::Fd::none && !socket.closing && !socket.receiving) arm(socket, number);
  }
  starved_.clear();
}

void UpstreamSockets::send_ended(std::uint32_t number) {
  Socket& socket = sockets_[number];
  MILLRACE_ASSERT(socket.sends > 0, "a send ends once");
  --socket.sends;
  if (socket.closing) close_when_idle(socket);
}

void UpstreamSockets::begin_close(Socket& socket, std::uint32_t number) {
  socket.closing = true;
  if (socket.receiving && !socket.cancelling) {
    socket.cancelling = true;
    io_.cancel(io::OpTag(io::OpKind::recv_datagrams, side_, 0, number));
  }
  close_when_idle(socket);
}

void UpstreamSockets::close_when_idle(Socket& socket) {
  if (socket.receiving || socket.sends > 0 || socket.fd == io::Fd::none) return;
  io_.close(socket.fd, io::CloseMode::normal);
  socket.fd = io::Fd::none;
  socket.closing = false;
  --open_;
  --unused_;
}

Instant UpstreamSockets::trim(Instant now) {
  if (unused_ == 0) return kNever;
  if (now < trim_at_) return trim_at_;
  const auto count = static_cast<std::uint32_t>(sockets_.size());
  for (std::uint32_t looks = std::min(kTrimLooks, count); looks > 0; --looks) {
    const std::uint32_t number = trim_next_++ % count;
    Socket& socket = sockets_[number];
    if (socket.fd == io::Fd::none || socket.sessions > 0 || now - socket.unused_since < kCloseAfter) continue;
    begin_close(socket, number);
  }
  return trim_at_ = now + kTrimEvery;
}

void UpstreamSockets::close_all() {
  for (std::uint32_t number = 0; number < sockets_.size(); ++number) {
    Socket& socket = sockets_[number];
    MILLRACE_ASSERT(socket.sessions == 0, "every place has been given back");
    if (socket.fd != io::Fd::none && !socket.closing) begin_close(socket, number);
  }
}

}  // namespace millrace::flow
