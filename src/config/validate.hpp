#pragma once
// The rules that tie several values together. Each has its own message and names one place; a rule is left out where
// one of its values is already known to be wrong.

#include "drafts.hpp"
#include "problems.hpp"

namespace millrace::config {

void validate(const Node& root, const Drafts& drafts, Problems& problems);

/// Takes out of inherited source addresses those that fit no backend of the pool: `[defaults.pool]` may list both
/// families. (What the pool lists itself is an error then.)
void drop_unused_sources(Draft<Pool>& draft);

}  // namespace millrace::config
