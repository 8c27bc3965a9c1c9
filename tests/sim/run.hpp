#pragma once
// One run: a machine with one or two workers, a world around it, and the oracles; from the first client to the last
// descriptor.

#include <cstdint>
#include <functional>
#include <memory>

#include "millrace/io/io.hpp"
#include "trace.hpp"

namespace millrace::sim {

struct RunOptions {
  std::uint64_t seed = 0;
  bool verbose = false;
  /// Told of the trace before anything happens, so that it can be printed whatever comes.
  std::function<void(Trace&)> on_start;
  /// Puts something between a worker and its Io: a planted bug.
  std::function<std::unique_ptr<io::Io>(io::Io& real, std::uint64_t seed)> decorate;
};

struct RunResult {
  std::uint64_t digest = 0;
  std::uint64_t flows = 0;
  std::uint64_t bytes = 0;
  std::uint64_t spliced = 0;
  std::uint64_t rests = 0;  // of bulk directions
  std::uint64_t turns = 0;
  std::uint64_t sessions = 0;
  std::uint64_t datagrams = 0;  // forwarded
};

/// A violation ends it as Trace::on_violation says.
RunResult run(const RunOptions& options);

}  // namespace millrace::sim
