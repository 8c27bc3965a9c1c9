#pragma once
// From a tree of nodes to a configuration: what files and the quick form share.

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"

namespace millrace::config {

/// `root` is a table.
[[nodiscard]] Loaded load(const Node& root);
[[nodiscard]] Loaded failure(Position position, std::string message);

}  // namespace millrace::config
