#pragma once
// DatagramOracle: knows what a proxy owes those who talk by datagrams, and watches each one.
//
// Of every datagram: what leaves has come, unchanged, as often as it has come (once more for each time that ICMP has
// brought it back); a client only gets what a backend has said to it, from the address that it had used; order is kept
// within a session and a length. Of sessions: one keeps its place (an upstream socket and a backend) unless there is a
// reason to leave it; a place has one session at a time and rests in between; a backend that is not up gets nothing
// while another one is.
//
// What the worker knows, the oracle finds out by itself: when a session must have ended, and when it may have. Where it
// cannot tell, it does not complain.

#include <array>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "context.hpp"
#include "datagram_network.hpp"
#include "datagram_note.hpp"
#include "millrace/pool/backend_table.hpp"
#include "sim_io.hpp"

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

/// What the observer of the Io has counted; the workers' counters must agree.
struct DatagramTotals {
  std::uint64_t messages_in = 0;
  std::uint64_t messages_out = 0;
  std::uint64_t from_clients = 0;
  std::uint64_t to_backends = 0;
  std::uint64_t from_backends = 0;
  std::uint64_t to_clients = 0;
  std::uint64_t returned = 0;  // by ICMP, whole
};

class DatagramOracle final : public DatagramObserver {
 public:
  DatagramOracle(Context& context, DatagramRules rules, const pool::BackendTable& table);

  // What it has to ask the workers for.
  std::function<std::uint64_t()> evictions;          // so far
  std::function<bool(int worker)> short_of_sockets;  // as many upstream sockets as it may have
  bool stopping = false;                             // sessions end for no reason of their own

  // From peers. The number that a datagram is to carry:
  [[nodiscard]] std::uint32_t add_client(const net::IpEndpoint& address, const std::vector<net::IpEndpoint>& uses);
  [[nodiscard]] std::uint32_t request_leaves(std::uint32_t client, const net::IpEndpoint& to, std::uint32_t length);
  [[nodiscard]] std::uint32_t reply_leaves(const Note& request, std::uint32_t length, bool from_stranger);
  void request_arrives(const Datagram& datagram);
  void reply_arrives(std::uint32_t client, const Datagram& datagram);

  // From the Io.
  void handed_over(int worker, const DatagramSocket& socket, const io::ReceivedDatagrams& message) override;
  void sending(int worker, const DatagramSocket& socket, const io::DatagramsToSend& message) override;
  void sent(int worker, const DatagramSocket& socket, const io::DatagramsToSend& message,
            std::span<const std::byte> bytes, std::int32_t result) override;
  void error_taken(int worker, const DatagramSocket& socket, const io::DatagramError& error) override;
  void socket_refused(int worker) override;

  [[nodiscard]] const DatagramTotals& totals() const { return totals_; }
  /// At the end of a run without any trouble: everything has arrived, once.
  void settle_calm() const;
  /// At the end of a run whose only trouble are backends that die and say so: every request that is quoted whole has
  /// reached one.
  void settle_deaths() const;

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  static constexpr Nanos kRest = std::chrono::seconds(2);       // of a place
  static constexpr Nanos kLookAgain = std::chrono::seconds(1);  // of a session that has found no backend that is up
  static constexpr std::size_t kQuotedWhole = 500;              // bytes

