// The asynchronous verbs of UringIo: each fills one submission entry.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "internal_tag.hpp"
#include "millrace/base/assert.hpp"
#include "uring_io_impl.hpp"

namespace millrace::io {
namespace {

// One splice moves at most this; a completion's result has 31 bits, and no pipe is larger.
constexpr std::size_t kSpliceBytesMax = 1U << 30U;

/// A multishot receive goes on inside the kernel while bytes come and buffers are left, up to 32 of them. Then a flow
/// that is to splice has copied half a megabyte before it is asked, and a few use up what is lent for all.
constexpr std::uint32_t kReceiveBytesMax = 64 * 1024;

template <class T>
std::uint64_t address_of(const T* object) {
  return reinterpret_cast<std::uintptr_t>(object);
}

std::uint32_t events_of(PollFor what) {
  switch (what) {
    case PollFor::readable:
      return POLLIN;  // also set at the end of the stream
    case PollFor::writable:
      return POLLOUT;
    case PollFor::hangup:
      break;  // POLLERR and POLLHUP are always reported
  }
  return 0;
}

}  // namespace

io_uring_sqe* UringIo::entry(OpTag tag, io_uring_op opcode, Fd fd) {
  MILLRACE_ASSERT(tag.kind() != OpKind::none || tag == kWakeTag || tag == kCancelTag, "an operation has a kind");
  if (ring_.full()) submit();
  io_uring_sqe* sqe = ring_.entry();
  sqe->opcode = static_cast<std::uint8_t>(opcode);
  sqe->fd = raw(fd);
  sqe->user_data = tag.word();
  return sqe;
}

void UringIo::submit() {
  ring_.submit();
  scratch_.reuse();
}

void UringIo::accept(OpTag tag, Fd listener, AcceptMode mode) {
  io_uring_sqe* sqe = entry(tag, IORING_OP_ACCEPT, listener);
  sqe->accept_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  if (mode == AcceptMode::multishot && features_.multishot_accept) sqe->ioprio = IORING_ACCEPT_MULTISHOT;
}

void UringIo::connect(OpTag tag, Fd fd, const net::Endpoint& remote) {
  if (scratch_.addresses_full()) submit();
  io_uring_sqe* sqe = entry(tag, IORING_OP_CONNECT, fd);
  sqe->addr = address_of(scratch_.address(remote)->sockaddr_ptr());
  sqe->off = remote.sockaddr_length();
}

// The first attempt is made at once (no IORING_RECVSEND_POLL_FIRST), also when nothing has come yet. If it waited, and
// bytes and a reset came before, the kernel would look once, bring the bytes, and wait for ever: a reset wakes it but
// once (io_poll_check_events(), Linux io_uring/poll.c; the end of a stream is told all the same, by tcp_inq_hint()).
void UringIo::recv(OpTag tag, Fd fd) {
  io_uring_sqe* sqe = entry(tag, IORING_OP_RECV, fd);
  sqe->ioprio = IORING_RECV_MULTISHOT;
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->buf_group = ReceiveRing::kStreams;
  if (features_.recv_limit) set_receive_limit(*sqe, kReceiveBytesMax);
}

void UringIo::send(OpTag tag, Fd fd, std::span<const std::span<const std::byte>> slices) {
  MILLRACE_ASSERT(!slices.empty() && slices.size() <= kMaxSlices, "1 to kMaxSlices slices");
  if (slices.size() > 1 && scratch_.messages_full()) submit();
  newest_send_ = entry(tag, slices.size() == 1 ? IORING_OP_SEND : IORING_OP_SENDMSG, fd);
  newest_send_->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  if (slices.size() == 1) {
    newest_send_->addr = address_of(slices[0].data());
    newest_send_->len = static_cast<std::uint32_t>(slices[0].size());
  } else {
    newest_send_->addr = address_of(scratch_.message(slices));
    newest_send_->len = 1;
  }
}

// Once it is submitted this changes nothing: the kernel has read the entry.
void UringIo::send_is_last(OpTag tag) {
  if (newest_send_ != nullptr && newest_send_->user_data == tag.word()) newest_send_->msg_flags |= MSG_MORE;
}

void UringIo::splice(OpTag tag, Fd from, Fd to, std::size_t length) {
  MILLRACE_ASSERT(length > 0, "a splice of nothing looks like the end of the stream");
  const auto bytes = static_cast<std::uint32_t>(std::min(length, kSpliceBytesMax));
  if (options_.splice == SpliceIssue::direct && !splices_.full()) {
    splices_.push({tag, from, to, bytes});
    return;
  }
  constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};
  io_uring_sqe* sqe = entry(tag, IORING_OP_SPLICE, to);
  sqe->splice_fd_in = raw(from);
  sqe->splice_off_in = kNoOffset;
  sqe->off = kNoOffset;
  sqe->len = bytes;
  sqe->splice_flags = SPLICE_F_MOVE | SPLICE_F_NONBLOCK;
}

