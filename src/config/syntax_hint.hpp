#pragma once
// What the TOML library says about text that is not TOML, put so that a person knows what to write instead.

#include <string>
#include <string_view>

#include "millrace/config/config.hpp"

namespace millrace::config {

/// `description` is the library's ("Error while parsing value: …"), `position` the place it names in `text`.
[[nodiscard]] std::string syntax_message(std::string_view text, Position position, std::string_view description);

}  // namespace millrace::config
