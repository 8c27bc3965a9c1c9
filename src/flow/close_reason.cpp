#include "millrace/flow/close_reason.hpp"

#include <array>
#include <cstddef>

namespace millrace::flow {

std::string_view name(CloseReason reason) {
  static constexpr std::array<std::string_view, kCloseReasons> kNames = {"none",
                                                                         "client_fin",
                                                                         "backend_fin",
                                                                         "client_reset",
                                                                         "backend_reset",
                                                                         "idle_timeout",
                                                                         "half_close_timeout",
                                                                         "max_duration",
                                                                         "connect_failed",
                                                                         "no_backend",
                                                                         "local_error",
                                                                         "drain",
                                                                         "killed",
                                                                         "responses",
                                                                         "evicted",
                                                                         "backend_down"};
  static_assert(static_cast<unsigned>(CloseReason::backend_down) + 1 == kCloseReasons);
  return kNames[static_cast<std::size_t>(reason)];
}

}  // namespace millrace::flow
