#pragma once
// Oracle: knows what a proxy owes its peers, and watches.
//
// At once: every received byte is the right one of the right flow; a FIN comes only after a FIN from the other side and
// all its bytes; no limit of connections is exceeded; a flow holds a bounded number of bytes.
// At the end (settle()): whoever kept to the rules got everything. Flows that a timeout or a stop ended are excused,
// each one only as often as the workers' counters admit it.
//
// Which client and which backend connection belong together is learned from the tags of the operations on them, and
// must agree with what the peers learn from the bytes.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "context.hpp"
#include "peer.hpp"
#include "sim_io.hpp"

namespace millrace::sim {

struct Limits {
  struct Of {
    net::Endpoint address;
    std::uint32_t connections;  // 0: no limit
  };
  std::uint32_t connections = 0;
  std::vector<Of> listeners;
  std::vector<Of> backends;
  std::uint64_t held_bytes = 0;  // by one flow in one direction
};

/// What the workers say about how flows ended.
struct Excuses {
  std::uint64_t cut_short = 0;  // by a timeout, a drain, a kill: paired or not
  std::uint64_t refused = 0;    // never paired
};

class Oracle {
 public:
  Oracle(Context& context, Limits limits);

  void watch(Peer& peer);
  [[nodiscard]] SimIo::Hooks hooks(int worker);
  /// Set when a flow may end by a timeout: then a FIN without a FIN is judged in settle().
  bool timeouts_possible = false;

  // From peers.
  void received(const Peer& by, std::uint64_t header, std::uint64_t offset, std::span<const std::byte> bytes);
  void end_of_stream(const Peer& seen_by);
  void error(const Peer& seen_by);

  /// Before everybody comes to an end: nobody may have waited for long for what the proxy has received.
  void check_nobody_waits() const;
  /// After the end: `excuses` from the counters; `all_served`: every graceful client must have got a backend.
  void settle(const Excuses& excuses, bool all_served) const;

 private:
  struct Flow {
    Socket* client = nullptr;       // the proxy's ends
    Socket* backend = nullptr;      // of the last connect
    bool connected = false;         // or connecting: it counts against the limits
    bool listener_counted = false;  // likewise; its client may become known later
  };
  using Key = std::tuple<int, std::uint32_t, std::uint32_t>;  // worker, slot, generation

  void first_op(int worker, io::OpTag tag, Socket& socket);
  void connecting(Socket& socket, const net::Endpoint& remote);
  void closing(Socket& socket);
  void count_listener(Flow& flow);
  void add(std::uint32_t& number, int change, std::uint32_t limit, const char* which) const;
  void moved(const Socket& from) const;
  [[nodiscard]] Flow* flow_of(const Socket& end) const;
  [[nodiscard]] bool waits_in_vain(const Peer& sender, const Peer& receiver) const;
  [[nodiscard]] const Peer* partner(const Peer& peer) const;
  [[nodiscard]] std::string complaint(const Peer& sender, const Peer& receiver) const;
  [[nodiscard]] std::size_t index_of(const std::vector<Limits::Of>& list, const net::Endpoint& address) const;

  Context& context_;
  Limits limits_;
  std::vector<Peer*> peers_;  // by id
  std::deque<Flow> flows_;
  std::map<Key, Flow*> by_key_;
  std::vector<Flow*> by_socket_;
  std::uint32_t connections_ = 0;
  std::vector<std::uint32_t> by_listener_;
  std::vector<std::uint32_t> by_backend_;
  std::vector<PeerId> false_fins_;
};

}  // namespace millrace::sim
