#pragma once
// What can be asked of a worker about its connections and sessions, and tasks that ask it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/base/time.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/worker/mailbox.hpp"

namespace millrace::worker {

/// Which connection or session; never given to another one while the process lives (but after 16 million in one slot).
/// As text "1.42.7" (worker, slot, generation); of a session "u1.42.7".
struct ConnectionId {
  std::uint32_t worker = 0;
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;
  bool udp = false;

  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] static std::optional<ConnectionId> parse(std::string_view text);
  friend bool operator==(const ConnectionId&, const ConnectionId&) = default;
};

struct ConnectionInfo {
  ConnectionId id;
  std::uint32_t listener = 0;              // index into Snapshot::listeners
  std::optional<pool::BackendId> backend;  // empty while it has none
  net::Endpoint client;
  std::string_view stage;  // connecting, waiting, relaying, lingering, closing; of a session: session
  Nanos age{};
  std::uint64_t from_client = 0;   // bytes; of a session: datagrams
  std::uint64_t from_backend = 0;  // likewise
};

/// What is empty, or not set, does not matter.
struct ConnectionFilter {
  std::vector<bool> listeners;  // by index: those that are wanted
  std::vector<bool> backends;   // by row: likewise; connections without one are not wanted then
};

/// Lists at most about `limit` connections of a worker, from a place on.
class ListConnections : public Task {
 public:
  ListConnections(ConnectionFilter filter, std::uint64_t from, std::size_t limit)
      : filter_(std::move(filter)), limit_(limit), next_(from) {}
  [[nodiscard]] bool run(Worker& worker) override;

  [[nodiscard]] const std::vector<ConnectionInfo>& found() const { return found_; }
  /// Where to go on; empty when that was all.
  [[nodiscard]] std::optional<std::uint64_t> next() const { return next_; }

 private:
  ConnectionFilter filter_;
  std::size_t limit_;
  std::optional<std::uint64_t> next_;
  std::vector<ConnectionInfo> found_;
};

class KillConnection : public Task {
 public:
  explicit KillConnection(const ConnectionId& id) : id_(id) {}
  [[nodiscard]] bool run(Worker& worker) override;
  [[nodiscard]] bool killed() const { return killed_; }

 private:
  ConnectionId id_;
  bool killed_ = false;
};

}  // namespace millrace::worker
