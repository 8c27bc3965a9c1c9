// The datagram verbs of SimIo.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <numeric>

#include "sim_io.hpp"

namespace millrace::sim {

// ---- submission ----

void SimIo::recv_datagrams(io::OpTag tag, io::Fd fd) {
  (void)kernel_.at(fd, FdKind::datagram);
  submit(tag, Verb::recv_datagrams, fd);
}

void SimIo::send_datagrams(io::OpTag tag, io::Fd fd, const io::DatagramsToSend& message) {
  const DatagramSocket& socket = *kernel_.at(fd, FdKind::datagram).datagram;
  check_message(socket, message);
  Op& op = submit(tag, Verb::send_datagrams, fd);
  op.datagrams_to = message.to;
  op.datagrams_from = message.from;
  op.segment_bytes = message.segment_bytes;
  op.slices.assign(message.slices.begin(), message.slices.end());
  for (const auto& slice : message.slices) op.copy.insert(op.copy.end(), slice.begin(), slice.end());
  if (datagram_observer != nullptr) datagram_observer->sending(options_.worker, socket, message);
}

void SimIo::check_message(const DatagramSocket& socket, const io::DatagramsToSend& message) const {
  const Trace& trace = context_.trace;
  constexpr const char* kRule = "contract: send_datagrams";
  trace.check(!message.slices.empty() && message.slices.size() <= io::kTrainDatagramsMax, kRule, "number of slices");
  trace.check(message.to.family() == socket.address.family() && message.to.port() != 0, kRule, "destination");
  const bool own_source = message.from.family() == net::Family::none || kernel_.datagrams.is_here(message.from);
  trace.check(own_source, kRule, "a source that is not an address of this machine");
  const std::size_t bytes = std::accumulate(message.slices.begin(), message.slices.end(), std::size_t{0},
                                            [](std::size_t sum, const auto& slice) { return sum + slice.size(); });
  trace.check(bytes <= DatagramNetwork::kBytesMax, kRule, "more bytes than the kernel takes");
  if (message.segment_bytes == 0) return;
  trace.check(bytes <= std::size_t{message.segment_bytes} * io::kTrainDatagramsMax, kRule, "too many datagrams");
}

// ---- progress ----

/// It never waits, so it is done, in the order of submission, when the ring gets it.
void SimIo::send_at_once(Op& op) {
  DatagramSocket& socket = *kernel_.at(op.fd).datagram;
  const auto result = static_cast<std::int32_t>(
      kernel_.datagrams.send(socket, op.datagrams_to, op.datagrams_from, op.copy, op.segment_bytes));
  context_.trace.note("send datagrams", options_.worker, socket.address.port(), op.datagrams_to.port(), result);
  if (datagram_observer != nullptr) {
    const io::DatagramsToSend message{
        .to = op.datagrams_to, .from = op.datagrams_from, .slices = op.slices, .segment_bytes = op.segment_bytes};
    datagram_observer->sent(options_.worker, socket, message, op.copy, result);
  }
  post(op, result);
}

void SimIo::attempt_recv_datagrams(Op& op) {
  constexpr int kAtOnce = 16;  // then others have their turn
  const DatagramSocket& socket = *kernel_.at(op.fd).datagram;
  for (int i = 0; i < kAtOnce; ++i) {
    if (!socket.readable() || !receive_message(op, !op.cancel_asked)) return;
  }
  fd_changed(op.fd);
}

/// One completion; false when it is the last.
bool SimIo::receive_message(Op& op, bool may_go_on) {
  DatagramSocket& socket = *kernel_.at(op.fd).datagram;
  const io::BufferId buffer = context_.chance(context_.faults.no_buffers) ? io::kNoBuffer : datagram_buffers_.take();
  if (buffer == io::kNoBuffer) {  // a buffer is picked first
    post(op, -ENOBUFS);
    return false;
  }
  if (socket.error != 0) {  // told before anything that waits
    datagram_buffers_.give_back(buffer);
    post(op, -std::exchange(socket.error, 0));
    return false;
  }
  const std::size_t bytes = fill(buffer, kernel_.datagrams.take(socket));
  messages_[buffer].to = socket.tells_destination() ? messages_[buffer].to : net::IpEndpoint();
  const bool more = may_go_on && !context_.chance(context_.faults.early_end);
  post(op, static_cast<std::int32_t>(bytes), more, buffer);
  return more;
}

std::size_t SimIo::fill(io::BufferId buffer, const Train& train) {
  Message& message = messages_[buffer];
  message = {.from = train.from, .to = train.to, .bytes = train.bytes.size(), .segment_bytes = train.segment_bytes};
  message.to.set_port(0);
  if (message.bytes > 0 && context_.chance(context_.faults.datagram_truncated)) {
    message.truncated = true;
    message.bytes = context_.random.below(message.bytes);
    if (message.segment_bytes >= message.bytes) message.segment_bytes = 0;
  }
  std::copy_n(train.bytes.begin(), message.bytes, datagram_buffers_.data(buffer));
  return message.bytes;
}

void SimIo::note_received(const Op& op, const io::Completion& completion) {
  if (completion.result < 0) {
    ++failed_receives_;
  } else if (datagram_observer != nullptr) {
    datagram_observer->handed_over(options_.worker, *kernel_.at(op.fd).datagram, received(completion.buffer));
  }
}

// ---- immediate verbs ----

io::FdResult SimIo::open_datagram(const io::DatagramSocketOptions& options) {
  const io::FdResult opened = try_open_datagram(options);
  if (opened.fd == io::Fd::none && datagram_observer != nullptr) datagram_observer->socket_refused(options_.worker);
  return opened;
}

io::FdResult SimIo::try_open_datagram(const io::DatagramSocketOptions& options) {
  if (options.remote.family() != net::Family::none) {
    context_.trace.fail("simulation", "connected datagram sockets are not simulated");
  }
  if (kernel_.out_of_descriptors()) return {.fd = io::Fd::none, .error = EMFILE};
  if (context_.chance(context_.faults.datagram_socket)) {
    constexpr std::array kErrors = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL};
    return {.fd = io::Fd::none, .error = kErrors[context_.random.below(kErrors.size())]};
  }
  const io::Fd fd = kernel_.open_datagram(net::IpEndpoint::from(options.source), options_.worker);
  if (fd == io::Fd::none) return {.fd = io::Fd::none, .error = EADDRINUSE};
  context_.trace.note("open datagram", options_.worker, io::raw(fd), kernel_.at(fd).datagram->address.port());
  return {.fd = fd, .error = 0};
}

io::ReceivedDatagrams SimIo::received(io::BufferId buffer) {
  const Message& message = messages_[buffer];
  return {.from = message.from,
          .to = message.to,
          .payload = {datagram_buffers_.data(buffer), message.bytes},
          .segment_bytes = message.segment_bytes,
          .truncated = message.truncated};
}

std::optional<io::DatagramError> SimIo::take_error(io::Fd fd) {
  DatagramSocket& socket = *kernel_.at(fd, FdKind::datagram).datagram;
  std::optional<DatagramFailure> failure = kernel_.datagrams.take_error(socket);
  if (!failure) return std::nullopt;
  quote_ = std::move(failure->quote);
  const io::DatagramError error{.error = failure->error, .to = failure->to, .quote = quote_};
  context_.trace.note("take error", options_.worker, io::raw(fd), error.error);
  if (datagram_observer != nullptr) datagram_observer->error_taken(options_.worker, socket, error);
  return error;
}

}  // namespace millrace::sim
