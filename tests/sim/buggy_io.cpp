#include "buggy_io.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::sim {
namespace {

constexpr unsigned kSecondSide = 3;  // nobody else uses it in sends of datagrams

io::OpTag second(io::OpTag tag) {
  return io::OpTag(tag.kind(), kSecondSide, tag.generation(), tag.slot());
}

}  // namespace

const std::vector<BugName>& planted_bugs() {
  static const std::vector<BugName> kBugs = {
      {Bug::drops_fin, "drops_fin"},
      {Bug::drops_tail, "drops_tail"},
      {Bug::repeats_bytes, "repeats_bytes"},
      {Bug::swaps_buffers, "swaps_buffers"},
      {Bug::corrupts_byte, "corrupts_byte"},
      {Bug::writes_while_sending, "writes_while_sending"},
      {Bug::holds_back, "holds_back"},
      {Bug::invents_eof, "invents_eof"},
      {Bug::leaks_descriptor, "leaks_descriptor"},
      {Bug::leaks_buffer, "leaks_buffer"},
      {Bug::turns_reset_into_fin, "turns_reset_into_fin"},
      {Bug::turns_fin_into_reset, "turns_fin_into_reset"},
      {Bug::loses_receive, "loses_receive"},
      {Bug::loses_cancel, "loses_cancel"},
      {Bug::loses_completion, "loses_completion"},
      {Bug::doubles_completion, "doubles_completion"},
      {Bug::receives_twice, "receives_twice"},
      {Bug::closes_in_flight, "closes_in_flight"},
      {Bug::accepts_without_pause, "accepts_without_pause"},
      {Bug::swaps_senders, "swaps_senders"},
      {Bug::joins_datagrams, "joins_datagrams"},
      {Bug::cuts_datagrams, "cuts_datagrams"},
      {Bug::hides_truncation, "hides_truncation"},
      {Bug::drops_empty_datagrams, "drops_empty_datagrams"},
      {Bug::reorders_datagrams, "reorders_datagrams"},
      {Bug::leaks_datagram_buffer, "leaks_datagram_buffer"},
      {Bug::loses_datagram_receive, "loses_datagram_receive"},
      {Bug::sends_datagrams_twice, "sends_datagrams_twice"},
      {Bug::writes_while_sending_datagrams, "writes_while_sending_datagrams"},
      {Bug::replies_from_elsewhere, "replies_from_elsewhere"},
      {Bug::replies_to_the_last, "replies_to_the_last"},
      {Bug::ignores_icmp, "ignores_icmp"},
  };
  return kBugs;
}

void BuggyIo::recv(io::OpTag tag, io::Fd fd) {
  if (strikes(Bug::loses_receive)) return;
  real_.recv(tag, fd);
  if (strikes(Bug::receives_twice)) {
    real_.recv(io::OpTag(tag.kind(), tag.side() ^ 2U, tag.generation(), tag.slot()), fd);
  }
}

void BuggyIo::send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) {
  real_.send(tag, fd, slices);
  if (strikes(Bug::holds_back)) real_.send_is_last(tag);
  if (strikes(Bug::writes_while_sending)) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): it is a buffer of ours
    std::byte& byte = const_cast<std::byte&>(slices.front().front());
    byte ^= std::byte{1};
  }
}

void BuggyIo::recv_datagrams(io::OpTag tag, io::Fd fd) {
  if (!strikes(Bug::loses_datagram_receive)) real_.recv_datagrams(tag, fd);
}

void BuggyIo::send_datagrams(io::OpTag tag, io::Fd fd, const io::DatagramsToSend& message) {
  io::DatagramsToSend spoilt = message;
  const bool is_reply = message.from.family() != net::Family::none;  // of a wildcard listener
  if (is_reply) {
    const net::IpEndpoint before = std::exchange(last_client_, message.to);
    const bool other = before.family() == message.to.family() && before != message.to;
    if (other && strikes(Bug::replies_to_the_last)) spoilt.to = before;
    if (strikes(Bug::replies_from_elsewhere)) spoilt.from = {};
  }
  real_.send_datagrams(tag, fd, spoilt);
  if (strikes(Bug::sends_datagrams_twice)) real_.send_datagrams(second(tag), fd, spoilt);
  if (!message.slices.front().empty() && strikes(Bug::writes_while_sending_datagrams)) {
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-const-cast): it is a buffer of ours
    std::byte& byte = const_cast<std::byte&>(message.slices.front().front());
    byte ^= std::byte{1};
  }
}

