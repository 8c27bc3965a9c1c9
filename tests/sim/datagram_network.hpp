#pragma once
// DatagramNetwork: the datagram sockets of the simulated machine, and the way between them and the world.
//
// Written after net/ipv4/udp.c, udp_offload.c, ip_output.c, ip_sockglue.c and net/core/skbuff.c (6.x), as far as a
// proxy can observe them:
//  - A full receive queue drops what comes; a datagram for which there is no socket is answered by an ICMP error.
//  - Of the sockets bound to one address with SO_REUSEPORT a hash of both addresses chooses; so a client stays at one.
//  - An ICMP error about a datagram of a socket that keeps errors (IP_RECVERR) does two things: it becomes the socket's
//    pending error, which ends the next receive or fails the next send (that datagram is not sent), once; and its
//    details wait in the error queue. Taking one from the queue makes the next one's error the pending one, or clears
//    it. A full queue loses the details, not the pending error. Other sockets never learn of it.
//  - A train to a socket on the same machine stays one: if that is not there, one error quotes all of its bytes.
//  - Datagrams of one way arrive in order, unless the reordering fault says otherwise.
//  - Equal-sized datagrams of one sender that wait one behind the other may be received as one train (UDP_GRO); the
//    last may be shorter. Empty ones never.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "context.hpp"
#include "millrace/io/io.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::sim {

using Payload = std::vector<std::byte>;

struct Datagram {
  net::IpEndpoint from;
  net::IpEndpoint to;
  Payload payload;
  std::uint32_t segment_bytes = 0;  // of a train that nobody has cut up on its way; else 0
};

/// Each datagram of a message; an empty one is one. `segment_bytes` 0: it is a single datagram.
template <class F>
void for_each_datagram(std::span<const std::byte> bytes, std::uint32_t segment_bytes, F&& visit) {
  const std::size_t step = segment_bytes == 0 ? std::max<std::size_t>(bytes.size(), 1) : segment_bytes;
  std::size_t offset = 0;
  do {
    visit(bytes.subspan(offset, std::min(step, bytes.size() - offset)));
    offset += step;
  } while (offset < bytes.size());
}
template <class F>
void for_each_datagram(const Datagram& train, F&& visit) {
  if (train.segment_bytes == 0) return visit(train);
  for_each_datagram(train.payload, train.segment_bytes, [&](std::span<const std::byte> bytes) {
    visit(Datagram{.from = train.from, .to = train.to, .payload = Payload(bytes.begin(), bytes.end())});
  });
}

/// What an ICMP message says about a datagram, or the kernel about one that it could not send.
struct DatagramFailure {
  int error = 0;
  net::IpEndpoint from;  // as in the datagram
  net::IpEndpoint to;
  Payload quote;        // the datagram's first bytes
  bool is_icmp = true;  // otherwise it is not an error of the socket, only in the error queue
};

/// One message as a receive hands it over: a datagram or a train.
struct Train {
  net::IpEndpoint from;
  net::IpEndpoint to;
  Payload bytes;
  std::uint32_t segment_bytes = 0;  // 0: a single datagram
};

/// Changed by DatagramNetwork only; kept until the end of the run.
struct DatagramSocket {
  int fd = -1;
  int worker = -1;            // whose listening socket; -1: unknown
  int listener = -1;          // its number in the configuration; -1: a socket towards backends
  net::IpEndpoint address;    // bound; perhaps a wildcard
  bool keeps_errors = false;  // IP_RECVERR
  std::size_t room = 0;       // bytes that the receive queue holds

  std::deque<Datagram> received;
  std::size_t received_bytes = 0;
  Instant waits_since{};  // the last time that one was taken, or came when there was none
  std::deque<DatagramFailure> errors;
  int error = 0;  // pending, told once
  bool closed = false;

  [[nodiscard]] bool readable() const { return error != 0 || !received.empty(); }
  /// A wildcard address: it must know which one to answer from (IP_PKTINFO).
  [[nodiscard]] bool tells_destination() const;
};

/// The way to an address in the world.
struct DatagramPath {
  std::uint32_t mtu = 1500;
  bool takes_trains = true;                  // otherwise sending one gives EIO
  bool keeps_trains = false;                 // it does not leave the machine, so nobody cuts them up
  std::uint32_t datagram_bytes_max = 65507;  // above that: EMSGSIZE
};

