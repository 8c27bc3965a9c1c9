#pragma once
// UdpSession and SessionTable: who talks to which backend over UDP, on one worker.
//
// A session is the association of a client with a backend: it begins with the first datagram of a client, and ends when
// it has been idle, when its replies have come, or when it is evicted. It owns nothing: neither sockets nor buffers.
// It is found in two ways: by the client (a datagram from it has come), and by the place that it has towards its
// backend (a reply has come): an upstream socket and the backend's address.
//
// Sessions of a listener stand in two queues, each in the order of their last activity as far as it is known:
//   fresh    the client has sent one datagram so far
//   settled  it has sent more
// Activity only moves a time stamp; a session is moved to its rightful place when it comes to the front (as CLOCK does
// for pages). So neither activity nor idle time costs a timer, and expiry and eviction look at the front only.
// Eviction takes fresh sessions only: a flood of clients that send one datagram each evicts itself.
//
// Hash tables with chains through the sessions (no rehashing, hence no pause). Fixed size; never allocates after
// construction. Pure: no clock, no I/O. One thread.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "millrace/base/slab.hpp"
#include "millrace/base/time.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::flow {

/// What tells clients apart. `local` is Family::none on sockets that have one address only.
struct ClientKey {
  net::IpEndpoint client;
  net::IpEndpoint local;
  std::uint32_t socket = 0;  // the listening socket, by the worker's number

  friend bool operator==(const ClientKey&, const ClientKey&) = default;
};

struct UdpSession {
  static constexpr std::uint32_t kNone = 0xffffffffU;

  /// The last small messages towards the backend, by which the quote of an ICMP error is known to be a whole one: not
  /// cut, and this session's.
  class SentMessages {
   public:
    /// `segment_bytes`: of each datagram of a train; 0: a single datagram. `hash`: of all its bytes.
    void add(std::uint64_t hash, std::uint32_t segment_bytes) {
      messages_[next_] = {.hash = static_cast<std::uint32_t>(hash),
                          .segment_bytes = static_cast<std::uint16_t>(segment_bytes)};
      next_ = static_cast<std::uint8_t>((next_ + 1U) % messages_.size());
      if (known_ < messages_.size()) ++known_;
    }
    /// The segment_bytes of a message with this hash; empty when there was none.
    [[nodiscard]] std::optional<std::uint32_t> segment_bytes(std::uint64_t hash) const {
      for (std::size_t i = 0; i < known_; ++i) {
        if (messages_[i].hash == static_cast<std::uint32_t>(hash)) return messages_[i].segment_bytes;
      }
      return std::nullopt;
    }

   private:
    struct Message {
      std::uint32_t hash = 0;
      std::uint16_t segment_bytes = 0;
    };
    std::array<Message, 16> messages_{};
    std::uint8_t next_ = 0;
    std::uint8_t known_ = 0;
  };

  UdpSession(SlotId slot, const ClientKey& of, std::uint32_t of_listener, Instant now)
      : id(slot), key(of), listener(of_listener), started(now), last_activity(now) {}

  [[nodiscard]] bool routed() const { return upstream != kNone; }

  SlotId id;
  ClientKey key;
  std::uint32_t listener;

  // Where it leads; changed by SessionTable::route() and unroute().
  std::uint32_t upstream = kNone;  // number of its upstream socket; kNone while it has no backend
  net::IpEndpoint backend_address;
  // The caller's numbers: which backend it is, and (picked) the same as an index into a version of its pool. Meaningful
  // while routed, and after a failure.
  std::uint32_t backend = 0;
  std::uint32_t pool_version = 0;
  // Of its upstream socket, and the place on it (UpstreamSockets). Meaningful while routed.
  std::uint32_t group = 0;
  std::uint32_t target = 0;
  std::uint32_t place = 0;

  Instant started;
  Instant last_activity;
  Instant look_again = Instant::min();  // the backend is not up and was chosen all the same: no other choice before

  std::uint64_t requests = 0;  // datagrams
  std::uint64_t replies = 0;
  std::uint64_t bytes_from_client = 0;
  std::uint64_t bytes_from_backend = 0;
  Instant first_reply = Instant::min();
  SentMessages sent_messages;
  std::uint64_t not_reached = 0;  // the backends that were not, since the last reply; bits of the caller's making
  std::uint16_t picked = 0;       // see pool_version
  std::uint8_t failures = 0;      // how many
  std::uint16_t attempts = 0;     // backends that it was led to, up to 65535
  bool failed = false;            // its backend was not reached: the next datagram goes to another
  bool awaits_reply = false;      // the client has sent something since the last reply

