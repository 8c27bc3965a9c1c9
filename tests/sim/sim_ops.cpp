// The second half of SimIo: how operations in the ring go on.

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "sim_io.hpp"

namespace millrace::sim {

void SimIo::progress() {
  std::vector<io::Fd> ready = std::exchange(dirty_, {});
  std::erase_if(ready, [this](io::Fd fd) { return !kernel_.is_open(fd); });
  for (const io::Fd fd : ready) kernel_.at(fd).dirty = false;
  if (context_.faults.random_order) {
    for (std::size_t i = ready.size(); i > 1; --i) std::swap(ready[i - 1], ready[context_.random.below(i)]);
  }
  for (const io::Fd fd : ready) {
    const std::vector<Op*> ops = kernel_.at(fd).ops;  // a copy: an operation that ends leaves the list
    for (Op* op : ops) {
      if (!op->begun || op->finished) continue;
      if (context_.chance(context_.faults.defer)) {
        look_later(fd);
      } else {
        attempt(*op);
      }
    }
  }
}

void SimIo::look_later(io::Fd fd) {
  if (std::exchange(kernel_.at(fd).look_later, true)) return;
  context_.clock.after(context_.up_to(std::chrono::microseconds(300)), [this, fd] {
    if (!kernel_.is_open(fd)) return;
    kernel_.at(fd).look_later = false;
    fd_changed(fd);
  });
}

void SimIo::attempt(Op& op) {
  if (op.cancel_asked && !context_.chance(context_.faults.cancel_race)) {
    end_cancelled(op);
    return;
  }
  switch (op.verb) {
    case Verb::accept:
      attempt_accept(op);
      break;
    case Verb::connect:
      attempt_connect(op);
      break;
    case Verb::recv:
      attempt_recv(op);
      break;
    case Verb::send:
      attempt_send(op);
      break;
    case Verb::splice:
      attempt_splice(op);
      break;
    case Verb::poll:
      attempt_poll(op);
      break;
    case Verb::recv_datagrams:
      attempt_recv_datagrams(op);
      break;
    case Verb::send_datagrams:  // is over once it is in the ring
      break;
  }
  if (op.cancel_asked && !op.finished) end_cancelled(op);
}

void SimIo::end_cancelled(Op& op) {
  post(op, op.verb == Verb::send && op.sent > 0 ? static_cast<std::int32_t>(op.sent) : -ECANCELED);
}

// ---- accept, connect ----

void SimIo::attempt_accept(Op& op) {
  ListenerState& listener = *kernel_.at(op.fd).listener;
  if (accept_fault(op)) return;
  while (!listener.backlog.empty() && !kernel_.out_of_descriptors()) {
    Socket& socket = *listener.backlog.front();
    listener.backlog.pop_front();
    const io::Fd fd = kernel_.open_socket(socket);
    context_.trace.note("accepted", options_.worker, io::raw(fd), socket.id, listener.index);
    const bool more = op.multishot && !op.cancel_asked && !context_.chance(context_.faults.early_end);
    post(op, io::raw(fd), more);
    if (!more) return;
  }
  if (kernel_.out_of_descriptors()) {
    ++accept_errors_;
    post(op, -EMFILE);
  }
}

/// A descriptor is taken before a connection is waited for, so running out needs no client.
bool SimIo::accept_fault(Op& op) {
  if (!context_.chance(context_.faults.accept_error)) return false;
  constexpr std::array kErrors = {EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, EPROTO, EINTR};
  ++accept_errors_;
  post(op, -kErrors[context_.random.below(kErrors.size())]);
  return true;
}

void SimIo::attempt_connect(Op& op) {
  const Descriptor& descriptor = kernel_.at(op.fd);
  if (descriptor.connected) post(op, -*descriptor.connected);
}

// ---- recv ----

void SimIo::attempt_recv(Op& op) {
  constexpr int kAtOnce = 16;  // then others have their turn
  const bool waits_for_poll = std::exchange(op.tried, true);
  if (waits_for_poll && !kernel_.at(op.fd).socket->readable()) return;
  for (int i = 0; i < kAtOnce; ++i) {
    if (!receive_once(op, !op.cancel_asked)) return;
  }
  fd_changed(op.fd);
}

/// One completion at most; false when there is nothing more to do now.
bool SimIo::receive_once(Op& op, bool may_go_on) {
  Socket& socket = *kernel_.at(op.fd).socket;
  if (socket.received.empty()) {
    const std::int64_t result = kernel_.network.read(socket, {});
    if (result != -EAGAIN) post(op, static_cast<std::int32_t>(result));
    return false;
  }
  if (context_.chance(context_.faults.no_buffers)) {
    post(op, -ENOBUFS);
    return false;
  }
  const io::BufferId buffer = buffers_.take();
  if (buffer == io::kNoBuffer) {
    post(op, -ENOBUFS);
    return false;
  }
  const std::size_t most = std::min<std::size_t>(socket.received.size(), buffers_.bytes_per_buffer());
  const std::span<std::byte> into(buffers_.data(buffer), context_.fragment(most));
  const std::int64_t count = kernel_.network.read(socket, into);
  const bool more = may_go_on && !context_.chance(context_.faults.early_end);
  post(op, static_cast<std::int32_t>(count), more, buffer);
  if (hooks.moved) hooks.moved(socket);
  return more;
}

// ---- send ----

void SimIo::attempt_send(Op& op) {
  Socket& socket = *kernel_.at(op.fd).socket;
  if (op.tried && !socket.writable()) return;
  op.tried = true;
  check_slices(op);
  while (op.sent < op.copy.size()) {
    const std::span<const std::byte> rest = std::span(op.copy).subspan(op.sent);
    const std::int64_t count = kernel_.network.write(socket, rest.first(context_.fragment(rest.size())));
    if (count == -EAGAIN) {
      if (op.sent > 0 && context_.chance(context_.faults.short_send)) post(op, static_cast<std::int32_t>(op.sent));
      return;
    }
    if (count < 0) {
      // Part of it is sent: the error is gone, as in the kernel (io_send() answers with done_io).
      post(op, op.sent > 0 ? static_cast<std::int32_t>(op.sent) : static_cast<std::int32_t>(count));
      return;
    }
    op.sent += static_cast<std::size_t>(count);
  }
  if (op.is_last) Network::hold_back(socket);
  post(op, static_cast<std::int32_t>(op.sent));
}

void SimIo::check_slices(const Op& op) const {
  std::size_t offset = 0;
  for (const auto& slice : op.slices) {
    const auto before = op.copy.begin() + static_cast<std::ptrdiff_t>(offset);
    if (!std::equal(slice.begin(), slice.end(), before)) {
      context_.trace.fail("contract: bytes changed while they were being sent", op.tag.to_string());
    }
    offset += slice.size();
  }
}

// ---- splice ----

void SimIo::attempt_splice(Op& op) {
  Descriptor& from = kernel_.at(op.fd);
  Descriptor& to = kernel_.at(op.to);
  const std::int32_t result =
      from.kind == FdKind::socket ? splice_in(op, *from.socket, *to.pipe) : splice_out(op, *from.pipe, *to.socket);
  post(op, result);
}

std::int32_t SimIo::splice_in(Op& op, Socket& socket, PipeState& pipe) {
  if (pipe.room() == 0 || context_.chance(context_.faults.splice_again)) return -EAGAIN;
  if (socket.received.empty()) return static_cast<std::int32_t>(kernel_.network.read(socket, {}));
  const std::size_t most = std::min({op.length, socket.received.size(), pipe.room()});
  std::vector<std::byte> bytes(context_.fragment(most));
  kernel_.network.read(socket, bytes);
  pipe.push(bytes);
  if (hooks.moved) hooks.moved(socket);
  return static_cast<std::int32_t>(bytes.size());
}

std::int32_t SimIo::splice_out(Op& op, PipeState& pipe, Socket& socket) {
  if (pipe.bytes.empty() || context_.chance(context_.faults.splice_again)) return -EAGAIN;
  const std::size_t most = context_.fragment(std::min(op.length, pipe.bytes.size()));
  const std::int64_t count = kernel_.network.write(socket, pipe.bytes.front(most));
  if (count > 0) pipe.drop(static_cast<std::size_t>(count));
  return static_cast<std::int32_t>(count);
}

// ---- poll ----

void SimIo::attempt_poll(Op& op) {
  const Descriptor& descriptor = kernel_.at(op.fd);
  context_.trace.check(descriptor.kind == FdKind::socket, "contract: poll", "not a socket");
  const Socket& socket = *descriptor.socket;
  std::int32_t seen = 0;
  if (op.poll == io::PollFor::readable && socket.readable()) seen |= io::kPollIn;
  if (op.poll == io::PollFor::writable && socket.writable()) seen |= io::kPollOut;
  if (socket.error != 0) seen |= io::kPollError;
  if (socket.hung_up()) seen |= io::kPollHangup;
  if (seen == 0 && op.poll != io::PollFor::hangup && context_.chance(context_.faults.spurious_poll)) {
    seen = op.poll == io::PollFor::readable ? io::kPollIn : io::kPollOut;
  }
  if (seen != 0) post(op, seen);
}

// ---- completion ----

void SimIo::post(Op& op, std::int32_t result, bool more, io::BufferId buffer) {
  completions_.push_back({.tag = op.tag, .result = result, .buffer = buffer, .more = more});
  if (more) return;
  op.finished = true;
  std::erase(kernel_.at(op.fd).ops, &op);
  if (op.verb == Verb::splice) std::erase(kernel_.at(op.to).ops, &op);
}

}  // namespace millrace::sim
