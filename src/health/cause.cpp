#include "millrace/health/cause.hpp"

#include <array>
#include <cerrno>

namespace millrace::health {

std::string_view name(Cause cause) {
  constexpr std::array<std::string_view, kCauses> kNames = {"succeeded",  "ejection_over", "unprobed",    "failures",
                                                            "refused",    "timeout",       "unreachable", "reset",
                                                            "unexpected", "other"};
  static_assert(static_cast<unsigned>(Cause::other) + 1 == kCauses);
  return kNames[static_cast<std::size_t>(cause)];
}

pool::HealthState outcome(Cause cause) {
  switch (cause) {
    case Cause::succeeded:
    case Cause::ejection_over:
    case Cause::unprobed:
      return pool::HealthState::up;
    case Cause::failures:
      return pool::HealthState::ejected;
    default:
      return pool::HealthState::down;
  }
}

Cause cause_of(int error) {
  switch (error) {
    case ECONNREFUSED:
    case ENOENT:  // a unix socket that is not there
      return Cause::refused;
    case ETIMEDOUT:
      return Cause::timeout;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
    case ENETDOWN:
      return Cause::unreachable;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
      return Cause::reset;
    default:
      return Cause::other;
  }
}

}  // namespace millrace::health
