#pragma once
// Network: connections between two ends, with the semantics of Linux TCP sockets that a proxy can observe.
//
// Written after net/ipv4/tcp.c and tcp_input.c (6.x):
//  - Bytes go from a bounded send queue to the peer's bounded receive queue, in pieces and after a latency.
//  - A reset is an error that is told once: to the first read or write that meets it. Later writes give EPIPE, later
//    reads 0. Bytes that arrived before it can still be read first.
//  - The error is ECONNRESET, or EPIPE when the peer's FIN had come first and ours was not sent (tcp_reset()). A read
//    after that FIN gives 0 and leaves the error where it is (SOCK_DONE).
//  - Closing with unread bytes sends RST and drops what is unsent. Closing otherwise sends FIN, and what is unsent is
//    still delivered, unless bytes arrive for the closed end: these are answered by RST, and the rest is lost.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "byte_queue.hpp"
#include "context.hpp"
#include "millrace/io/io.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::sim {

struct Socket;

/// Whoever holds an end of a connection: an Io, or a scripted peer.
class Watcher {
 public:
  virtual ~Watcher() = default;
  /// Something may have become possible, or an error is pending.
  virtual void socket_changed(Socket& socket) = 0;
};

struct QueueSizes {
  std::uint32_t send = 4096;
  std::uint32_t receive = 4096;
};

/// One end of a connection. Changed by Network only; kept until the end of the run.
struct Socket {
  std::uint32_t id = 0;
  Socket* peer = nullptr;      // null until the connection stands
  Watcher* watcher = nullptr;  // null once closed
  int holder = -1;             // index of the scripted peer that holds this end; -1: the proxy
  int fd = -1;                 // of the proxy's end
  net::Endpoint local;
  net::Endpoint remote;
  QueueSizes capacity;

  ByteQueue received;
  ByteQueue unsent;               // taken from the writer; not in the peer's receive queue yet
  int error = 0;                  // pending, told once
  std::uint32_t unsent_lost = 0;  // what SIOCOUTQ goes on to show after a reset

  std::uint64_t bytes_arrived = 0;  // sums over the life of this end
  std::uint64_t bytes_read = 0;
  std::uint64_t bytes_written = 0;

  Instant last_arrival;        // of bytes or FIN
  bool closed = false;         // by its holder
  bool dead = false;           // reset by either end: nothing is sent or arrives any more
  bool fin_queued = false;     // by shutdown or close
  bool fin_delivered = false;  // it has arrived at the peer
  bool fin_arrived = false;    // the peer's has arrived here
  bool reset_arrived = false;  // the peer's RST, or the failure of the link
  bool link_failed = false;
  bool delivery_due = false;
  bool held_back = false;  // what is unsent waits for more, or for FIN

  [[nodiscard]] std::size_t room_to_send() const {
    return capacity.send > unsent.size() ? capacity.send - unsent.size() : 0;
  }
  [[nodiscard]] std::size_t room_to_receive() const {
    return capacity.receive > received.size() ? capacity.receive - received.size() : 0;
  }
  [[nodiscard]] bool readable() const;
  [[nodiscard]] bool writable() const;
  [[nodiscard]] bool hung_up() const { return dead || (fin_arrived && fin_queued); }
};

class Network {
 public:
  explicit Network(Context& context) : context_(context) {}

  [[nodiscard]] Socket& create(const QueueSizes& capacity);
  void establish(Socket& a, Socket& b);

  /// Bytes read; 0: end of stream; -EAGAIN; or the pending error, which is told by this.
  std::int64_t read(Socket& socket, std::span<std::byte> into);
  /// Bytes taken; -EAGAIN; or the pending error; or -EPIPE.
  std::int64_t write(Socket& socket, std::span<const std::byte> bytes);
  /// MSG_MORE: what was written last does not leave before more is written, or FIN. The kernel would send whole
  /// segments, and after a while the rest; who relies on that is found out here.
  static void hold_back(Socket& socket) { socket.held_back = true; }
  /// 0 or ENOTCONN.
  int shutdown_write(Socket& socket);
  void close(Socket& socket, io::CloseMode mode);
  /// Both ends find that the other does not answer any more.
  void fail_link(Socket& socket);
  /// What SIOCOUTQ tells.
  [[nodiscard]] static std::uint32_t bytes_unsent(const Socket& socket);

 private:
  void schedule_delivery(Socket& from);
  void deliver(Socket& from);
  void deliver_bytes(Socket& from);
  void abort(Socket& socket);
  void send_reset(Socket& to, int error);
  void reset_arrives(Socket& socket, int error);
  static void kill(Socket& socket);
  static void tell(Socket& socket);

  Context& context_;
  std::vector<std::unique_ptr<Socket>> sockets_;
};

}  // namespace millrace::sim
