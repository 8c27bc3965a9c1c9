#pragma once
// DatagramOracle: knows what a proxy owes those who talk by datagrams, and watches each one.
//
// What leaves has come, unchanged, as often as it has come (once more for each time that ICMP has brought it back); a
// client only gets what a backend has said to it, from the address that it had used; order is kept within a session and
// a length. What sessions owe is watched by DatagramSessions.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "context.hpp"
#include "datagram_network.hpp"
#include "datagram_note.hpp"
#include "datagram_sessions.hpp"
#include "sim_io.hpp"

namespace millrace::sim {

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
  DatagramOracle(Context& context, DatagramSessions& sessions) : context_(context), sessions_(sessions) {}

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
  /// reached one. `trains_kept`: long trains are not quoted whole.
  void settle_deaths(bool trains_kept) const;

 private:
  static constexpr std::uint32_t kNone = DatagramSessions::kNone;
  static constexpr std::size_t kQuotedWhole = 500;  // bytes

  using Place = DatagramSessions::Place;
  struct Client {
    net::IpEndpoint address;
    std::vector<std::uint32_t> uses;  // local addresses, by their numbers
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
    bool in_long_train = false;
    bool troubled = false;  // a send of it has failed, or it has come back
  };
  struct Tally {               // of those that do not
    std::uint64_t handed = 0;  // and returned
    std::uint64_t forwarded = 0;
    std::uint64_t left = 0;  // their senders
    std::uint64_t arrived = 0;
    std::set<const Place*> places{};         // that they have come by
    std::map<const Place*, int> troubled{};  // by which sends have failed; of how many it has not been seen again

    bool take_troubled(const Place& by) {
      const auto found = troubled.find(&by);
      if (found == troubled.end() || found->second == 0) return false;
      --found->second;
      return true;
    }
  };

  [[nodiscard]] Known* known(const Note& note);
  [[nodiscard]] Tally& tally(const Note& note) { return tallies_[{note.kind, note.client}]; }
  [[nodiscard]] Note read(std::span<const std::byte> bytes, const char* where) const;
  [[nodiscard]] std::uint32_t add_known(Known datagram);
  [[nodiscard]] std::optional<std::uint32_t> address_used(const Note& note);
  [[nodiscard]] std::optional<DatagramSessions::Key> session_of(const Note& note);

  void count_handed(const Note& note, const Place* place);
  void count_forwarded(const Note& note);
  void count_returned(std::span<const std::byte> bytes);
  void check_order(const Known& datagram);
  void check_request(int worker, const DatagramSocket& socket, const net::IpEndpoint& to, const Note& note);
  [[nodiscard]] bool failed_by(const Place& place, const Note& note);
  void check_reply(const DatagramSocket& socket, const io::DatagramsToSend& message, const Note& note);
  [[nodiscard]] bool is_late(const Note& reply);

  Context& context_;
  DatagramSessions& sessions_;
  std::vector<Client> clients_;
  ByAddress<std::uint32_t> client_by_address_;
  std::deque<Known> known_;
  std::map<std::pair<NoteKind, std::uint32_t>, Tally> tallies_;
  std::map<std::array<std::uint32_t, 4>, std::uint64_t> last_order_;  // kind, client, address, length
  std::map<std::uint64_t, std::uint32_t> trains_;  // small ones sent to backends: by hash, segment_bytes
  std::uint64_t order_ = 0;
  DatagramTotals totals_;
};

}  // namespace millrace::sim
