#pragma once
// From TOML text to a tree of nodes, for whoever reads TOML: the configuration, and the importers.

#include <optional>
#include <string_view>

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"

namespace millrace::config {

struct Document {
  std::optional<Node> root;  // a table; nothing when the text is not TOML
  Diagnostic problem;        // then: what is wrong with it
};

/// Never throws.
[[nodiscard]] Document parse_document(std::string_view text);

}  // namespace millrace::config
