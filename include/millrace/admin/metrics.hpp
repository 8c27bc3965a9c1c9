#pragma once
// What /metrics says: a status in the text format of Prometheus. Names, labels and meanings are in docs/metrics.md.

#include <string>

#include "millrace/admin/status.hpp"

namespace millrace::admin {

/// Every series is there from the start, with 0, so that nobody misses the first increase.
[[nodiscard]] std::string metrics_text(const Status& status);

}  // namespace millrace::admin
