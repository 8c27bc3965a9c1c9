#pragma once
// Operator: what somebody who runs the balancer may see and do. Talks to workers by their mailboxes and waits for the
// answer. Any thread may call, but no worker's: who looks sees a state that is whole, who changes something waits for
// others who do.

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/admin/reload_report.hpp"
#include "millrace/admin/status.hpp"
#include "millrace/base/result.hpp"
#include "millrace/base/time.hpp"
#include "millrace/pool/directory.hpp"
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

/// Another configuration, as it is rolled out over the workers.
struct Rollout {
  pool::Directory directory{};
  pool::Directory::Changes changes{};
  std::vector<std::vector<std::string>> addresses{};  // by listener
  bool changes_sockets = false;
  std::vector<std::vector<worker::ListenerSocket>> sockets{};  // by worker
};

class Operator {
 public:
  /// Applies the file, or only tells what that would change; the error says why nothing has changed.
  using Reload = std::function<Result<ReloadReport>(bool plan)>;

  /// `table` and `workers` must outlive it. `addresses`: by listener. `health` too, if it
  /// is not null.
  Operator(pool::Directory directory, pool::BackendTable& table, std::vector<worker::Worker*> workers,
           std::vector<std::vector<std::string>> addresses, Instant started, const HealthLog* health = nullptr);

  /// Fills in what only the process knows; before anybody calls status().
  void set_completion(std::function<void(Status&)> complete) { complete_ = std::move(complete); }
  /// How reload() does it; before anybody calls that.
  void set_reload(Reload reload) { reload_ = std::move(reload); }
  [[nodiscard]] Result<ReloadReport> reload(bool plan);
  /// For Reload: every worker has adopted it when this returns. Empty, or which worker has not.
  [[nodiscard]] std::string roll_out(Rollout rollout);
  /// For Reload: workers have these from now on, without anything else changing.
  void set_sockets(std::vector<std::vector<worker::ListenerSocket>> sockets);
  [[nodiscard]] pool::Directory directory() const { return state()->directory; }
  [[nodiscard]] std::shared_ptr<const pool::Snapshot> snapshot() const { return state()->directory.snapshot(); }

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
  /// What changes; never while somebody looks at it.
  struct State {
    pool::Directory directory;
    std::vector<Order> orders;                        // by row
    std::vector<std::vector<std::string>> addresses;  // by listener
    std::uint64_t generation = 1;
    LastReload last_reload;

    [[nodiscard]] const pool::Snapshot& snapshot() const { return *directory.snapshot(); }
    [[nodiscard]] Order order(pool::BackendId id) const {
      return pool::row(id) < orders.size() ? orders[pool::row(id)] : Order::enabled;
    }
    void set_order(pool::BackendId id, Order order) {
      if (pool::row(id) >= orders.size()) orders.resize(pool::row(id) + 1);
      orders[pool::row(id)] = order;
    }
    [[nodiscard]] Result<std::uint32_t> find_listener(std::string_view name) const;
    [[nodiscard]] Result<std::uint32_t> find_pool(std::string_view name) const;
    [[nodiscard]] Result<Place> find_backend(std::string_view pool, std::string_view name) const;
    [[nodiscard]] Result<worker::ConnectionFilter> filter_of(const ConnectionQuery& query) const;
    [[nodiscard]] ConnectionStatus named(const worker::ConnectionInfo& info) const;
  };

  [[nodiscard]] std::shared_ptr<const State> state() const;
  void publish(State next);
  [[nodiscard]] Result<BackendStatus> change_locked(const Place& place, const BackendChange& change);
  [[nodiscard]] std::string set_weight(const Place& place, std::uint32_t weight);
  [[nodiscard]] std::string adopt(const std::function<worker::Adoption(std::uint32_t worker)>& make);
  [[nodiscard]] worker::Adoption adoption(const std::shared_ptr<const pool::Snapshot>& snapshot,
                                          std::span<const std::uint32_t> pools, std::uint32_t worker) const;
  [[nodiscard]] Explanation explain(const State& state, std::uint32_t listener, const net::Endpoint& client) const;

  pool::BackendTable& table_;
  std::vector<worker::Worker*> workers_;
  std::vector<const worker::Counters*> counters_;
  Instant started_;
  double started_at_;  // the same in seconds since 1970
  const HealthLog* health_;
  std::function<void(Status&)> complete_;
  Reload reload_;
  std::mutex changing_;     // held by whoever changes something, for as long as that takes
  bool unsettled_ = false;  // a worker did not answer: nobody knows which snapshot it has
  mutable std::mutex state_mutex_;
  std::shared_ptr<const State> state_;
};

}  // namespace millrace::admin
