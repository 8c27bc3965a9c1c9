#pragma once
// Operator: what somebody who runs the balancer may see and do. Talks to workers by their mailboxes and waits for the
// answer; lives on the control thread, and never on a worker's.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/admin/status.hpp"
#include "millrace/base/result.hpp"
#include "millrace/base/time.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/inspection.hpp"
#include "millrace/worker/worker.hpp"

namespace millrace::admin {

/// A change of one backend.
struct BackendChange {
  enum class Kind : std::uint8_t { drain, enable, disable, weight } kind = Kind::enable;
  std::uint32_t weight = 0;  // Kind::weight
};
inline constexpr std::uint32_t kWeightMax = 1000;

struct ConnectionQuery {
  std::string listener;  // empty: any, of all three
  std::string pool;
  std::string backend;
  std::size_t limit = 1000;
  std::string after;  // what `next` of the last page was; empty: from the beginning
};

struct ConnectionStatus {
  std::string id;
  std::string listener;
  std::string pool;
  std::string backend;  // empty while it has none
  std::string client;
  std::string stage;
  double age_seconds = 0;
  std::uint64_t in = 0;  // bytes; of udp sessions datagrams
  std::uint64_t out = 0;
};

struct ConnectionPage {
  std::vector<ConnectionStatus> connections;
  std::string next;  // empty: that was all
};

/// Which backend a client gets of a listener, and why.
struct Explanation {
  std::string listener;
  std::string pool;
  std::string balance;
  bool admitted = true;            // by allow and deny
  std::string backend;             // empty: none, or not certain
  bool certain = false;            // every connection of this client goes there, as things are now
  std::vector<std::string> steps;  // for people, in order
};

class Operator {
 public:
  /// What it is over; all of it must outlive it. `addresses`: by listener. `health` may be null.
  Operator(const pool::Snapshot& snapshot, pool::BackendTable& table, std::vector<worker::Worker*> workers,
           std::vector<std::vector<std::string>> addresses, Instant started, const HealthLog* health = nullptr);

  [[nodiscard]] Status status() const;
  /// The backend's status afterwards.
  [[nodiscard]] Result<BackendStatus> change(std::string_view pool, std::string_view backend,
                                             const BackendChange& change);
  [[nodiscard]] Result<ConnectionPage> connections(const ConnectionQuery& query);
  /// By its id; returns the id.
  [[nodiscard]] Result<std::string> kill(std::string_view text);
  /// `client`: "10.0.0.1" or "10.0.0.1:5000". `listener` may be empty: all of them.
  [[nodiscard]] Result<std::vector<Explanation>> why(const std::string& client, std::string_view listener) const;

 private:
  struct Place {
    std::uint32_t pool = 0;
    std::uint32_t backend = 0;
  };
  [[nodiscard]] Result<std::uint32_t> find_listener(std::string_view name) const;
  [[nodiscard]] Result<std::uint32_t> find_pool(std::string_view name) const;
  [[nodiscard]] Result<Place> find_backend(std::string_view pool, std::string_view name) const;
  [[nodiscard]] Result<worker::ConnectionFilter> filter_of(const ConnectionQuery& query) const;
  [[nodiscard]] ConnectionStatus named(const worker::ConnectionInfo& info) const;
  [[nodiscard]] std::string set_weight(const Place& place, std::uint32_t weight);
  [[nodiscard]] Explanation explain(std::uint32_t listener, const net::Endpoint& client) const;
  [[nodiscard]] StatusSources sources() const;

  const pool::Snapshot& snapshot_;
  pool::BackendTable& table_;
  std::vector<worker::Worker*> workers_;
  std::vector<const worker::Counters*> counters_;
  std::vector<std::vector<std::string>> addresses_;
  Instant started_;
  const HealthLog* health_;
  std::vector<std::shared_ptr<const pool::Pool>> pools_;  // as they are now: with the weights that were set
  std::vector<Order> orders_;                             // by row
};

}  // namespace millrace::admin
