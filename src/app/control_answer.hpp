#pragma once
// What an answer of the control socket says.

#include <nlohmann/json.hpp>
#include <string_view>

#include "millrace/base/result.hpp"

namespace millrace::app {

/// The result in an answer; the error is for people, and printable.
[[nodiscard]] Result<nlohmann::json> result_of(std::string_view answer);

}  // namespace millrace::app
