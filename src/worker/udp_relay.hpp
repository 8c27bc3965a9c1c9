#pragma once
// UdpRelay: what a worker does for UDP: its listening datagram sockets, its sessions, and its sockets towards backends.
//
// A datagram from a client finds or opens its session, and goes out by the session's upstream socket; a datagram from a
// backend finds its session by the socket and the address that it came from, and goes out by the listening socket. The
// worker calls end_of_pass() when all completions of a pass have been handled: only then is anything sent, so that
// datagrams of one session leave as trains.
//
// A session is led to another backend with its next datagram when its backend is not up any more, or was not reached:
// ICMP errors come by the upstream socket's error queue, which names the destination. When the error quotes a small
// datagram whole, that one is sent again to the new backend.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "access.hpp"
#include "access_records.hpp"
#include "millrace/base/rng.hpp"
#include "millrace/flow/outbox.hpp"
#include "millrace/flow/session_table.hpp"
#include "millrace/flow/upstream_sockets.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/admission.hpp"
#include "millrace/worker/counters.hpp"
#include "millrace/worker/worker.hpp"

namespace millrace::worker {

class UdpRelay {
 public:
  /// What it shares with the rest of the worker.
  struct Shared {
    io::Io& io;
    const std::shared_ptr<const pool::Snapshot>& snapshot;  // the worker's, which changes
    pool::BackendTable& table;
    Admission& admission;
    Access& access;
    AccessRecords& records;
    Pools& pools;
    ProbeRequests* probes;
    Counters& counters;
    Rng& rng;
  };

  UdpRelay(const Shared& shared, const WorkerOptions& options);
  ~UdpRelay();
  UdpRelay(const UdpRelay&) = delete;
  UdpRelay& operator=(const UdpRelay&) = delete;

  void add_socket(const ListenerSocket& socket);
  /// Begins to receive on all sockets that were added.
  void start();
  /// There is another snapshot.
  void adopt();
  /// Those that are not among `sockets` are to be closed: nothing more is received on them, and sessions that owe a
  /// reply have two seconds.
  void keep_sockets(std::span<const ListenerSocket> sockets, Instant now);
  /// One that was to be closed stays; false when it is closed.
  [[nodiscard]] bool keep_socket(io::Fd fd);
  [[nodiscard]] bool has_socket(io::Fd fd) const;
  void on_completion(const io::Completion& completion, Instant now);
  /// Whether it pays to let datagrams come together (kDatagramGatherTime).
  [[nodiscard]] bool gathering() const { return gathering_; }
  /// Ends idle sessions, and submits what the pass has gathered.
  void end_of_pass(Instant now);
  [[nodiscard]] Instant next_wake() const;

  /// No new sessions; those that owe a reply have until `deadline` (two seconds at most).
  void stop(Instant now, Instant deadline);
  void abort(flow::CloseReason reason);
  [[nodiscard]] bool finished() const;

  [[nodiscard]] flow::UdpSession* in_slot(std::uint32_t index) { return sessions_.in_slot(index); }
  [[nodiscard]] std::uint32_t slots() const { return sessions_.slots(); }
  /// False when the session is not there any more.
  [[nodiscard]] bool kill(SlotId id, Instant now);
  [[nodiscard]] std::uint32_t sessions() const { return sessions_.size(); }
  [[nodiscard]] std::uint32_t upstream_sockets() const { return upstreams_.open(); }

 private:
  struct ListeningSocket {
    io::Fd fd = io::Fd::none;  // none once closed
    std::uint32_t listener = 0;
    net::Endpoint address{};
    bool receiving = false;
    bool cancelling = false;
    std::uint32_t sends = 0;  // in flight
    bool started = false;
    Instant ends_at = kNever;  // set: it receives nothing any more; then its sessions end, and it is closed
  };
  /// The backends of a pool, as upstream sockets see them. Follows the pool: what is in use keeps its numbers.
  struct Route {
    struct Group {
      net::Endpoint source;
      std::uint32_t number = 0;  // of UpstreamSockets
      bool wanted = true;        // the pool has this source address now
    };
    std::vector<net::IpEndpoint> addresses;  // by target; those that no backend has are free once they are not used
    std::vector<std::uint32_t> targets;      // by backend; two with the same address are one target
    std::vector<Group> groups;               // one for each source address that the pool has had
    std::uint32_t next_group = 0;
    std::uint32_t version = 0;  // of the pool that it was made for; 0: none
  };
  /// A message that came back from an unreachable backend.
  struct Returned {
    SlotId session;
    io::BufferId buffer;
    std::uint32_t bytes;
    std::uint32_t segment_bytes;  // 0: a single datagram
  };
  /// A session that has left a place because its backend was not reached.
  struct Departure {
    std::uint32_t upstream = flow::UdpSession::kNone;
    net::IpEndpoint backend;
    SlotId session;
  };
  using Message = flow::Outbox::Message;

