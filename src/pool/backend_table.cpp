#include "millrace/pool/backend_table.hpp"

namespace millrace::pool {

std::string_view name(HealthState state) {
  switch (state) {
    case HealthState::up:
      return "up";
    case HealthState::down:
      return "down";
    case HealthState::ejected:
      return "ejected";
  }
  return "";
}

}  // namespace millrace::pool
