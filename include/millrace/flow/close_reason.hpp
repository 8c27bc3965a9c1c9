#pragma once
// Why a flow ended. One word per cause: logs and metrics use the same names.

#include <cstdint>
#include <string_view>

namespace millrace::flow {

enum class CloseReason : std::uint8_t {
  none,  // it has not ended
  client_fin,
  backend_fin,
  client_reset,   // reset or any other error on the client's connection
  backend_reset,  // likewise on the backend's
  idle_timeout,
  half_close_timeout,
  max_duration,
  connect_failed,  // no backend could be reached
  no_backend,      // none to choose from
  local_error,     // this machine ran out of something: descriptors, ports, memory
  drain,           // shutdown_timeout passed; or drain_timeout, and its backend is not in the file any more
  killed,          // ended at once by the operator (second SIGTERM)
  responses,       // udp: every request has had its replies
  evicted,         // udp: a new session needed the place
  backend_down,    // its backend is not up any more (on_down)
};
inline constexpr unsigned kCloseReasons = 16;

[[nodiscard]] std::string_view name(CloseReason reason);

}  // namespace millrace::flow