io::ReceivedDatagrams BuggyIo::received(io::BufferId buffer) {
  io::ReceivedDatagrams message = real_.received(buffer);
  const net::IpEndpoint before = std::exchange(last_sender_, message.from);
  if (before.family() == message.from.family() && strikes(Bug::swaps_senders)) message.from = before;
  if (strikes(Bug::joins_datagrams)) message.segment_bytes = 0;
  if (strikes(Bug::hides_truncation)) message.truncated = false;
  if (message.segment_bytes == 0 && !message.payload.empty() && strikes(Bug::cuts_datagrams)) {
    message.payload = message.payload.first(message.payload.size() - 1);
  }
  return message;
}

std::optional<io::DatagramError> BuggyIo::take_error(io::Fd fd) {
  std::optional<io::DatagramError> error = real_.take_error(fd);
  if (error && strikes(Bug::ignores_icmp)) return std::nullopt;
  return error;
}

void BuggyIo::cancel(io::OpTag target) {
  if (!strikes(Bug::loses_cancel)) real_.cancel(target);
}

void BuggyIo::close(io::Fd fd, io::CloseMode mode) {
  if (strikes(Bug::leaks_descriptor)) return;
  if (mode == io::CloseMode::reset && strikes(Bug::turns_reset_into_fin)) mode = io::CloseMode::normal;
  if (mode == io::CloseMode::normal && strikes(Bug::turns_fin_into_reset)) mode = io::CloseMode::reset;
  real_.close(fd, mode);
}

int BuggyIo::shutdown_write(io::Fd fd) {
  if (strikes(Bug::drops_fin)) return 0;
  const int error = real_.shutdown_write(fd);
  if (strikes(Bug::closes_in_flight)) real_.close(fd, io::CloseMode::normal);
  return error;
}

std::span<const io::Completion> BuggyIo::turn(Instant deadline) {
  batch_.clear();
  for (io::Completion completion : real_.turn(deadline)) {
    if (!spoil(completion)) continue;
    batch_.push_back(completion);
    if (!completion.more && strikes(Bug::doubles_completion)) batch_.push_back(completion);
  }
  if (strikes(Bug::swaps_buffers)) swap_two_buffers();
  if (strikes(Bug::reorders_datagrams)) swap_two_messages();
  return batch_;
}

bool BuggyIo::spoil(io::Completion& completion) {
  switch (completion.tag.kind()) {
    case io::OpKind::accept:
      if (completion.result == -EMFILE && bug_ == Bug::accepts_without_pause) completion.result = -EINTR;
      break;
    case io::OpKind::recv:
      if (completion.result > 0) spoil_received(completion);
      break;
    case io::OpKind::send:
      if (completion.result > 1 && strikes(Bug::repeats_bytes)) --completion.result;
      break;
    case io::OpKind::recv_datagrams:
      if (completion.result == 0 && completion.more && strikes(Bug::drops_empty_datagrams)) {
        real_.datagram_buffers().give_back(completion.buffer);
        return false;
      }
      if (completion.result > 0 && strikes(Bug::leaks_datagram_buffer)) {
        static_cast<void>(real_.datagram_buffers().take());
      }
      break;
    case io::OpKind::send_datagrams:
      return completion.tag.side() != kSecondSide;
    case io::OpKind::splice_in:
    case io::OpKind::splice_out:
      return !strikes(Bug::loses_completion);
    default:
      break;
  }
  return true;
}

void BuggyIo::spoil_received(io::Completion& completion) {
  io::BufferGroup& buffers = real_.buffers();
  if (strikes(Bug::corrupts_byte)) *buffers.data(completion.buffer) ^= std::byte{0x10};
  if (strikes(Bug::leaks_buffer)) static_cast<void>(buffers.take());
  if (completion.result > 1 && strikes(Bug::drops_tail)) --completion.result;
  if (!completion.more && strikes(Bug::invents_eof)) {
    buffers.give_back(std::exchange(completion.buffer, io::kNoBuffer));
    completion.result = 0;
  }
}

void BuggyIo::swap_two_buffers() {
  std::vector<io::Completion*> received;
  for (io::Completion& completion : batch_) {
    const bool stream = completion.tag.kind() == io::OpKind::recv;
    if (stream && completion.buffer != io::kNoBuffer) received.push_back(&completion);
  }
  if (received.size() < 2) return;
  std::swap(received.front()->buffer, received.back()->buffer);
  std::swap(received.front()->result, received.back()->result);
}

void BuggyIo::swap_two_messages() {
  for (std::size_t i = 1; i < batch_.size(); ++i) {
    io::Completion& first = batch_[i - 1];
    io::Completion& second = batch_[i];
    if (first.tag.kind() != io::OpKind::recv_datagrams || !(first.tag == second.tag)) continue;
    if (first.result < 0 || second.result < 0) continue;
    std::swap(first.buffer, second.buffer);
    std::swap(first.result, second.result);
    return;
  }
}

}  // namespace millrace::sim
