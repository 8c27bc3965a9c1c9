#pragma once
// Why io_uring_setup() failed, in words: pure functions, so that every case has a unit test.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace::io {

/// What the machine says around the failure; empty where it does not say.
struct SetupContext {
  std::optional<int> disabled = {};                 // kernel.io_uring_disabled (6.6 and later, and back-ports)
  std::optional<int> group = {};                    // kernel.io_uring_group
  std::optional<std::uint64_t> memlock_bytes = {};  // RLIMIT_MEMLOCK; empty: unlimited
  std::string kernel_release = {};                  // uname -r
};

/// The cause, as far as it can be told, and the remedy.
[[nodiscard]] std::string explain_setup_failure(int error, const SetupContext& context);

/// Kernels 6.6 to 6.8-rc3 may hand out a wrong descriptor from a multishot accept on a DEFER_TASKRUN ring whose
/// completion queue is full (liburing #1062). That cannot be probed, so this is the one place that looks at a version.
[[nodiscard]] bool multishot_accept_is_unsafe(std::string_view kernel_release);

}  // namespace millrace::io
