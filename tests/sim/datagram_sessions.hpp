#pragma once
// DatagramSessions: the sessions of the workers and the places that they have, as they can be told from outside.
//
// A place is an upstream socket as seen by one backend. A session keeps its place unless there is a reason to leave it;
// a place has one session at a time, and rests in between; a backend that is not up gets nothing while another one is.
//
// What the worker knows is found out from what it gets and what it sends: when a session must have ended, and when it
// may have (it has been evicted, its backend was not reached, …). Where that cannot be told, nothing is complained of.
// Everything that a worker gets in one pass is told before anything that it sends in that pass.

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "context.hpp"
#include "millrace/net/ip_endpoint.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::sim {

/// What the configuration promises.
struct DatagramRules {
  struct Listener {
    std::vector<net::IpEndpoint> addresses;  // that clients may use
    std::uint32_t pool = 0;
    Nanos idle_timeout{};
    Nanos max_duration{};
    std::uint32_t responses = 0;
  };
  struct Backend {
    net::IpEndpoint address;
    pool::BackendId id{};
    std::uint32_t weight = 1;
  };
  std::vector<Listener> listeners;
  std::vector<std::vector<Backend>> pools;
};

struct AddressLess {
  bool operator()(const net::IpEndpoint& a, const net::IpEndpoint& b) const {
    return std::memcmp(&a, &b, sizeof a) < 0;  // it has no padding
  }
};
template <class T>
using ByAddress = std::map<net::IpEndpoint, T, AddressLess>;

class DatagramSessions {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  /// A client, and the local address that it uses, by their numbers.
  struct Key {
    std::uint32_t client = kNone;
    std::uint32_t address = kNone;
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Place {
    std::optional<Key> owner;
    std::set<std::uint32_t> former;  // clients
    Instant last_activity{};
    Instant disturbed_at{};  // a reply or an error has come by it, last
  };

  DatagramSessions(Context& context, DatagramRules rules, const pool::BackendTable& table);

  // What has to be asked of the workers.
  std::function<std::uint64_t()> evictions;          // so far
  std::function<bool(int worker)> short_of_sockets;  // it has as many upstream sockets as it may have
  bool stopping = false;                             // sessions end for no reason of their own

  /// kNone when it is no listener's.
  [[nodiscard]] std::uint32_t address_number(const net::IpEndpoint& address) const;
  [[nodiscard]] Place& place(const net::IpEndpoint& socket, const net::IpEndpoint& backend) {
    return places_[socket][backend];
  }
  [[nodiscard]] std::string describe(const Key& key) const;

  // What a worker gets. `nameless`: those that do not say whose they are.
  void requests_come(const Key& key, std::uint64_t datagrams, std::uint64_t nameless);
  void replies_come(Place& place, std::uint64_t datagrams);
  void error_comes(Place& place);
  void send_fails(Place& place);
  void socket_refused(int worker);

  // What it sends.
  struct Sent {
    int worker = 0;
    net::IpEndpoint backend;
    bool again = false;  // a send of it has failed before, or it has come back
  };
  void request_leaves(Place& place, const Key& key, const Sent& sent);
  /// `client` may be kNone.
  void nameless_leaves(Place& place, std::uint32_t client);

  /// The session's place is another one by now, and nobody else has this one.
  [[nodiscard]] bool has_moved_on(const Place& place, const Key& key);
  /// What comes by `place` for this client may belong to a session that is there no more; another one may have it.
  [[nodiscard]] bool is_late(const Place& place, std::uint32_t client);

 private:
  static constexpr Nanos kRest = std::chrono::seconds(2);       // of a place
  static constexpr Nanos kLookAgain = std::chrono::seconds(1);  // of a session that has found no backend that is up

  using Pool = std::vector<DatagramRules::Backend>;
  struct Session {
    Place* place = nullptr;     // null: unknown
    std::uint32_t backend = 0;  // in its pool
    Instant started{};
    Instant last_activity{};
    Instant moved{};  // the pass in which it took its place
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;

    // The last pass that brought requests.
    Instant pass{};
    std::uint64_t nameless = 0;  // of its requests
    bool unsent = false;         // none of them has been sent yet
    // Requests that it is sure to have had when `evictions_then` had been evicted: one of two or more is safe.
    std::uint64_t sure = 0;
    std::uint64_t evictions_then = 0;

    bool over = true;         // all its replies have come
    bool may_leave = false;   // something has happened that is a reason to
    Instant may_leave_now{};  // likewise, for this pass only
    bool uncertain = false;   // it may be a newer one than it seems
    bool ever_nameless = false;
    Instant tolerated_until{};  // its backend is not up, but none was
  };

  [[nodiscard]] const DatagramRules::Listener& rules_of(const Key& key) const;
  [[nodiscard]] const Pool& pool_of(const Key& key) const { return rules_.pools[rules_of(key).pool]; }
  [[nodiscard]] std::uint32_t backend_index(const Key& key, const net::IpEndpoint& address) const;
  void begin_pass(Session& session);
  void take(Place& place, const Key& key, int worker);
  void move(Session& session, Place& place, const Key& key, std::uint32_t backend);
  void check_health(Session& session, const Pool& pool, bool again) const;
  [[nodiscard]] bool tolerate(Session& session, const Pool& pool) const;
  [[nodiscard]] bool is_up(const DatagramRules::Backend& backend) const;
  [[nodiscard]] bool is_short(int worker) const;
  [[nodiscard]] bool may_be_evicted(const Session& session) const;
  [[nodiscard]] bool may_have_left(const Session& session, const Key& key) const;

  Context& context_;
  DatagramRules rules_;
  const pool::BackendTable& table_;
  std::vector<net::IpEndpoint> addresses_;  // of all listeners
  std::vector<std::uint32_t> listener_by_address_;
  std::map<Key, Session> sessions_;
  ByAddress<ByAddress<Place>> places_;  // by upstream socket and backend
  std::map<int, Instant> refused_at_;   // by worker: no socket could be opened
};

}  // namespace millrace::sim
