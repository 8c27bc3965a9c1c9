#include "latencies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tcp_load {

double Latencies::percentile(double percent) const {
  if (nanoseconds_.empty()) return 0;
  const double rank = std::ceil(percent / 100 * static_cast<double>(nanoseconds_.size()));
  const std::size_t index = std::clamp<std::size_t>(static_cast<std::size_t>(rank), 1, nanoseconds_.size()) - 1;
  return static_cast<double>(nanoseconds_[index]) * 1e-9;
}

std::string Latencies::json(const char* prefix) {
  std::sort(nanoseconds_.begin(), nanoseconds_.end());
  return fmt::format(R"("{0}p50": {1:.9f}, "{0}p99": {2:.9f}, "{0}p999": {3:.9f})", prefix, percentile(50),
                     percentile(99), percentile(99.9));
}

}  // namespace tcp_load
