#pragma once
// What a worker knows of one connection besides its flow. Lives in a slab slot.

#include <cstdint>
#include <deque>

#include "millrace/flow/tcp_flow.hpp"
#include "millrace/pool/picker.hpp"
#include "millrace/worker/worker.hpp"

namespace millrace::worker {

struct Worker::Connection {
  Connection(SlotId id, io::Fd client, std::uint32_t of_listener, std::uint32_t hold, const flow::FlowOptions& options,
             Instant now)
      : flow(id.index, id.generation, client, options, now), listener(of_listener), source_hold(hold) {}

  flow::TcpFlow flow;
  pool::TriedSet tried;
  accesslog::Record* record = nullptr;  // in AccessRecords; null: it is not logged
  Instant connect_began{};              // of the last attempt
  std::uint64_t client_hash = 0;        // source_hash only
  std::uint32_t listener;               // index into Snapshot::listeners
  std::uint32_t source_hold = 0;        // of its address, in Access
  pool::BackendId backend{};            // meaningful while holds_backend
  std::uint32_t picked = 0;             // the same as an index into its pool, when `pool_version` is the pool's
  std::uint32_t pool_version = 0;       // of the pool that `tried` and `picked` are about
  std::uint32_t asked = 0;              // of Gathering
  std::uint16_t attempts = 0;           // connects begun
  std::uint16_t gather_stamp = 0;       // of Gathering
  bool holds_backend = false;           // it is counted in the backend's active connections
  bool admitted = false;                // it is counted in Admission
  bool queued_for_buffers = false;      // it has an entry in starved_
};

struct Worker::ListenerState {
  io::Fd fd = io::Fd::none;  // none once closed
  std::uint32_t listener = 0;
  std::uint32_t socket = 0;  // its own index, in the tags of its accepts
  io::AcceptMode mode = io::AcceptMode::multishot;
  bool armed = false;
  bool cancelling = false;
  bool shared = false;
  Instant paused_until = Instant::min();
  Instant drained_at = kNever;  // set: then it takes what the kernel has still queued for it, and closes
  bool drains_on = false;       // … and there is more
  std::deque<SlotId> parked{};  // accepted beyond a limit (a race of at most one batch); begun when there is room
};

}  // namespace millrace::worker
