#pragma once
// What the TOML library says about text that is not TOML, put so that a person knows what to write instead, and where.

#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {

/// `description` is the library's ("Error while parsing value: …"), `position` the place it names in `text`. The place
/// of the answer may be another: where a value begins, or a bracket that nobody closes.
[[nodiscard]] Diagnostic syntax_problem(std::string_view text, Position position, std::string_view description);

}  // namespace millrace::config
