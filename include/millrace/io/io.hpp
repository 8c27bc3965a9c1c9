#pragma once
// Io: the seam between what millrace decides and what the kernel does.
//
// Two implementations: UringIo (io_uring; the only production one) and SimIo (tests/sim: virtual time, seeded faults).
// One Io belongs to one thread: every member is called on that thread only, except wake(). It is the only polymorphic
// type on the data path; one predictable indirect call per submission is noise beside the kernel's work.
//
// The contract, which SimIo asserts and tests/contract checks against a real ring:
//  - An asynchronous verb never blocks, never fails at submission and never completes inline. Its completions are
//    handed back by a later turn(). Every one ends with exactly one completion that has more == false; only multishot
//    verbs have completions before it.
//  - At most one operation of a kind is in flight per descriptor and tag. A tag is not reused before its final
//  completion.
//  - Cancelling is a request. The target still completes: with -ECANCELED, or with what it did meanwhile (a cancelled
//    accept may still bring a descriptor, a cancelled receive may still bring bytes).
//  - A descriptor is closed only when nothing is in flight on it.
//  - Arguments (endpoints, slices) are copied before the verb returns; the bytes that slices point at must stay until
//    the final completion.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "millrace/base/time.hpp"
#include "millrace/io/buffer_group.hpp"
#include "millrace/io/op.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::io {

enum class AcceptMode : std::uint8_t { single, multishot };
enum class CloseMode : std::uint8_t {
  normal,  // close(2): FIN, or RST when unread bytes are waiting
  reset,   // SO_LINGER{1,0}, then close(2): RST, unsent bytes are dropped
};
enum class PollFor : std::uint8_t { readable, writable, hangup };

/// What a poll saw, as bits of its result.
inline constexpr std::int32_t kPollIn = 0x001;     // readable, or end of stream
inline constexpr std::int32_t kPollOut = 0x004;    // writable
inline constexpr std::int32_t kPollError = 0x008;  // an error is pending
inline constexpr std::int32_t kPollHangup = 0x010;

/// What waits in a socket's receive queue, in bytes of the kernel's memory for it, and how much may wait there.
struct ReceiveQueue {
  std::uint32_t used = 0;
  std::uint32_t limit = 0;  // 0: unknown
};

/// What the kernel knows of a TCP connection.
struct TcpInfo {
  bool known = false;             // false: the rest says nothing; it is no TCP socket
  std::uint32_t rtt_us = 0;       // round trip, smoothed; 0: not measured yet
  std::uint32_t retransmits = 0;  // segments sent again by this side, since it began
};

/// A descriptor, or why there is none.
struct FdResult {
  Fd fd = Fd::none;
  int error = 0;  // errno; 0 exactly when fd is set
};

/// A kernel pipe, both ends non-blocking.
struct Pipe {
  Fd read_end = Fd::none;
  Fd write_end = Fd::none;
};

// ---- datagrams ----
//
// A message is what one receive or one send handles: one datagram, or a train of datagrams of equal size of which only
// the last may be shorter (UDP_GRO on receiving, UDP_SEGMENT on sending). The boundaries of its datagrams are kept.

/// What the kernel takes as one train: datagrams (UDP_MAX_SEGMENTS of Linux before 6.9), and bytes of them together.
inline constexpr std::uint32_t kTrainDatagramsMax = 64;
inline constexpr std::uint32_t kTrainBytesMax = 65000;

/// A received message. `payload` points into its buffer.
struct ReceivedDatagrams {
  net::IpEndpoint from;
  net::IpEndpoint to;  // the address it was sent to, without a port; Family::none unless the socket tells it
  std::span<const std::byte> payload;  // may be empty: an empty datagram is one
  std::uint32_t segment_bytes = 0;     // of each datagram of a train; 0: a single datagram
  bool truncated = false;              // it was longer than the buffer: the rest is lost

  [[nodiscard]] std::uint64_t datagrams() const {
    return segment_bytes == 0 ? 1 : (payload.size() + segment_bytes - 1) / segment_bytes;
  }
};

/// A message to send.
struct DatagramsToSend {
  net::IpEndpoint to;
  net::IpEndpoint from;  // the local address to send from (its port does not count); Family::none: the socket's own
  std::span<const std::span<const std::byte>> slices;  // at most kTrainDatagramsMax; they make up the payload
  std::uint32_t segment_bytes = 0;                     // of each datagram of a train; 0: a single datagram
};