  using Pool = std::vector<DatagramRules::Backend>;
  struct Client {
    net::IpEndpoint address;
    std::vector<std::uint32_t> uses;  // indices into addresses_
  };
  using SessionKey = std::pair<std::uint32_t, std::uint32_t>;  // client, local address
  struct AddressLess {
    bool operator()(const net::IpEndpoint& a, const net::IpEndpoint& b) const {
      return std::memcmp(&a, &b, sizeof a) < 0;  // it has no padding
    }
  };
  template <class T>
  using ByAddress = std::map<net::IpEndpoint, T, AddressLess>;
  struct Place {
    std::optional<SessionKey> owner;
    std::set<std::uint32_t> former;  // clients
    Instant last_activity{};
    Instant disturbed_at{};  // a reply or an error has come by it, last
  };
  struct Session {
    Place* place = nullptr;  // null: unknown
    std::uint32_t backend = 0;
    Instant started{};
    Instant last_activity{};
    std::uint64_t requests = 0;
    std::uint64_t replies = 0;
    Instant moved{};  // the pass in which it took its place
    Instant pass{};   // the last one that brought requests
    // Requests that it is sure to have had when `evictions_then` had been evicted: one of two or more is safe.
    std::uint64_t sure = 0;
    std::uint64_t evictions_then = 0;
    std::uint64_t nameless = 0;  // … of these, those that do not say whose they are
    bool ever_nameless = false;
    bool unsent = false;        // none of that pass's requests has been sent yet
    bool over = true;           // all its replies have come
    bool may_leave = false;     // something has happened that is a reason to
    Instant may_leave_now{};    // likewise, for this pass only
    bool uncertain = false;     // it may be a newer one than it seems
    Instant tolerated_until{};  // its backend is not up, but none was
  };
  /// A datagram that says its number.
  struct Known {
    NoteKind kind = NoteKind::request;
    std::uint32_t client = kNone;
    std::uint32_t address = kNone;  // the local one: used by the request, owed by the reply
    std::uint32_t length = 0;
    std::uint32_t handed = 0;
    std::uint32_t returned = 0;
    std::uint32_t forwarded = 0;
    std::uint32_t arrived = 0;
    std::uint64_t order = 0;           // of its first hand-over
    const Place* place = nullptr;      // reply: that it has come by
    const Place* failed_by = nullptr;  // request: the last one by which a send of it has failed
    bool from_stranger = false;
    bool troubled = false;  // a send of it has failed, or it has come back
  };
  struct Tally {               // of those that do not
    std::uint64_t handed = 0;  // and returned
    std::uint64_t forwarded = 0;
    std::uint64_t left = 0;  // their senders
    std::uint64_t arrived = 0;
    const Place* place = nullptr;            // that the last one has come by
    std::map<const Place*, int> troubled{};  // by which sends have failed; of how many it has not been seen again

    bool take_troubled(const Place& by) {
      const auto found = troubled.find(&by);
      if (found == troubled.end() || found->second == 0) return false;
      --found->second;
      return true;
    }
  };

  [[nodiscard]] std::uint32_t address_index(const net::IpEndpoint& address) const;
  [[nodiscard]] const DatagramRules::Listener& listener_of(std::uint32_t address) const;
  [[nodiscard]] Known* known(const Note& note);
  [[nodiscard]] Tally& tally(const Note& note) { return tallies_[{note.kind, note.client}]; }
  [[nodiscard]] Note read(std::span<const std::byte> bytes, const char* where) const;
  [[nodiscard]] std::uint32_t add_known(Known datagram);

  void count_handed(const Note& note, const Place* place);
  void count_forwarded(const Note& note);
  void check_order(const Known& datagram);

  void requests_handed(SessionKey key, std::uint64_t datagrams, std::uint64_t nameless);
  void note_evictions(Session& session);
  [[nodiscard]] bool may_be_evicted(const Session& session) const;
  void replies_handed(Place& place, std::uint64_t datagrams);
  void check_request(int worker, const DatagramSocket& socket, const net::IpEndpoint& to, const Note& note);
  void check_reply(const DatagramSocket& socket, const io::DatagramsToSend& message, const Note& note);
  void check_nameless(Place& place, const Note& note);
  void take_place(int worker, Place& place, SessionKey key);
  void move(Session& session, Place& place, std::uint32_t backend, SessionKey key);
  void check_health(Session& session, const Pool& pool, const Known* datagram) const;
  [[nodiscard]] bool tolerate(Session& session, const Pool& pool) const;
  [[nodiscard]] bool is_up(const DatagramRules::Backend& backend) const;
  [[nodiscard]] bool may_have_left(const Session& session, SessionKey key) const;
  [[nodiscard]] bool is_late(const Note& reply);
  [[nodiscard]] std::optional<std::uint32_t> address_used(const Note& note);
  [[nodiscard]] std::string describe(SessionKey key) const;
  [[nodiscard]] Place& place_of(const DatagramSocket& socket, const net::IpEndpoint& backend);

  Context& context_;
  DatagramRules rules_;
  const pool::BackendTable& table_;
  std::vector<net::IpEndpoint> addresses_;  // of all listeners
  std::vector<std::uint32_t> listener_by_address_;
  std::vector<Client> clients_;
  ByAddress<std::uint32_t> client_by_address_;
  std::deque<Known> known_;
  std::map<std::pair<NoteKind, std::uint32_t>, Tally> tallies_;
  std::map<SessionKey, Session> sessions_;
  ByAddress<ByAddress<Place>> places_;                                // by upstream socket and backend
  std::map<std::array<std::uint32_t, 4>, std::uint64_t> last_order_;  // kind, client, address, length
  std::map<int, Instant> refused_at_;                                 // by worker: no socket could be opened
  std::uint64_t order_ = 0;
  DatagramTotals totals_;
};

}  // namespace millrace::sim
