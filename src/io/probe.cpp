// What the running kernel's io_uring offers, found by trying.

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "compat.hpp"
#include "millrace/io/uring_io.hpp"
#include "receive_ring.hpp"
#include "ring.hpp"
#include "setup_failure.hpp"
#include "system_limits.hpp"

namespace millrace::io {
namespace {

/// The set-up flags that this kernel takes, best first: EINVAL means that it does not know one of them.
int open_best(std::unique_ptr<Ring>& ring, UringFeatures& features) {
  constexpr std::array<Ring::Options, 4> kLadder = {{
      {.single_issuer = true, .task_work = Ring::TaskWork::deferred},      // 6.1
      {.single_issuer = true, .task_work = Ring::TaskWork::cooperative},   // 6.0
      {.single_issuer = false, .task_work = Ring::TaskWork::cooperative},  // 5.19
      {.single_issuer = false, .task_work = Ring::TaskWork::plain},
  }};
  int error = EINVAL;
  for (const Ring::Options& options : kLadder) {
    ring = std::make_unique<Ring>();
    error = ring->open(options);
    if (error == EINVAL) continue;
    features.io_uring = error == 0;
    features.single_issuer = error == 0 && options.single_issuer;
    features.defer_taskrun = error == 0 && options.task_work == Ring::TaskWork::deferred;
    return error;
  }
  return error;
}

/// Submits one entry that cannot succeed on a descriptor that is no socket: a kernel that knows the flags in `ioprio`
/// or the limit says ENOTSOCK, one that does not says EINVAL.
bool knows_flags(Ring& ring, int not_a_socket, io_uring_op opcode, std::uint16_t ioprio, std::uint8_t flags,
                 std::uint32_t limit = 0) {
  io_uring_sqe* sqe = ring.entry();
  sqe->opcode = static_cast<std::uint8_t>(opcode);
  sqe->fd = not_a_socket;
  sqe->ioprio = ioprio;
  sqe->flags = flags;
  sqe->buf_group = ReceiveRing::kStreams;
  set_receive_limit(*sqe, limit);
  if (opcode == IORING_OP_RECVMSG) {  // its header is read before the descriptor is looked at
    static const msghdr kEmpty{};
    sqe->addr = reinterpret_cast<std::uintptr_t>(&kEmpty);
    sqe->len = 1;
  }
  ring.submit_and_wait(std::chrono::seconds(1));
  io_uring_cqe* cqe = nullptr;
  if (io_uring_peek_cqe(ring.raw(), &cqe) != 0) return false;
  const int result = cqe->res;
  io_uring_cqe_seen(ring.raw(), cqe);
  return result == -ENOTSOCK;
}

/// Every opcode that UringIo uses; all older than the buffer rings, so this fails only under a filter.
bool knows_opcodes(Ring& ring) {
  constexpr std::array kNeeded = {IORING_OP_ACCEPT,      IORING_OP_CONNECT, IORING_OP_RECV,
                                  IORING_OP_SEND,        IORING_OP_SENDMSG, IORING_OP_POLL_ADD,
                                  IORING_OP_POLL_REMOVE, IORING_OP_SPLICE,  IORING_OP_ASYNC_CANCEL};
  io_uring_probe* probe = io_uring_get_probe_ring(ring.raw());
  if (probe == nullptr) return false;
  bool all = true;
  for (const io_uring_op opcode : kNeeded) all = all && io_uring_opcode_supported(probe, opcode) != 0;
  io_uring_free_probe(probe);
  return all;
}

void probe_operations(Ring& ring, UringFeatures& features, const SetupContext& context) {
  const int not_a_socket = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (not_a_socket < 0) return;
  features.multishot_accept = knows_flags(ring, not_a_socket, IORING_OP_ACCEPT, IORING_ACCEPT_MULTISHOT, 0) &&
                              !multishot_accept_is_unsafe(context.kernel_release);
  features.multishot_recv = knows_flags(ring, not_a_socket, IORING_OP_RECV, IORING_RECV_MULTISHOT, IOSQE_BUFFER_SELECT);
  features.recv_limit =
      knows_flags(ring, not_a_socket, IORING_OP_RECV, IORING_RECV_MULTISHOT, IOSQE_BUFFER_SELECT, 4096);
  features.multishot_recvmsg =
      knows_flags(ring, not_a_socket, IORING_OP_RECVMSG, IORING_RECV_MULTISHOT, IOSQE_BUFFER_SELECT);
  ::close(not_a_socket);
}

}  // namespace

Result<UringFeatures> probe_uring() {
  const SetupContext context = read_setup_context();
  UringFeatures features;
  // Buffers first: they must outlive the ring.
  BufferGroup buffers({.count = 1, .bytes_per_buffer = 4096});
  ReceiveRing receive_ring(buffers, ReceiveRing::kStreams);
  std::unique_ptr<Ring> ring;
  if (const int error = open_best(ring, features)) return Error{explain_setup_failure(error, context)};
  if (!knows_opcodes(*ring)) {
    return Error{
        fmt::format("the io_uring of kernel {} lacks operations that millrace needs; millrace needs Linux 6.1 or "
                    "later",
                    context.kernel_release)};
  }
  features.buffer_ring = receive_ring.open(*ring) == 0;
  features.recv_bundle = (ring->features() & IORING_FEAT_RECVSEND_BUNDLE) != 0;
  features.min_wait = (ring->features() & IORING_FEAT_MIN_TIMEOUT) != 0;
  probe_operations(*ring, features, context);
  return features;
}

std::string UringFeatures::to_string() const {
  const std::array<std::pair<bool, std::string_view>, 10> all = {{
      {io_uring, "io_uring"},
      {defer_taskrun, "defer_taskrun"},
      {single_issuer, "single_issuer"},
      {multishot_accept, "multishot_accept"},
      {multishot_recv, "multishot_recv"},
      {multishot_recvmsg, "multishot_recvmsg"},
      {recv_limit, "recv_limit"},
      {buffer_ring, "buffer_ring"},
      {recv_bundle, "recv_bundle"},
      {min_wait, "min_wait"},
  }};
  std::string text;
  for (const auto& [offered, name] : all) {
    if (!offered) continue;
    if (!text.empty()) text += ' ';
    text += name;
  }
  return text.empty() ? "none" : text;
}

}  // namespace millrace::io
