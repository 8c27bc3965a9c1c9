#pragma once
// What must hold when any bytes are read as a message, whatever they are. Shared by the unit tests and by the fuzz
// target (tests/fuzz/message_fuzz.cpp).

#include <cstddef>
#include <span>

namespace millrace::io {

/// Reads `bytes` as a received buffer and as a chain of control messages, and writes and reads back what they say as
/// arguments of a send. Aborts by MILLRACE_ASSERT when something does not hold.
void check_message_properties(std::span<const std::byte> bytes);

}  // namespace millrace::io
