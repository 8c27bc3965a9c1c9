#pragma once
// How things look in a terminal: tables and numbers for people.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "millrace/admin/operator.hpp"
#include "millrace/admin/status.hpp"

namespace millrace::admin {

/// "0 B", "999 B", "1.2 KiB", "3.4 GiB".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
/// "0.4s", "59s", "3m20s", "5h02m", "12d03h".
[[nodiscard]] std::string time_text(double seconds);
/// What a terminal may be sent of a text that comes from elsewhere: control characters become '?'.
[[nodiscard]] std::string printable(std::string_view text);

/// With `colours` what needs attention is coloured.
[[nodiscard]] std::string to_text(const Status& status, bool colours);
[[nodiscard]] std::string to_text(const std::vector<ConnectionStatus>& connections);
[[nodiscard]] std::string to_text(const std::vector<Explanation>& explanations);
[[nodiscard]] std::string to_text(const ReloadReport& report);

}  // namespace millrace::admin