  [[nodiscard]] Route& route_of(std::uint32_t pool);
  void set_targets(Route& route, const pool::Pool& pool);
  [[nodiscard]] std::uint32_t target_for(Route& route, const net::IpEndpoint& address,
                                         std::span<const net::IpEndpoint> wanted);
  void set_groups(Route& route, const pool::Pool& pool);

  // From clients.
  void on_request(std::uint32_t number, const io::Completion& completion, Instant now);
  void forward_request(std::uint32_t number, io::BufferId buffer, Instant now);
  [[nodiscard]] flow::UdpSession* session_for(const flow::ClientKey& key, std::uint32_t listener, Instant now,
                                              Drop& problem);
  [[nodiscard]] flow::UdpSession* open(const flow::ClientKey& key, std::uint32_t listener, Instant now, Drop& problem);
  [[nodiscard]] bool admit(std::uint32_t listener, Instant now);
  [[nodiscard]] bool over(const flow::UdpSession& session, Instant now, flow::CloseReason& reason) const;
  void end(flow::UdpSession& session, flow::CloseReason reason, Instant now);
  void close(flow::UdpSession& session, flow::CloseReason reason, Instant now);
  void log_end(const flow::UdpSession& session, flow::CloseReason reason);

  // The way to a backend.
  [[nodiscard]] std::optional<Drop> ensure_routed(flow::UdpSession& session, Instant now);
  [[nodiscard]] std::optional<Drop> route(flow::UdpSession& session, Instant now);
  void unroute(flow::UdpSession& session, Instant now);
  [[nodiscard]] flow::UpstreamSockets::Taken take_place(const flow::UdpSession& session, std::uint32_t group,
                                                        std::uint32_t target, Instant now);
  [[nodiscard]] static std::optional<std::uint32_t> group_for(Route& route, net::Family family);
  [[nodiscard]] static bool follow_pool(flow::UdpSession& session, const PoolInUse& in_use);
  [[nodiscard]] flow::Way way_to_backend(const flow::UdpSession& session) const;
  [[nodiscard]] flow::Way way_to_client(const flow::UdpSession& session) const;

  // From backends.
  void on_reply(std::uint32_t upstream, const io::Completion& completion, Instant now);
  void forward_reply(std::uint32_t upstream, io::BufferId buffer, Instant now);
  void take_errors(std::uint32_t upstream, Instant now);
  void collect_errors(std::uint32_t upstream);
  void note_failure(flow::UdpSession& session);
  void note_departure(const flow::UdpSession& session);
  [[nodiscard]] Departure& departure(std::uint32_t upstream, const net::IpEndpoint& backend);
  void keep_returned(const flow::UdpSession& session, std::span<const std::byte> quote);
  void resend_returned(Instant now);

  // Sends.
  void on_sent(const io::Completion& completion, Instant now);
  void on_send_failed(Message& message, int error, Instant now);
  void on_not_reached(Message& message, Instant now);
  void give_up(Message& message, Drop reason);
  void drop(io::BufferId buffer, std::uint64_t datagrams, Drop reason);
  void count_drop(Drop reason, std::uint64_t datagrams);
  void count_refusal(std::uint32_t listener, Refusal refusal);
  void flush();
  void adapt_gathering(Instant now);
  void note_sent(flow::UdpSession& session, const Message& message);

  [[nodiscard]] BackendCounters& counters_of(const flow::UdpSession& session);
  void arm(std::uint32_t socket);
  void close_when_idle(ListeningSocket& socket);
  void end_idle(Instant now);
  void end_sockets(Instant now);
  void note_listener(std::uint32_t listener);
  void close_sockets();
  [[nodiscard]] const pool::Listener& listener_of(std::uint32_t index) const {
    return shared_.snapshot->listeners[index];
  }
  [[nodiscard]] PoolInUse& pool_of(std::uint32_t listener);

  Shared shared_;
  io::Io& io_;
  UdpCounters& counters_;
  std::vector<ListeningSocket> sockets_;
  std::vector<std::uint32_t> listeners_;  // those that have, or had, a socket here
  std::vector<Route> routes_;             // by pool
  std::optional<std::uint32_t> ending_;   // the socket whose sessions are ended now
  std::uint32_t ended_next_ = 0;          // the session slot that goes on with
  flow::SessionTable sessions_;
  flow::UpstreamSockets upstreams_;
  flow::Outbox outbox_;
  std::vector<Returned> returned_;
  std::vector<Departure> departures_;   // by hash of the place; a later one takes the slot
  std::vector<std::uint32_t> starved_;  // listening sockets whose receive ended for lack of buffers
  // Of the present window, to see whether gathering pays.
  Instant window_began_{};
  std::uint64_t window_datagrams_ = 0;
  std::uint64_t window_messages_ = 0;
  bool gathering_ = false;
  Instant wake_at_ = kNever;  // for upstream sockets that are to be closed
  Instant stop_at_ = kNever;
  bool stopping_ = false;
};

}  // namespace millrace::worker
