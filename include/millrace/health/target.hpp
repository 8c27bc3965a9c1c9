#pragma once
// What the prober knows about one backend: where to probe it, how, and what passive failures may do to it. Plain data,
// validated by config; times are positive, counts at least 1 unless the text says otherwise.

#include <cstdint>
#include <string>

#include "millrace/base/time.hpp"
#include "millrace/net/endpoint.hpp"
#include "millrace/pool/backend_table.hpp"

namespace millrace::health {

/// tcp: a connect, and perhaps a question and the start of its answer. udp: a datagram, and one that answers it.
enum class ProbeType : std::uint8_t { tcp, udp };

struct ProbeSettings {
  bool active = true;  // false: no probes, only what real traffic tells
  ProbeType type = ProbeType::tcp;
  Nanos interval = std::chrono::seconds(2);
  Nanos timeout = std::chrono::seconds(1);  // from the start of a probe to its verdict
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  double jitter = 0.1;            // 0 … 1: the interval varies by this part of itself either way
  std::string send{};             // tcp: sent after the connect; udp: the datagram; may be empty
  std::string expect{};           // what the answer must start with; empty: tcp: none is needed, udp: any will do
  bool close_with_reset = false;  // tcp; false: FIN, wait for the backend's, close

  std::uint32_t passive_failures = 3;  // consecutive failures of real traffic; 0: passive health is off
  Nanos ejection = std::chrono::seconds(30);
  double max_ejected = 0.5;  // 0 … 1: part of the pool's backends that may be ejected at a time, rounded down

  friend bool operator==(const ProbeSettings&, const ProbeSettings&) = default;
};

struct Target {
  pool::BackendId id{};
  std::string pool{};
  std::string backend{};
  net::Endpoint endpoint{};  // the address to probe: `health.port` is already in it; udp: no unix socket
  net::Endpoint source{};    // local address to probe from; Family::none: the kernel chooses
  ProbeSettings settings{};

  friend bool operator==(const Target&, const Target&) = default;
};

}  // namespace millrace::health
