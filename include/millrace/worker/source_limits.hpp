#pragma once
// SourceLimits: how many connections (UDP: sessions) one address may have of a listener, and how many new ones a second
// (a token bucket with a burst of one second's worth). Both hold over all workers together: any thread may call.
// Atomics only: no locks, and no allocation after construction. Time is an argument.
//
// How exact it is:
//  - The number of connections is never exceeded, however many workers admit at the same moment. When several of them
//    begin to count the same address at the same moment, one may be refused although there was a last place for it.
//  - The rate is not exceeded either, but for that event: each of those workers may then admit one too many.
//  - Addresses are told apart by 40 bits (connections) or 26 bits (rate) of a seeded hash, among those in the same two
//    buckets. Once in many millions of times two share their limit; nobody can aim for it.
//  - A rule that changes holds for new connections; with a new rate everybody begins with a full bucket. Connections
//  that
//    were there before a listener had its first limit are not counted.
//  - When there is no place to count: a connection is admitted uncounted, which its hold remembers; and for the rate,
//    the address that has used least of its own gives up its place. There are two places for each connection that the
//    listener may have, up to a million; so more than half a million addresses must be there at once.

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "millrace/base/stable_array.hpp"
#include "millrace/base/time.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::worker {

class LoadCells;

class SourceLimits {
 public:
  /// What a listener wants; 0: no limit.
  struct Rule {
    std::uint32_t connections = 0;      // of one address
    std::uint32_t rate = 0;             // new ones a second, of one address
    std::uint32_t connections_max = 0;  // of all addresses together; for the size of the tables
  };
  static constexpr std::uint32_t kRateMax = 100'000;
  static constexpr std::uint32_t kUncounted = 0xffffffffU;

  enum class Outcome : std::uint8_t { admitted, too_many, too_fast };
  struct Entry {
    Outcome outcome = Outcome::admitted;
    std::uint32_t hold = kUncounted;  // to be given to release(), once; meaningful when admitted
  };

  /// A rule for each listener. `seed` should be unknown to clients.
  SourceLimits(std::span<const Rule> rules, std::uint64_t seed);
  ~SourceLimits();
  SourceLimits(const SourceLimits&) = delete;
  SourceLimits& operator=(const SourceLimits&) = delete;

  /// Changes the rules; there may be more listeners than before, not fewer. One thread at a time.
  void set_rules(std::span<const Rule> rules);
  /// Frees what rules of before have used. Only once no worker can be in a call that began before set_rules().
  void forget_old_rules();

  /// Counts a new connection of `client`, whatever its port, unless a limit is reached; what is refused counts nowhere.
  /// A client without an IP address (Family::none: a unix socket) is always admitted.
  [[nodiscard]] Entry admit(std::uint32_t listener, const net::IpEndpoint& client, Instant now);
  void release(std::uint32_t listener, std::uint32_t hold);

  /// Connections that are counted now.
  [[nodiscard]] std::uint64_t counted() const;
  /// Connections that were admitted uncounted so far, for lack of room.
  [[nodiscard]] std::uint64_t uncounted() const { return uncounted_.load(std::memory_order_relaxed); }

 private:
  struct Rate;
  struct Tables;

  void set_connections(Tables& tables, const Rule& rule);
  void set_rate(Tables& tables, const Rule& rule);

  std::uint64_t seed_;
  StableArray<Tables> listeners_;
  std::vector<std::unique_ptr<Rate>> old_rates_;
  std::atomic<std::uint64_t> uncounted_{0};
};

}  // namespace millrace::worker
