#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace tcp_load {

/// Every single one is kept: some hundred thousand at most.
class Latencies {
 public:
  void add(std::chrono::nanoseconds latency) { nanoseconds_.push_back(static_cast<std::uint64_t>(latency.count())); }
  std::size_t count() const { return nanoseconds_.size(); }

  /// `"PREFIXp50": …, "PREFIXp99": …, "PREFIXp999": …`, in seconds; 0 without any.
  std::string json(const char* prefix = "");

 private:
  /// Nearest rank; they have to be sorted.
  double percentile(double percent) const;

  std::vector<std::uint64_t> nanoseconds_;
};

}  // namespace tcp_load
