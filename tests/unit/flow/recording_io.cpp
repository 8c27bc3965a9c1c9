#include "recording_io.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>

namespace millrace::flow::test {

// ---- for the test ----

io::Completion RecordingIo::receive(OpTag tag, std::uint32_t length, bool more) {
  const Op* armed = find(OpKind::recv, tag.side());
  REQUIRE(armed != nullptr);
  Socket& socket = sockets.at(armed->fd);
  const Fd fd = armed->fd;
  const io::BufferId buffer = buffers_.take();
  REQUIRE(buffer != io::kNoBuffer);
  REQUIRE(length <= buffers_.bytes_per_buffer());
  for (std::uint32_t i = 0; i < length; ++i) buffers_.data(buffer)[i] = byte_of(fd, socket.produced + i);
  socket.produced += length;
  if (!more) take(tag);
  return {.tag = tag, .result = static_cast<std::int32_t>(length), .buffer = buffer, .more = more};
}

io::Completion RecordingIo::complete(OpTag tag, std::int32_t result) {
  const Op op = take(tag);
  const auto length = static_cast<std::uint32_t>(std::max(result, 0));
  switch (tag.kind()) {
    case OpKind::send:
      end_send(op, length);
      break;
    case OpKind::splice_in:
      end_splice_in(op, length);
      break;
    case OpKind::splice_out:
      end_splice_out(op, length);
      break;
    default:
      break;
  }
  const bool reads = tag.kind() == OpKind::recv || tag.kind() == OpKind::splice_in;
  const bool goes_on =
      result > 0 || result == -ENOBUFS || result == -ECANCELED || result == -EAGAIN || result == -EINTR;
  if (reads && !goes_on) sockets.at(op.fd).read_over = true;
  return {.tag = tag, .result = result};
}

void RecordingIo::lend(std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    lent.push_back(buffers_.take());
    REQUIRE(lent.back() != io::kNoBuffer);
  }
}

void RecordingIo::take_back_lent() {
  for (const io::BufferId id : lent) buffers_.give_back(id);
  lent.clear();
}

void RecordingIo::end_send(const Op& op, std::uint32_t length) {
  std::vector<std::byte> now;
  for (const auto slice : op.slices) now.insert(now.end(), slice.begin(), slice.end());
  if (now != op.bytes) breach("the bytes of a send changed while it was in flight");
  REQUIRE(length <= op.bytes.size());
  Socket& socket = sockets.at(op.fd);
  for (std::uint32_t i = 0; i < length; ++i) {
    if (op.bytes[i] == byte_of(socket.other, socket.taken + i)) continue;
    breach("a byte was lost, doubled or out of order");
    break;
  }
  socket.taken += length;
}

void RecordingIo::end_splice_in(const Op& op, std::uint32_t length) {
  REQUIRE(length <= op.length);
  Socket& socket = sockets.at(op.fd);
  PipeState& pipe = pipe_of(op.to);
  pipe = {.filled_from = op.fd, .begin = socket.produced, .end = socket.produced + length};
  socket.produced += length;
}

void RecordingIo::end_splice_out(const Op& op, std::uint32_t length) {
  PipeState& pipe = pipe_of(op.fd);
  Socket& socket = sockets.at(op.to);
  REQUIRE(length <= pipe.end - pipe.begin);
  if (length > 0 && (pipe.filled_from != socket.other || pipe.begin != socket.taken)) {
    breach("spliced bytes out of order");
  }
  pipe.begin += length;
  socket.taken += length;
}

// ---- operations ----

RecordingIo::Op& RecordingIo::begin(OpTag tag, OpKind kind, Fd fd) {
  if (tag.kind() != kind) breach("tag of another kind");
  for (const Op& op : ops_) {
    if (op.tag == tag) breach("tag in flight twice: " + tag.to_string());
    if (op.fd == fd && op.tag.kind() == kind) breach("two operations of a kind on a descriptor");
  }
  ++submitted_.at(static_cast<std::size_t>(kind));
  Op& op = ops_.emplace_back();
  op.tag = tag;
  op.fd = fd;
  return op;
}

RecordingIo::Op RecordingIo::take(OpTag tag) {
  const auto at = std::find_if(ops_.begin(), ops_.end(), [tag](const Op& op) { return op.tag == tag; });
  REQUIRE_MESSAGE(at != ops_.end(), "not in flight: ", tag.to_string());
  Op op = std::move(*at);
  ops_.erase(at);
  return op;
}

RecordingIo::Socket& RecordingIo::open_socket(Fd fd) {
  const auto at = sockets.find(fd);
  REQUIRE(at != sockets.end());
  if (at->second.closed) breach("use of a closed descriptor");
  return at->second;
}

void RecordingIo::accept(OpTag /*tag*/, Fd /*listener*/, io::AcceptMode /*mode*/) {
  breach("a flow accepts nothing");
}

void RecordingIo::connect(OpTag tag, Fd fd, const net::Endpoint& remote) {
  if (!(open_socket(fd).remote == remote)) breach("connect to another address than the socket was opened for");
  begin(tag, OpKind::connect, fd).remote = remote;
}

void RecordingIo::recv(OpTag tag, Fd fd) {
  if (open_socket(fd).read_over) breach("receive after the end of the stream");
  if (find(OpKind::splice_in, tag.side()) != nullptr) breach("receive while a splice takes from the same connection");
  begin(tag, OpKind::recv, fd);
}