/// The world beyond the machine.
class DatagramRemote {
 public:
  virtual ~DatagramRemote() = default;
  virtual void arrives(const Datagram& datagram) = 0;
  [[nodiscard]] virtual DatagramPath path_to(const net::IpEndpoint& address) const = 0;
};

class DatagramNetwork {
 public:
  struct Options {
    std::vector<net::IpEndpoint> addresses;  // of this machine, without ports; the first of a family is its usual one
    std::uint16_t first_port = 32768;        // that the kernel hands out
    std::uint16_t ports = 28000;
    std::size_t receive_room = 200'000;  // of each socket's queue, in bytes with overhead
    std::size_t errors_max = 64;         // of each socket's error queue
    double merges = 0.5;                 // how often a datagram joins the train before it
  };
  /// What was lost on the way and how often; not the worker's fault.
  struct Losses {
    std::uint64_t on_the_way = 0;
    std::uint64_t queue_full = 0;
    std::uint64_t no_socket = 0;
  };

  static constexpr std::size_t kBytesMax = 65507;
  static constexpr std::size_t kOverhead = 256;  // what a datagram takes of a receive queue beside its bytes

  explicit DatagramNetwork(Context& context) : context_(context) {}

  Options options;
  DatagramRemote* remote = nullptr;
  std::function<void(int fd)> changed;  // something may have become possible on a socket

  // Sockets. Null when there is no port left, or somebody has that one.
  [[nodiscard]] DatagramSocket* bind(const net::IpEndpoint& address, bool shares_address);
  void close(DatagramSocket& socket);

  /// Bytes sent, or -errno. `from`: Family::none or an address of this machine.
  std::int64_t send(DatagramSocket& socket, const net::IpEndpoint& to, const net::IpEndpoint& from,
                    std::span<const std::byte> bytes, std::uint32_t segment_bytes);
  /// What a receive gets next; `socket.received` must not be empty.
  [[nodiscard]] Train take(DatagramSocket& socket);
  [[nodiscard]] std::optional<DatagramFailure> take_error(DatagramSocket& socket);

  /// Somebody in the world sends to this machine.
  void from_world(Datagram datagram);
  /// Somebody in the world says that a datagram of this machine has failed.
  void fail(DatagramFailure failure);

  [[nodiscard]] bool is_here(const net::IpEndpoint& address) const;
  /// One at which datagrams have waited for so long that nobody can be taking them; null when there is none.
  [[nodiscard]] const DatagramSocket* stuck(Nanos patience) const;
  [[nodiscard]] const Losses& losses() const { return losses_; }

 private:
  struct Way {
    net::IpEndpoint from;
    net::IpEndpoint to;
    friend bool operator==(const Way&, const Way&) = default;
  };
  struct WayHash {
    std::size_t operator()(const Way& way) const { return way.from.hash(way.to.hash(0)); }
  };
  using Sockets = std::vector<DatagramSocket*>;

  [[nodiscard]] std::uint16_t free_port();
  [[nodiscard]] static bool in_conflict(const net::IpEndpoint& a, const net::IpEndpoint& b);
  [[nodiscard]] int send_fault();
  [[nodiscard]] int refusal(const DatagramPath& path, std::size_t bytes, std::uint32_t segment_bytes) const;
  [[nodiscard]] net::IpEndpoint source_of(const DatagramSocket& socket, const net::IpEndpoint& from) const;
  [[nodiscard]] DatagramSocket* find(const net::IpEndpoint& to, const net::IpEndpoint& from) const;
  void carry(Datagram datagram, bool to_world);
  void carry_once(const Datagram& datagram, bool to_world);
  void deliver(const Datagram& datagram);
  void failure_arrives(const DatagramFailure& failure);
  [[nodiscard]] static bool joins(const Train& train, const Datagram& next);

  Context& context_;
  std::vector<std::unique_ptr<DatagramSocket>> sockets_;
  std::unordered_map<std::uint16_t, Sockets> by_port_;  // the open ones
  std::unordered_map<Way, Instant, WayHash> last_arrival_;
  Losses losses_;
};

}  // namespace millrace::sim
