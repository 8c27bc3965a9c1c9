#include "sim_io.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace millrace::sim {

namespace {

constexpr std::uint32_t kDatagramBufferBytes = 68 * 1024;  // as UringIo has

}  // namespace

SimIo::SimIo(Kernel& kernel, const Options& options)
    : kernel_(kernel),
      context_(kernel.context),
      options_(options),
      buffers_(options.buffers),
      datagram_buffers_({.count = options.datagram_buffers, .bytes_per_buffer = kDatagramBufferBytes}),
      messages_(options.datagram_buffers),
      now_(context_.clock.now()),
      asleep_until_(now_) {}

// ---- submission ----

void SimIo::accept(io::OpTag tag, io::Fd listener, io::AcceptMode mode) {
  (void)kernel_.at(listener, FdKind::listener);
  submit(tag, Verb::accept, listener).multishot = mode == io::AcceptMode::multishot;
}

void SimIo::connect(io::OpTag tag, io::Fd fd, const net::Endpoint& remote) {
  Socket& socket = *kernel_.at(fd, FdKind::socket).socket;
  context_.trace.check(socket.peer == nullptr, "contract: connect", "the socket is connected already");
  submit(tag, Verb::connect, fd).remote = remote;
  socket.remote = remote;
  if (hooks.connecting) hooks.connecting(socket, remote);
}

void SimIo::recv(io::OpTag tag, io::Fd fd) {
  (void)kernel_.at(fd, FdKind::socket);
  submit(tag, Verb::recv, fd);
}

void SimIo::send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) {
  (void)kernel_.at(fd, FdKind::socket);
  context_.trace.check(slices.size() <= kMaxSlices, "contract: send", "too many slices");
  Op& op = submit(tag, Verb::send, fd);
  op.slices.assign(slices.begin(), slices.end());
  for (const auto& slice : slices) op.copy.insert(op.copy.end(), slice.begin(), slice.end());
  context_.trace.check(!op.copy.empty(), "contract: send", "nothing to send");
}

void SimIo::send_is_last(io::OpTag tag) {
  context_.trace.check(tag.kind() == io::OpKind::send, "contract: send_is_last", "not a send");
  const auto found = ops_.find(tag.word());
  if (found == ops_.end()) return;  // its completion is being handed back
  if (!found->second.begun) found->second.is_last = true;
}

void SimIo::splice(io::OpTag tag, io::Fd from, io::Fd to, std::size_t length) {
  const bool in = kernel_.at(from).kind == FdKind::socket;
  (void)kernel_.at(in ? to : from, in ? FdKind::pipe_write : FdKind::pipe_read);
  (void)kernel_.at(in ? from : to, FdKind::socket);
  context_.trace.check(length > 0, "contract: splice", "a length of 0");
  Op& op = submit(tag, Verb::splice, from);
  op.to = to;
  op.length = length;
  Descriptor& target = kernel_.at(to);
  forbid_second(target, op, false);
  attach(tag, target);
  target.ops.push_back(&op);
  ++target.undelivered;
}

void SimIo::poll(io::OpTag tag, io::Fd fd, io::PollFor what) {
  submit(tag, Verb::poll, fd).poll = what;
}

Op& SimIo::submit(io::OpTag tag, Verb verb, io::Fd fd) {
  Descriptor& descriptor = kernel_.at(fd);
  context_.trace.note("submit", options_.worker, io::raw(fd), static_cast<std::int64_t>(tag.kind()), tag.slot());
  const auto [place, fresh] = ops_.try_emplace(tag.word());
  if (!fresh) context_.trace.fail("contract: tag in use", tag.to_string());
  Op& op = place->second;
  op.tag = tag;
  op.verb = verb;
  op.fd = fd;
  forbid_second(descriptor, op, true);
  attach(tag, descriptor);
  descriptor.ops.push_back(&op);
  ++descriptor.undelivered;
  submitted_.push_back({tag, false});
  return op;
}

