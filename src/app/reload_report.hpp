#pragma once
// What differs between two configurations, and between the snapshots that were made of them.

#include "millrace/admin/reload_report.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::app {

/// All but `applied`, `generation` and what only the running balancer knows.
[[nodiscard]] admin::ReloadReport compare(const config::Config& before, const config::Config& after);

/// The part of all clients (0 … 1) that a pool with source_hash leads to another backend than before, all being up.
[[nodiscard]] double hash_moved(const pool::Pool& before, const pool::Pool& after);

}  // namespace millrace::app
