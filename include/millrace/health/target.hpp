#pragma once
// What the prober knows about one backend: where to probe it, how, and what passive failures may do to it. Plain data,
// validated by config; times are positive, counts at least 1 unless the text says otherwise.

#include <cstdint>
#include <string>

#include "millrace/base/time.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::health {

struct ProbeSettings {
  bool active = true;  // false: no probes, only what real traffic tells
  Nanos interval = std::chrono::seconds(2);
  Nanos timeout = std::chrono::seconds(1);  // from the start of a probe to its verdict
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  double jitter = 0.1;            // 0 … 1: the interval varies by this part of itself either way
  std::string send{};             // sent after the connect; may be empty
  std::string expect{};           // what the answer must start with; empty: the connect (and the send) is enough
  bool close_with_reset = false;  // false: FIN, wait for the backend's, close

  std::uint32_t passive_failures = 3;  // consecutive connect failures of real traffic; 0: passive health is off
  Nanos ejection = std::chrono::seconds(30);
  double max_ejected = 0.5;  // 0 … 1: part of the pool's backends that may be ejected at a time, rounded down
};

struct Target {
  pool::BackendId id{};
  std::string pool{};
  std::string backend{};
  net::Endpoint endpoint{};  // the address to probe: `health.port` is already in it
  net::Endpoint source{};    // local address to probe from; Family::none: the kernel chooses
  ProbeSettings settings{};
};

}  // namespace millrace::health