/// Two readers, or two writers, of one descriptor would get or send bytes in any order.
void SimIo::forbid_second(const Descriptor& descriptor, const Op& op, bool as_source) {
  const auto reads = [&](const Op& o) {
    return o.verb == Verb::recv || o.verb == Verb::accept || o.verb == Verb::recv_datagrams ||
           (o.verb == Verb::splice && &kernel_.at(o.fd) == &descriptor);
  };
  const auto writes = [&](const Op& o) {
    return o.verb == Verb::send || o.verb == Verb::connect ||
           (o.verb == Verb::splice && &kernel_.at(o.fd) != &descriptor);
  };
  const bool op_reads = as_source && (op.verb == Verb::splice || reads(op));
  const bool op_writes = !as_source || (op.verb != Verb::splice && writes(op));
  for (const Op* other : descriptor.ops) {
    if ((op_reads && reads(*other)) || (op_writes && writes(*other))) {
      context_.trace.fail("contract: two operations of a kind on one descriptor",
                          op.tag.to_string() + " while " + other->tag.to_string());
    }
  }
}

void SimIo::attach(io::OpTag tag, Descriptor& descriptor) {
  const bool first = descriptor.user == nullptr;
  descriptor.user = this;
  if (descriptor.kind != FdKind::socket) return;
  descriptor.socket->watcher = this;
  if (first && hooks.first_op) hooks.first_op(tag, *descriptor.socket);
}

void SimIo::cancel(io::OpTag target) {
  context_.trace.note("cancel", options_.worker, -1, static_cast<std::int64_t>(target.kind()), target.slot());
  submitted_.push_back({target, true});
}

void SimIo::close(io::Fd fd, io::CloseMode mode) {
  context_.trace.note(mode == io::CloseMode::reset ? "close reset" : "close", options_.worker, io::raw(fd));
  Descriptor& descriptor = kernel_.at(fd);
  if (descriptor.socket != nullptr && hooks.closing) hooks.closing(*descriptor.socket);
  kernel_.close(fd, mode);
}

// ---- immediate verbs ----

io::FdResult SimIo::open_stream(const net::Endpoint& remote, const net::Endpoint& source) {
  (void)remote;
  if (kernel_.out_of_descriptors()) return {.fd = io::Fd::none, .error = EMFILE};
  if (context_.chance(context_.faults.stream_error)) {
    constexpr std::array kErrors = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL};
    return {.fd = io::Fd::none, .error = kErrors[context_.random.below(kErrors.size())]};
  }
  Socket& socket = kernel_.network.create(options_.backend_queues);
  socket.local = source;
  const io::Fd fd = kernel_.open_socket(socket);
  context_.trace.note("open stream", options_.worker, io::raw(fd), socket.id);
  return {.fd = fd, .error = 0};
}

int SimIo::open_pipe(io::Pipe& pipe) {
  if (kernel_.out_of_descriptors() || context_.chance(context_.faults.pipe_error)) return EMFILE;
  pipe = kernel_.open_pipe(options_.pipe_bytes);
  return 0;
}

int SimIo::shutdown_write(io::Fd fd) {
  const int error = kernel_.network.shutdown_write(*kernel_.at(fd, FdKind::socket).socket);
  context_.trace.note("shutdown", options_.worker, io::raw(fd), error);
  return error;
}

io::FdResult SimIo::accept_now(io::Fd listener) {
  ListenerState& state = *kernel_.at(listener, FdKind::listener).listener;
  if (kernel_.out_of_descriptors()) return {io::Fd::none, EMFILE};
  if (state.backlog.empty()) return {io::Fd::none, EAGAIN};
  Socket& socket = *state.backlog.front();
  state.backlog.pop_front();
  const io::Fd accepted = kernel_.open_socket(socket);
  context_.trace.note("accepted now", options_.worker, io::raw(accepted), socket.id, state.index);
  return {accepted, 0};
}

void SimIo::set_refusing(io::Fd listener, bool refusing) {
  kernel_.at(listener, FdKind::listener).listener->refusing = refusing;
}

void SimIo::set_keepalive(io::Fd fd) {
  static_cast<void>(kernel_.at(fd, FdKind::socket));
}

io::ReceiveQueue SimIo::receive_queue(io::Fd fd) {
  const Socket& socket = *kernel_.at(fd, FdKind::socket).socket;
  return {.used = static_cast<std::uint32_t>(socket.received.size()), .limit = socket.capacity.receive};
}

/// Made up, but always the same for the same connection.
io::TcpInfo SimIo::tcp_info(io::Fd fd) {
  const Socket& socket = *kernel_.at(fd, FdKind::socket).socket;
  const auto number = static_cast<std::uint32_t>(socket.id);
  return {.known = true, .rtt_us = 100 + number % 1000, .retransmits = number % 3};
}