  /// The largest datagrams of which trains get through: to the backend, and to the client.
  std::array<std::uint16_t, 2> train_segment_max = {0xffff, 0xffff};
  std::array<std::uint32_t, 2> gathering = {0, 0};  // used by Outbox
  std::uint32_t source_hold = 0;                    // used by the worker: of the limits of its client's address

 private:
  friend class SessionTable;
  bool settled = false;
  Instant queued_for{};  // the last activity that its place in the queue stands for
  std::uint32_t next_by_client = kNone;
  std::uint32_t next_by_place = kNone;
  std::uint32_t older = kNone;
  std::uint32_t newer = kNone;
};

class SessionTable {
 public:
  /// `capacity` sessions at most; `seed` should be unknown to clients.
  SessionTable(std::uint32_t capacity, std::uint32_t listeners, std::uint64_t seed);
  SessionTable(const SessionTable&) = delete;
  SessionTable& operator=(const SessionTable&) = delete;
  /// There are so many listeners now; not fewer than before.
  void set_listeners(std::uint32_t listeners) { queues_.resize(listeners); }

  [[nodiscard]] UdpSession* find(const ClientKey& key);
  /// By the place of a reply.
  [[nodiscard]] UdpSession* find(std::uint32_t upstream, const net::IpEndpoint& backend);
  [[nodiscard]] UdpSession* find(SlotId id) { return slab_.find(id); }

  /// Null when the table is full. There must be no session with this key.
  [[nodiscard]] UdpSession* open(const ClientKey& key, std::uint32_t listener, Instant now);
  /// It must not be routed.
  void close(UdpSession& session);

  /// Gives a session its place; no other may have it.
  void route(UdpSession& session, std::uint32_t upstream, const net::IpEndpoint& backend);
  void unroute(UdpSession& session);

  /// `datagrams` came from the client.
  void note_request(UdpSession& session, std::uint64_t datagrams, Instant now);
  void note_reply(UdpSession& session, std::uint64_t datagrams, Instant now);

  /// A session of `listener` without activity since `now` - `idle_timeout`; null when none is found. The caller closes
  /// it. Looks at a bounded number of sessions; one may be found later than it is due, by up to as much again.
  [[nodiscard]] UdpSession* idle(std::uint32_t listener, Nanos idle_timeout, Instant now);
  /// The oldest fresh session of `listener`: the one to evict. Null when there is none.
  [[nodiscard]] UdpSession* evictable(std::uint32_t listener);
  /// A lower bound of when idle() will have an answer; kNever without sessions.
  [[nodiscard]] Instant next_idle(std::uint32_t listener, Nanos idle_timeout) const;

  /// The session in a slot, or null; below slots() there may be some.
  [[nodiscard]] UdpSession* in_slot(std::uint32_t index) { return slab_.find(index); }
  [[nodiscard]] std::uint32_t slots() const { return slab_.touched(); }
  [[nodiscard]] std::uint32_t size() const { return slab_.in_use(); }
  [[nodiscard]] std::uint32_t capacity() const { return slab_.capacity(); }
  /// Bytes that one session takes, its share of the tables included.
  [[nodiscard]] static constexpr std::size_t session_bytes() {
    return Slab<UdpSession>::slot_bytes() + 2 * sizeof(std::uint32_t);
  }
  template <class F>
  void for_each(F&& visit) {
    slab_.for_each(visit);
  }

 private:
  static constexpr std::uint32_t kNone = UdpSession::kNone;

  struct Queue {
    std::uint32_t front = kNone;
    std::uint32_t back = kNone;
  };
  struct Queues {
    Queue fresh;
    Queue settled;
  };

  [[nodiscard]] std::uint32_t& bucket(const ClientKey& key);
  [[nodiscard]] std::uint32_t& bucket(std::uint32_t upstream, const net::IpEndpoint& backend);
  [[nodiscard]] UdpSession& at(std::uint32_t index) { return *slab_.at(index); }
  [[nodiscard]] const UdpSession& at(std::uint32_t index) const { return *slab_.at(index); }
  [[nodiscard]] Queue& queue_of(const UdpSession& session);
  void push_back(UdpSession& session);
  void remove(UdpSession& session);
  [[nodiscard]] UdpSession* front(Queue& queue, std::uint32_t& looks);

  Slab<UdpSession> slab_;
  std::uint64_t seed_;
  std::uint32_t bucket_mask_;
  std::vector<std::uint32_t> by_client_;  // index of the first session of each chain
  std::vector<std::uint32_t> by_place_;
  std::vector<Queues> queues_;  // by listener
};

}  // namespace millrace::flow