struct DatagramSocketOptions {
  net::Endpoint
      source;  // its port may be 0. Not Family::none: the wildcard of the wanted family lets the kernel choose
  /// Family::none: datagrams go to and come from anyone, and ICMP errors are kept for take_error(). Otherwise the
  /// socket is connected: send() and recv() work on it, one datagram each, and tell its ICMP errors.
  net::Endpoint remote;
};

/// What ICMP, or the kernel itself, said about a message that a socket has sent.
struct DatagramError {
  int error = 0;       // ECONNREFUSED, EHOSTUNREACH, EMSGSIZE, …
  net::IpEndpoint to;  // where it was sent (EMSGSIZE of this machine over IPv4: without the port)
  // Its first bytes, perhaps all, perhaps none; valid until the next take_error(). A train that is refused on this very
  // machine is one error, and its datagrams follow one another here.
  std::span<const std::byte> quote;
};

class Io {
 public:
  Io() = default;
  virtual ~Io() = default;
  Io(const Io&) = delete;
  Io& operator=(const Io&) = delete;

  // ---- asynchronous verbs: completed by a later turn() ----

  /// Accepts from a listening socket; result: the new descriptor, non-blocking and close-on-exec, or -errno.
  /// multishot goes on until a completion with more == false (any error ends it).
  virtual void accept(OpTag tag, Fd listener, AcceptMode mode) = 0;
  /// Connects a socket from open_stream(); result: 0 or -errno.
  virtual void connect(OpTag tag, Fd fd, const net::Endpoint& remote) = 0;
  /// Multishot receive into buffers of buffers(). Completions: result > 0 with a buffer (now the caller's; may be final
  /// as well: the kernel stopped early, arm again); 0 = end of stream (final); -ENOBUFS (final: no buffer was at hand,
  /// nothing is lost, arm again once buffers().free_count() > 0); other -errno (final).
  /// The first attempt is made at once, and wants a buffer although nothing may have come.
  virtual void recv(OpTag tag, Fd fd) = 0;
  /// Sends all slices (at most kMaxSlices), waiting for room as needed; result: bytes sent, or -errno if none. Fewer
  /// than asked is possible (an error or a cancel after some were sent).
  virtual void send(OpTag tag, Fd fd, std::span<const std::span<const std::byte>> slices) = 0;
  /// What this send, which is in flight, leaves in the socket is the end of a stream: shutdown_write() or close()
  /// follows as soon as it has completed. Its last bytes may wait for that, so that they leave in one segment with the
  /// FIN. A hint: it has an effect only before the next turn().
  virtual void send_is_last(OpTag /*tag*/) {}
  /// Moves up to `length` bytes between a socket and a pipe without waiting; exactly one of the two is a pipe's end.
  /// Result: bytes moved; 0 = end of stream (socket to pipe only); -EAGAIN = nothing to read or no room; other -errno.
  virtual void splice(OpTag tag, Fd from, Fd to, std::size_t length) = 0;
  /// Completes once when the condition holds (hang-up and error always count); result: kPoll… bits, or -errno.
  /// PollFor::hangup (its tag's kind is `watch`, no other poll has that) completes at a reset, or when both directions
  /// have ended; neither data nor a FIN alone completes it. It may end by -ECANCELED without a cancel: arm it again.
  virtual void poll(OpTag tag, Fd fd, PollFor what) = 0;
  /// Multishot receive of datagrams into buffers of datagram_buffers(). Completions: result >= 0: bytes of payload in a
  /// buffer (now the caller's; received() tells the rest; may be final as well, and is after an empty datagram: arm
  /// again); -ENOBUFS (final: no buffer was at hand, nothing is lost); other -errno (final): an error of an earlier
  /// send, which take_error() tells more of. An error is told once, to the receive or to a send, whichever comes first.
  virtual void recv_datagrams(OpTag tag, Fd fd) = 0;
  /// Sends a message from an unconnected datagram socket, now or never. Result: bytes sent; -EAGAIN, -ENOBUFS: no room
  /// in the socket or in the device's queue, it is dropped; -EINVAL, -EIO, -EMSGSIZE: it is too large for the way, or
  /// this way takes no trains; -ECONNREFUSED and the like: an error of an earlier send was pending, this one was not
  /// sent. An -EMSGSIZE of a single datagram is kept for take_error() as well.
  virtual void send_datagrams(OpTag tag, Fd fd, const DatagramsToSend& message) = 0;
  /// Asks for the end of an operation in flight. Has no completion of its own; harmless when the target is gone.
  virtual void cancel(OpTag target) = 0;
  /// Closes; nothing may be in flight on `fd`. Has no completion. Takes effect before turn() waits.
  virtual void close(Fd fd, CloseMode mode) = 0;

