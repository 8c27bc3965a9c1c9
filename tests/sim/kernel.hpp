#pragma once
// Kernel: the descriptor table, pipes and listening sockets of the simulated machine; shared by all its workers.
//
// Descriptors are numbers that are never used twice, so any use of a stale one is caught. Everything that breaks the
// rules of a descriptor (closed twice, used after the close) ends the run as a violation of the contract of io::Io.

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "byte_queue.hpp"
#include "context.hpp"
#include "datagram_network.hpp"
#include "millrace/io/io.hpp"
#include "network.hpp"

namespace millrace::sim {

/// A pipe has a number of slots, each filled by one transfer; so one that holds few bytes may be full.
struct PipeState {
  static constexpr std::size_t kSlots = 16;
  std::uint32_t capacity = 4096;
  ByteQueue bytes;
  std::deque<std::size_t> slots;  // bytes in each; sums up to bytes.size()

  [[nodiscard]] std::size_t room() const {
    return slots.size() < kSlots && bytes.size() < capacity ? capacity - bytes.size() : 0;
  }
  void push(std::span<const std::byte> more);
  void drop(std::size_t count);
};

/// Whoever has operations on descriptors: a SimIo.
class FdUser {
 public:
  virtual ~FdUser() = default;
  /// An operation on it may be able to go on.
  virtual void fd_changed(io::Fd fd) = 0;
};

struct ListenerState {
  int fd = -1;
  net::Endpoint address;
  std::uint32_t backlog_max = 16;
  std::uint32_t index = 0;      // the listener's number in the configuration
  std::deque<Socket*> backlog;  // established, not yet accepted
  bool open = true;
  bool refusing = false;  // first packets are dropped
};

enum class FdKind : std::uint8_t { socket, listener, pipe_read, pipe_write, datagram };

struct Op;

struct Descriptor {
  FdKind kind = FdKind::socket;
  bool open = true;
  bool dirty = false;       // its operations are to be looked at
  bool look_later = false;  // … when an event says so
  Socket* socket = nullptr;
  ListenerState* listener = nullptr;
  PipeState* pipe = nullptr;
  DatagramSocket* datagram = nullptr;
  FdUser* user = nullptr;         // set by its first operation
  std::optional<int> connected;   // how its connect ended: 0 or errno
  std::vector<Op*> ops;           // not yet finished
  std::uint32_t undelivered = 0;  // operations whose final completion has not been handed back
};

/// The world beyond the machine: told of every connection attempt; answers with Kernel::connect_finished().
class Remote {
 public:
  virtual ~Remote() = default;
  virtual void connecting(Socket& socket, const net::Endpoint& remote) = 0;
};

class Kernel {
 public:
  explicit Kernel(Context& shared);

  // Descriptors.
  [[nodiscard]] bool out_of_descriptors() const;
  [[nodiscard]] io::Fd open_socket(Socket& socket);
  [[nodiscard]] io::Pipe open_pipe(std::uint32_t capacity);
  [[nodiscard]] io::Fd open_listener(const net::Endpoint& address, std::uint32_t backlog_max, std::uint32_t index);
  /// A socket that clients send to; `worker` has it.
  [[nodiscard]] io::Fd open_datagram_listener(const net::IpEndpoint& address, int worker, std::uint32_t index);
  /// An unconnected one towards backends; Fd::none when its address is in use or no port is left.
  [[nodiscard]] io::Fd open_datagram(const net::IpEndpoint& source, int worker);
  void close(io::Fd fd, io::CloseMode mode);
  [[nodiscard]] Descriptor& at(io::Fd fd);  // a violation when it is not open
  [[nodiscard]] Descriptor& at(io::Fd fd, FdKind kind);
  [[nodiscard]] bool is_open(io::Fd fd) const;
  [[nodiscard]] std::size_t open_descriptors() const { return open_; }
  /// "#104 socket, #105 pipe_read, …": what is open.
  [[nodiscard]] std::string describe_open() const;

  // Connections from outside.
  enum class Knock : std::uint8_t { accepted, refused, backlog_full };
  /// Connects `client` to one of the sockets that listen on `address`.
  Knock knock(Socket& client, const net::Endpoint& address, const QueueSizes& capacity);

  // Connections to outside.
  Remote* remote = nullptr;
  void connect_finished(Socket& socket, int error);  // 0 or errno

  Context& context;
  Network network;
  DatagramNetwork datagrams;

 private:
  static constexpr int kFirstFd = 100;
  io::Fd add(Descriptor descriptor);
  io::Fd add(DatagramSocket& socket, int worker);
  void tell_user(int fd);

  std::deque<Descriptor> table_;
  std::size_t open_ = 0;
  std::vector<std::unique_ptr<ListenerState>> listeners_;
  std::deque<PipeState> pipes_;
};

}  // namespace millrace::sim
