#pragma once
// The running balancer: opens the listeners, starts the prober and the workers, handles signals, and stops in order.

#include <string>

#include "millrace/config/config.hpp"

namespace millrace::app {

/// Runs until a signal ends it. `file` is where the configuration came from and is read again by a reload; empty: from
/// nowhere. Returns the exit status: 0 stopped as asked, 1 failed (the log says why).
[[nodiscard]] int run_balancer(const config::Config& config, const std::string& file);

}  // namespace millrace::app