  // ---- immediate verbs: cheap, never block ----

  /// A non-blocking stream socket of `remote`'s family, TCP_NODELAY set, bound to `source` (with
  /// IP_BIND_ADDRESS_NO_PORT when its port is 0) unless that is Family::none.
  virtual FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& source) = 0;
  /// Keepalive of a stream socket from open_stream(): 60 s idle, then every 10 s, 6 times; and TCP_USER_TIMEOUT of
  /// 120 s. Nothing on a unix socket. Accepted sockets inherit theirs from the listening socket.
  virtual void set_keepalive(Fd fd) = 0;
  /// Accepts a connection that waits; error: EAGAIN when there is none, or why not.
  virtual FdResult accept_now(Fd listener) = 0;
  /// Whether a listening socket takes no new connection any more: their first packets are dropped, as if it were busy,
  /// while those that are shaking hands come in. On a unix socket it has no effect.
  virtual void set_refusing(Fd listener, bool refusing) = 0;
  /// A non-blocking datagram socket.
  virtual FdResult open_datagram(const DatagramSocketOptions& options) = 0;
  /// What a completion of recv_datagrams with result >= 0 has brought; valid until the buffer is given back.
  virtual ReceivedDatagrams received(BufferId buffer) = 0;
  /// The next error that is kept for an unconnected datagram socket; empty when there is none. Take them all, whichever
  /// call hears of one: those that are left use up the socket's room for datagrams, and the next one is pending again.
  virtual std::optional<DatagramError> take_error(Fd fd) = 0;
  /// 0, or errno (EMFILE, ENFILE, …).
  virtual int open_pipe(Pipe& pipe) = 0;
  /// Sends FIN after what was sent before. 0 or errno (ENOTCONN is ordinary after a reset).
  virtual int shutdown_write(Fd fd) = 0;
  /// Bytes (and FIN) that the peer has not acknowledged yet; 0 when unknown.
  virtual std::uint32_t bytes_unsent(Fd fd) = 0;
  virtual ReceiveQueue receive_queue(Fd fd) = 0;
  /// Lets the peer of a TCP socket be so many bytes ahead of what is read from it, at least. A hint: the kernel has its
  /// own limits for it (net.ipv4.tcp_rmem), and it has no effect on other sockets.
  virtual void widen_window(Fd /*fd*/, std::uint32_t /*bytes*/) {}
  /// Also once it has ended, in whatever way, until it is closed.
  virtual TcpInfo tcp_info(Fd fd) = 0;
  /// Family::none when the peer is gone already.
  virtual net::Endpoint peer(Fd fd) = 0;
  virtual net::Endpoint local(Fd fd) = 0;
  virtual BufferGroup& buffers() = 0;
  /// For recv_datagrams; each holds any datagram whole, and any train.
  virtual BufferGroup& datagram_buffers() = 0;

  // ---- the loop ----

  /// Submits what is queued, waits until something completes, `deadline` passes or wake() is called, and returns a
  /// bounded batch, valid until the next call. May be empty. A deadline at or before now() means: do not wait.
  virtual std::span<const Completion> turn(Instant deadline) = 0;
  /// From now on a wait in turn() that began lasts at least this long, unless very many completions come: what comes
  /// meanwhile is handed back together. 0, as at the start: it ends with the first.
  virtual void set_gather_time(Nanos /*time*/) {}
  /// The time of the last turn().
  [[nodiscard]] virtual Instant now() const = 0;
  /// Ends a wait in turn(), now or the next one. The only member that other threads may call.
  virtual void wake() = 0;

  static constexpr std::size_t kMaxSlices = 8;
};

}  // namespace millrace::io