void RecordingIo::send(OpTag tag, Fd fd, std::span<const std::span<const std::byte>> slices) {
  if (open_socket(fd).fin_sent) breach("send after FIN");
  if (slices.empty() || slices.size() > kMaxSlices) breach("a send has 1 to kMaxSlices slices");
  Op& op = begin(tag, OpKind::send, fd);
  for (const auto slice : slices) {
    if (slice.empty()) breach("empty slice");
    op.slices.push_back(slice);
    op.bytes.insert(op.bytes.end(), slice.begin(), slice.end());
  }
  op.length = op.bytes.size();
}

void RecordingIo::send_is_last(OpTag tag) {
  for (Op& op : ops_) {
    if (op.tag != tag) continue;
    const Socket& source = sockets.at(sockets.at(op.fd).other);
    const bool whole = sockets.at(op.fd).taken + op.length == source.produced;
    if (!source.read_over || !whole) breach("a send is called the last one, but more may follow");
    op.is_last = true;
    return;
  }
  breach("a send is called the last one, but is not in flight: " + tag.to_string());
}

void RecordingIo::splice(OpTag tag, Fd from, Fd to, std::size_t length) {
  if (is_pipe(from) == is_pipe(to)) breach("exactly one end of a splice is a pipe");
  if (length == 0) breach("splice of nothing");
  const OpKind kind = is_pipe(to) ? OpKind::splice_in : OpKind::splice_out;
  const PipeState& pipe = pipe_of(is_pipe(to) ? to : from);
  if (!pipe.read_end_open || !pipe.write_end_open) breach("splice with a closed pipe");
  if (kind == OpKind::splice_in) {
    if (open_socket(from).read_over) breach("splice after the end of the stream");
    if (pipe.begin != pipe.end) breach("a pipe is filled only when it is empty");
    if (find(OpKind::recv, tag.side()) != nullptr) breach("splice while a receive is armed");
  } else {
    if (open_socket(to).fin_sent) breach("splice after FIN");
    if (length > pipe.end - pipe.begin) breach("splice of more than the pipe holds");
  }
  Op& op = begin(tag, kind, from);
  op.to = to;
  op.length = length;
}

void RecordingIo::poll(OpTag tag, Fd fd, io::PollFor what) {
  open_socket(fd);
  const OpKind kind = what == io::PollFor::readable   ? OpKind::poll_in
                      : what == io::PollFor::writable ? OpKind::poll_out
                                                      : OpKind::watch;
  begin(tag, kind, fd).poll_for = what;
}

void RecordingIo::cancel(OpTag target) {
  for (Op& op : ops_) {
    if (op.tag != target) continue;
    if (op.cancelled) breach("cancelled twice: " + target.to_string());
    op.cancelled = true;
  }
}

void RecordingIo::close(Fd fd, io::CloseMode mode) {
  for (const Op& op : ops_) {
    if (op.fd == fd || op.to == fd) breach("close with something in flight: " + op.tag.to_string());
  }
  if (is_pipe(fd)) {
    PipeState& pipe = pipe_of(fd);
    bool& open = io::raw(fd) % 2 == 0 ? pipe.read_end_open : pipe.write_end_open;
    if (!open) breach("pipe closed twice");
    open = false;
    if (!pipe.read_end_open && !pipe.write_end_open) --pipes_open;
    return;
  }
  open_socket(fd).closed = mode;
}

// ---- immediate verbs ----

io::FdResult RecordingIo::open_stream(const net::Endpoint& remote, const net::Endpoint& source) {
  if (open_error != 0) return {.fd = Fd::none, .error = open_error};
  backend = Fd{next_fd_++};
  Socket& socket = sockets[backend];
  socket.other = kClient;
  socket.remote = remote;
  socket.source = source;
  sockets[kClient].other = backend;
  return {.fd = backend, .error = 0};
}

int RecordingIo::open_pipe(io::Pipe& pipe) {
  if (pipe_error != 0) return pipe_error;
  const int first = kFirstPipe + 2 * static_cast<int>(pipes_.size());
  pipes_.emplace_back();
  ++pipes_open;
  pipe = {.read_end = Fd{first}, .write_end = Fd{first + 1}};
  return 0;
}

int RecordingIo::shutdown_write(Fd fd) {
  Socket& socket = open_socket(fd);
  if (socket.fin_sent) breach("FIN sent twice");
  for (const Op& op : ops_) {
    const bool writes = op.tag.kind() == OpKind::send || op.tag.kind() == OpKind::splice_out;
    if (writes && (op.fd == fd || op.to == fd)) breach("FIN while bytes are being written");
  }
  if (socket.taken != sockets.at(socket.other).produced) breach("FIN before everything was delivered");
  socket.fin_sent = true;
  return socket.shutdown_error;
}

void RecordingIo::set_keepalive(Fd fd) {
  Socket& socket = open_socket(fd);
  if (socket.keepalive) breach("keepalive set twice");
  socket.keepalive = true;
}

io::ReceiveQueue RecordingIo::receive_queue(Fd fd) {
  return open_socket(fd).queue;
}

io::TcpInfo RecordingIo::tcp_info(Fd fd) {
  return open_socket(fd).info;
}

std::uint32_t RecordingIo::bytes_unsent(Fd fd) {
  return open_socket(fd).unsent;
}

}  // namespace millrace::flow::test
