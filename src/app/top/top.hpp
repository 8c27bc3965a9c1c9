#pragma once
// `millrace top`: a running balancer, live in the terminal.

#include <string>

namespace millrace::app::top {

struct TopOptions {
  std::string socket;
  double interval_seconds = 1;
};

/// Returns the exit status.
[[nodiscard]] int run_top(const TopOptions& options);

}  // namespace millrace::app::top