void UringIo::poll(OpTag tag, Fd fd, PollFor what) {
  MILLRACE_ASSERT((what == PollFor::hangup) == (tag.kind() == OpKind::watch), "a watch is a poll for hang-up");
  io_uring_sqe* sqe = entry(tag, IORING_OP_POLL_ADD, fd);
  sqe->poll32_events = poll_mask(events_of(what));
  if (what == PollFor::hangup) sqe->len = IORING_POLL_ADD_MULTI;
}

void UringIo::recv_datagrams(OpTag tag, Fd fd) {
  // Only the two lengths count: how much room the kernel leaves for them in each buffer.
  static const msghdr kRoom = [] {
    msghdr room{};
    room.msg_namelen = kNameBytes;
    room.msg_controllen = kControlBytes;
    return room;
  }();
  MILLRACE_ASSERT(datagrams_.has_value(), "made for datagrams");
  io_uring_sqe* sqe = entry(tag, IORING_OP_RECVMSG, fd);
  sqe->addr = address_of(&kRoom);
  sqe->len = 1;
  sqe->ioprio = IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST;
  sqe->flags = IOSQE_BUFFER_SELECT;
  sqe->buf_group = ReceiveRing::kDatagrams;
}

void UringIo::send_datagrams(OpTag tag, Fd fd, const DatagramsToSend& message) {
  MILLRACE_ASSERT(!message.slices.empty() && message.slices.size() <= kTrainDatagramsMax, "1 to kTrainDatagramsMax");
  MILLRACE_ASSERT(datagrams_.has_value(), "made for datagrams");
  if (scratch_.trains_full()) submit();
  io_uring_sqe* sqe = entry(tag, IORING_OP_SENDMSG, fd);
  sqe->addr = address_of(scratch_.train(message));
  sqe->len = 1;
  // Without waiting, hence the kernel never comes back for the control messages after the submission.
  sqe->msg_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
}

void UringIo::end_watch(OpTag watch, std::int32_t seen) {
  const OpTag hung_up = hung_up_tag(watch, seen);
  io_uring_sqe* rename = entry(kCancelTag, IORING_OP_POLL_REMOVE, Fd::none);
  rename->addr = watch.word();
  rename->off = hung_up.word();
  rename->len = IORING_POLL_UPDATE_USER_DATA;
  cancel(hung_up);
}

void UringIo::cancel(OpTag target) {
  io_uring_sqe* sqe = entry(kCancelTag, IORING_OP_ASYNC_CANCEL, Fd::none);
  sqe->addr = target.word();
  sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
}

// Measured against IORING_OP_CLOSE, 64 to a submission: the same cost within 3 %. The system call acts at once, also
// when the ring is destroyed next.
void UringIo::close(Fd fd, CloseMode mode) {
  if (mode == CloseMode::reset) {
    const linger drop_unsent{.l_onoff = 1, .l_linger = 0};
    (void)::setsockopt(raw(fd), SOL_SOCKET, SO_LINGER, &drop_unsent, sizeof drop_unsent);
  }
  const int result = ::close(raw(fd));
  MILLRACE_ASSERT(result == 0 || errno != EBADF, "a descriptor is closed once");
}

}  // namespace millrace::io
