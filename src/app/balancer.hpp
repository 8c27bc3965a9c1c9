#pragma once
// The running balancer: opens the listeners, starts the prober and the workers, handles signals, and stops in order.

#include "millrace/config/config.hpp"

namespace millrace::app {

/// Runs until a signal ends it. Returns the exit status: 0 stopped as asked, 1 failed (the log says why).
[[nodiscard]] int run_balancer(const config::Config& config);

}  // namespace millrace::app
