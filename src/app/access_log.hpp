#pragma once
// Where the access logs of a configuration go, and what the numbers in their records stand for.

#include "millrace/accesslog/writer.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/directory.hpp"

namespace millrace::app {

/// `before`: the targets until now. Those of listeners that `config` has no more stay: they may have connections.
[[nodiscard]] accesslog::Targets access_log_targets(const config::Config& config, const pool::Directory& directory,
                                                    const accesslog::Targets& before);

}  // namespace millrace::app
