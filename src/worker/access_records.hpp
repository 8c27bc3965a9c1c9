#pragma once
// AccessRecords: what a worker notes for the access log. A connection of a listener that has one holds a record from
// its begin to its end; a session's is made at its end, from what the session knows anyway. Others cost nothing. One
// thread.

#include <cstdint>
#include <string_view>

#include "millrace/accesslog/queue.hpp"
#include "millrace/base/slab.hpp"
#include "millrace/flow/session_table.hpp"
#include "millrace/flow/tcp_flow.hpp"
#include "millrace/io/io.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::worker {

class AccessRecords {
 public:
  using Record = accesslog::Record;

  /// `queue` may be null when no listener has an access log. `slots`: connections at most.
  AccessRecords(accesslog::Queue* queue, std::uint32_t worker, std::uint32_t slots)
      : queue_(queue), worker_(worker), open_(queue == nullptr ? 0 : slots) {}

  [[nodiscard]] bool wants(const pool::Listener& listener) const { return listener.access_log && queue_ != nullptr; }

  /// What is known of a client that has come.
  struct Arrival {
    std::uint32_t listener = 0;
    std::uint32_t pool = 0;
    net::Endpoint client;
    net::Endpoint local;
  };
  /// The record of a connection that begins; the caller hands it to end(), once.
  [[nodiscard]] Record* begin(const Arrival& arrival, SlotId id);
  static void note_attempt(Record& record, const pool::Backend& backend);
  /// `flow` has just closed: what TCP said of it is in `context`.
  void end(Record* record, const flow::TcpFlow& flow, std::uint32_t attempts, const flow::FlowContext& context);
  /// A client for which nothing was done.
  void turned_away(const Arrival& arrival, std::string_view reason, Instant now);
  /// A session that ends.
  void end(const Arrival& arrival, const flow::UdpSession& session, std::string_view reason, Instant now);

  void end_of_pass() {
    if (queue_ != nullptr) queue_->end_of_pass();
  }

 private:
  [[nodiscard]] Record make(const Arrival& arrival) const;
  static void note_id(Record& record, SlotId id);

  accesslog::Queue* queue_;
  std::uint32_t worker_;
  Slab<Record> open_;
};

}  // namespace millrace::worker
