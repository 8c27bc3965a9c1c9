// Any bytes as a buffer that the kernel has filled with a message, and as control messages.

#include <cstddef>
#include <cstdint>
#include <span>

#include "../unit/io/message_properties.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  millrace::io::check_message_properties(std::as_bytes(std::span(data, size)));
  return 0;
}
