#include "buggy_io.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::sim {

const std::vector<BugName>& planted_bugs() {
  static const std::vector<BugName> kBugs = {
      {Bug::drops_fin, "drops_fin"},
      {Bug::drops_tail, "drops_tail"},
      {Bug::repeats_bytes, "repeats_bytes"},
      {Bug::swaps_buffers, "swaps_buffers"},
      {Bug::corrupts_byte, "corrupts_byte"},
      {Bug::writes_while_sending, "writes_while_sending"},
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
  };
  return kBugs;
}

void BuggyIo::recv(io::OpTag tag, io::Fd fd, bool expect_data) {
  if (strikes(Bug::loses_receive)) return;
  real_.recv(tag, fd, expect_data);
  if (strikes(Bug::receives_twice)) {
    real_.recv(io::OpTag(tag.kind(), tag.side() ^ 2U, tag.generation(), tag.slot()), fd, expect_data);
  }
}

void BuggyIo::send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) {
  real_.send(tag, fd, slices);
  if (strikes(Bug::writes_while_sending)) {
    std::byte& byte = const_cast<std::byte&>(slices.front().front());  // it is a buffer of ours
    byte ^= std::byte{1};
  }
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
    if (completion.buffer != io::kNoBuffer) received.push_back(&completion);
  }
  if (received.size() < 2) return;
  std::swap(received.front()->buffer, received.back()->buffer);
  std::swap(received.front()->result, received.back()->result);
}

}  // namespace millrace::sim
