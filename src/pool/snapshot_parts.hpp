#pragma once
// The parts of a snapshot, each made from its part of the configuration.

#include <cstdint>

#include "millrace/config/config.hpp"
#include "millrace/pool/snapshot.hpp"

namespace millrace::pool {

/// Of its backends, which come first.
[[nodiscard]] std::uint32_t count_primaries(const Pool& pool);
/// Without ids and without hash tables.
[[nodiscard]] Pool build_pool(const config::Pool& from);
/// `pool`: index into Snapshot::pools.
[[nodiscard]] Listener build_listener(const config::Listener& from, std::uint32_t pool);

}  // namespace millrace::pool
