#pragma once
// JSON as the tree that TOML gives, so that one translation does for both. Read by hand because every node needs its
// line, which nlohmann-json (3.11) does not tell.

#include <optional>
#include <string_view>

#include "millrace/config/node.hpp"

namespace millrace::importer {

/// Nothing for what is no JSON, or nested very deep. Numbers are whole or real; null is left out.
[[nodiscard]] std::optional<config::Node> parse_json(std::string_view text);

}  // namespace millrace::importer
