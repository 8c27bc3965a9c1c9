#pragma once
// Numbers in at most five characters, so that columns stay where they are.

#include <optional>
#include <string>

namespace millrace::app::top {

/// "0", "0.4", "47", "4711", "12.3k", "1.2M".
[[nodiscard]] std::string count_text(double count);
/// "0", "512", "1.2K", "123M": units of 1024.
[[nodiscard]] std::string bytes_text(double bytes);
/// "0.04", "12.3", "5000"; "-" without any.
[[nodiscard]] std::string milliseconds_text(std::optional<double> milliseconds);

}  // namespace millrace::app::top
