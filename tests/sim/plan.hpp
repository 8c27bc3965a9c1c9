#pragma once
// Plan: everything that one run is made of, drawn from its seed: configuration, machine, traffic, faults, and when to
// stop.

#include <cstdint>
#include <vector>

#include "datagram_plan.hpp"
#include "faults.hpp"
#include "millrace/base/rng.hpp"
#include "millrace/config/config.hpp"
#include "millrace/flow/coalescer.hpp"
#include "millrace/flow/pipe_pool.hpp"
#include "millrace/io/buffer_group.hpp"
#include "network.hpp"
#include "oracle.hpp"
#include "world.hpp"

namespace millrace::sim {

enum class StopPlan : std::uint8_t {
  at_end,   // when everybody has left
  drain,    // in the middle; there is time enough for every flow to end
  hurried,  // in the middle; the drain's deadline comes soon
  now,      // in the middle, at once
};

struct Plan {
  bool calm = false;  // no faults, well-behaved backends
  Faults faults;

  config::Config config;
  std::vector<net::Endpoint> listeners;  // the first ones of config: those for TCP
  std::vector<BackendPlan> backends;     // of the TCP pools, in the order of config
  TrafficPlan traffic;
  DatagramPlan datagrams;
  bool health_flaps = false;
  bool reloads = false;  // pools and listening sockets change while everything runs

  unsigned workers = 1;
  io::BufferGroup::Options buffers;
  flow::PipeLimits pipes;
  std::uint32_t pipe_bytes = 4096;
  flow::CoalesceLimits coalesce;
  std::uint32_t backlog = 64;
  QueueSizes backend_queues;  // of the proxy's ends towards backends

  StopPlan stop = StopPlan::at_end;
  Nanos stop_after{};
  Nanos finish_after = std::chrono::seconds(6);  // the faults stop, and everybody comes to an end

  [[nodiscard]] Limits limits() const;
  /// A flow may end by a timeout.
  [[nodiscard]] bool timeouts_possible() const;
  /// … or be cut short in a way that no counter tells of.
  [[nodiscard]] bool cuts_possible() const;
  /// Nothing keeps a client from being served.
  [[nodiscard]] bool everyone_is_served() const;
};

[[nodiscard]] Plan draw_plan(std::uint64_t seed);

}  // namespace millrace::sim
