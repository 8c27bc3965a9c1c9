#pragma once
// Access: what a listener asks of a new client before anything is done for it: `allow` and `deny`, and the limits by
// source address. One for the connections and the sessions of a worker; the limits are shared with the other workers.

#include <cstdint>
#include <optional>

#include "millrace/base/time.hpp"
#include "millrace/net/ip_endpoint.hpp"
#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/counters.hpp"
#include "millrace/worker/source_limits.hpp"

namespace millrace::worker {

class Access {
 public:
  struct Entry {
    std::optional<Refusal> refusal;                 // denied, source_limit or rate_limit
    std::uint32_t hold = SourceLimits::kUncounted;  // to be given to leave(), once, unless refused
  };

  /// `snapshot` must outlive it, until another one takes its place. `limits` may be null when no listener has limits by
  /// source address.
  Access(const pool::Snapshot& snapshot, SourceLimits* limits) : snapshot_(&snapshot), limits_(limits) {}

  void adopt(const pool::Snapshot& snapshot) { snapshot_ = &snapshot; }

  /// False: everybody may enter, and there is no need to ask.
  [[nodiscard]] bool guards(std::uint32_t listener) const { return snapshot_->listeners[listener].guarded(); }
  /// Family::none is a client on a unix socket.
  [[nodiscard]] Entry enter(std::uint32_t listener, const net::IpEndpoint& client, Instant now);
  void leave(std::uint32_t listener, std::uint32_t hold) {
    if (hold != SourceLimits::kUncounted) limits_->release(listener, hold);
  }

 private:
  const pool::Snapshot* snapshot_;
  SourceLimits* limits_;
};

}  // namespace millrace::worker
