#include "kernel.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace millrace::sim {
namespace {

const char* name(FdKind kind) {
  constexpr std::array<const char*, 5> kNames = {"socket", "listener", "pipe_read", "pipe_write", "datagram"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace

void PipeState::push(std::span<const std::byte> more) {
  bytes.push(more);
  slots.push_back(more.size());
}

void PipeState::drop(std::size_t count) {
  bytes.drop(count);
  while (count > 0) {
    const std::size_t taken = std::min(count, slots.front());
    count -= taken;
    slots.front() -= taken;
    if (slots.front() == 0) slots.pop_front();
  }
}

Kernel::Kernel(Context& shared) : context(shared), network(shared), datagrams(shared) {
  datagrams.changed = [this](int fd) { tell_user(fd); };
}

bool Kernel::out_of_descriptors() const {
  const std::uint32_t limit = context.faults.descriptors_max;
  return limit != 0 && open_ >= limit;
}

io::Fd Kernel::add(Descriptor descriptor) {
  table_.push_back(std::move(descriptor));
  ++open_;
  return io::Fd(kFirstFd + static_cast<int>(table_.size()) - 1);
}

io::Fd Kernel::open_socket(Socket& socket) {
  Descriptor descriptor;
  descriptor.socket = &socket;
  const io::Fd fd = add(std::move(descriptor));
  socket.fd = io::raw(fd);
  return fd;
}

io::Pipe Kernel::open_pipe(std::uint32_t capacity) {
  pipes_.emplace_back();
  pipes_.back().capacity = capacity;
  Descriptor end;
  end.pipe = &pipes_.back();
  end.kind = FdKind::pipe_read;
  const io::Fd read_end = add(end);
  end.kind = FdKind::pipe_write;
  const io::Fd write_end = add(end);
  return {.read_end = read_end, .write_end = write_end};
}

io::Fd Kernel::open_listener(const net::Endpoint& address, std::uint32_t backlog_max, std::uint32_t index) {
  listeners_.push_back(std::make_unique<ListenerState>());
  ListenerState& listener = *listeners_.back();
  listener.address = address;
  listener.backlog_max = backlog_max;
  listener.index = index;
  Descriptor descriptor;
  descriptor.kind = FdKind::listener;
  descriptor.listener = &listener;
  const io::Fd fd = add(std::move(descriptor));
  listener.fd = io::raw(fd);
  return fd;
}

io::Fd Kernel::add(DatagramSocket& socket, int worker) {
  Descriptor descriptor;
  descriptor.kind = FdKind::datagram;
  descriptor.datagram = &socket;
  const io::Fd fd = add(std::move(descriptor));
  socket.fd = io::raw(fd);
  socket.worker = worker;
  return fd;
}

io::Fd Kernel::open_datagram_listener(const net::IpEndpoint& address, int worker, std::uint32_t index) {
  DatagramSocket* socket = datagrams.bind(address, true);
  context.trace.check(socket != nullptr, "simulation", "two listeners on one address");
  socket->listener = static_cast<int>(index);
  return add(*socket, worker);
}

io::Fd Kernel::open_datagram(const net::IpEndpoint& source, int worker) {
  DatagramSocket* socket = datagrams.bind(source, false);
  if (socket == nullptr) return io::Fd::none;
  socket->keeps_errors = true;
  return add(*socket, worker);
}

Descriptor& Kernel::at(io::Fd fd) {
  const int index = io::raw(fd) - kFirstFd;
  if (index < 0 || static_cast<std::size_t>(index) >= table_.size()) {
    context.trace.fail("contract: unknown descriptor", fmt::format("#{}", io::raw(fd)));
  }
  Descriptor& descriptor = table_[static_cast<std::size_t>(index)];
  if (!descriptor.open) {
    context.trace.fail("contract: descriptor used after its close", fmt::format("#{}", io::raw(fd)));
  }
  return descriptor;
}

Descriptor& Kernel::at(io::Fd fd, FdKind kind) {
  Descriptor& descriptor = at(fd);
  if (descriptor.kind != kind) {
    context.trace.fail("contract: wrong kind of descriptor",
                       fmt::format("#{} is a {}, not a {}", io::raw(fd), name(descriptor.kind), name(kind)));
  }
  return descriptor;
}

bool Kernel::is_open(io::Fd fd) const {
  const int index = io::raw(fd) - kFirstFd;
  return index >= 0 && static_cast<std::size_t>(index) < table_.size() && table_[static_cast<std::size_t>(index)].open;
}

void Kernel::close(io::Fd fd, io::CloseMode mode) {
  Descriptor& descriptor = at(fd);
  if (descriptor.undelivered > 0) {
    context.trace.fail("contract: closed with an operation in flight",
                       fmt::format("#{} has {}", io::raw(fd), descriptor.undelivered));
  }
  descriptor.open = false;
  --open_;
  if (descriptor.socket != nullptr) network.close(*descriptor.socket, mode);
  if (descriptor.datagram != nullptr) datagrams.close(*descriptor.datagram);
  if (descriptor.listener == nullptr) return;
  descriptor.listener->open = false;
  for (Socket* waiting : descriptor.listener->backlog) network.close(*waiting, io::CloseMode::reset);
  descriptor.listener->backlog.clear();
}

void Kernel::connect_finished(Socket& socket, int error) {
  if (socket.closed) return;
  at(io::Fd(socket.fd)).connected = error;
  tell_user(socket.fd);
}

void Kernel::tell_user(int fd) {
  FdUser* user = at(io::Fd(fd)).user;
  if (user != nullptr) user->fd_changed(io::Fd(fd));
}

std::string Kernel::describe_open() const {
  std::string text;
  for (std::size_t i = 0; i < table_.size(); ++i) {
    if (table_[i].open) text += fmt::format("#{} {}, ", kFirstFd + static_cast<int>(i), name(table_[i].kind));
  }
  return text;
}

Kernel::Knock Kernel::knock(Socket& client, const net::Endpoint& address, const QueueSizes& capacity) {
  std::vector<ListenerState*> candidates;
  for (const auto& listener : listeners_) {
    if (listener->open && listener->address == address) candidates.push_back(listener.get());
  }
  if (candidates.empty()) return Knock::refused;
  ListenerState& listener = *candidates[context.random.below(candidates.size())];
  if (listener.refusing || listener.backlog.size() >= listener.backlog_max) return Knock::backlog_full;
  Socket& server_end = network.create(capacity);
  server_end.local = address;
  server_end.remote = client.local;
  network.establish(client, server_end);
  listener.backlog.push_back(&server_end);
  tell_user(listener.fd);
  return Knock::accepted;
}

}  // namespace millrace::sim