std::uint32_t SimIo::bytes_unsent(io::Fd fd) {
  return Network::bytes_unsent(*kernel_.at(fd, FdKind::socket).socket);
}

net::Endpoint SimIo::peer(io::Fd fd) {
  if (kernel_.at(fd).kind == FdKind::datagram) return {};
  const Socket& socket = *kernel_.at(fd, FdKind::socket).socket;
  return socket.dead ? net::Endpoint() : socket.remote;
}

net::Endpoint SimIo::local(io::Fd fd) {
  const Descriptor& descriptor = kernel_.at(fd);
  if (descriptor.kind == FdKind::datagram) return descriptor.datagram->address.to_endpoint();
  return kernel_.at(fd, FdKind::socket).socket->local;
}

// ---- the loop ----

std::span<const io::Completion> SimIo::turn(Instant deadline) {
  ++turns_;
  batch_.clear();
  asleep_until_ = deadline;
  context_.clock.spend(std::chrono::microseconds(1) + context_.up_to(std::chrono::microseconds(4)));
  while (context_.clock.next_event() <= context_.clock.now()) context_.clock.run_next(context_.clock.now());
  fill_ring();
  progress();
  while (options_.waits && idle() && context_.clock.now() < deadline) {
    if (context_.chance(context_.faults.spurious_wake)) break;
    const bool last = !context_.clock.run_next(deadline);
    fill_ring();
    progress();
    if (last) break;
  }
  asleep_ = idle() && context_.clock.now() < deadline;
  woken_ = false;
  hand_back();
  now_ = context_.clock.now();
  if (batch_.empty()) ++empty_turns_;
  return batch_;
}

bool SimIo::idle() const {
  return completions_.empty() && !woken_;
}

Instant SimIo::wakes_at() const {
  const bool sleeps = asleep_ && idle() && submitted_.empty() && dirty_.empty();
  return sleeps ? asleep_until_ : context_.clock.now();
}

void SimIo::fill_ring() {
  while (!submitted_.empty()) {
    if (context_.chance(context_.faults.full_ring)) {
      context_.clock.after(context_.up_to(std::chrono::microseconds(50)), [] {});  // so that a wait goes on
      return;
    }
    const Submission next = submitted_.front();
    submitted_.pop_front();
    const auto found = ops_.find(next.tag.word());
    if (found == ops_.end()) continue;  // a cancel that came too late
    if (next.cancel) {
      ask_cancel(found->second);
    } else {
      begin(found->second);
    }
  }
}

void SimIo::begin(Op& op) {
  op.begun = true;
  fd_changed(op.fd);
  if (op.verb == Verb::connect) {
    kernel_.remote->connecting(*kernel_.at(op.fd).socket, op.remote);
  } else if (op.verb == Verb::send_datagrams) {
    send_at_once(op);
  } else if (op.verb == Verb::recv && buffers_.free_count() == 0) {
    post(op, -ENOBUFS);  // the first attempt is made at once, and it picks a buffer first
  }
}

void SimIo::ask_cancel(Op& op) {
  if (op.finished) return;
  op.cancel_asked = true;
  fd_changed(op.fd);
}

void SimIo::fd_changed(io::Fd fd) {
  Descriptor& descriptor = kernel_.at(fd);
  if (descriptor.dirty || descriptor.ops.empty()) return;
  descriptor.dirty = true;
  dirty_.push_back(fd);
}

void SimIo::hand_back() {
  const std::size_t count = std::min<std::size_t>(completions_.size(), context_.faults.batch_max);
  for (std::size_t i = 0; i < count; ++i) {
    const io::Completion completion = completions_.front();
    completions_.pop_front();
    batch_.push_back(completion);
    context_.trace.note("done", options_.worker, static_cast<int>(completion.tag.slot()),
                        static_cast<std::int64_t>(completion.tag.kind()), completion.result);
    const auto found = ops_.find(completion.tag.word());
    if (found->second.verb == Verb::recv_datagrams) note_received(found->second, completion);
    if (completion.more) continue;
    check_slices(found->second);
    --kernel_.at(found->second.fd).undelivered;
    if (found->second.verb == Verb::splice) --kernel_.at(found->second.to).undelivered;
    ops_.erase(found);
  }
}

std::string SimIo::describe_in_flight() const {
  std::vector<std::string> names;
  for (const auto& [word, op] : ops_) names.push_back(op.tag.to_string());
  std::sort(names.begin(), names.end());
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace millrace::sim
