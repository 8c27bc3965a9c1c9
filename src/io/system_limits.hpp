#pragma once
// Reads what explain_setup_failure() needs to know of the machine.

#include "setup_failure.hpp"

namespace millrace::io {

[[nodiscard]] SetupContext read_setup_context();

}  // namespace millrace::io
