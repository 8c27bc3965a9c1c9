#pragma once
// The numbers of the relay, in one place. docs/data-path.md says how the measured ones were found.

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace::flow {

// Copy: a receive is paused when this many buffers wait to be sent, and armed again at the low mark.
inline constexpr std::uint32_t kQueueHigh = 16;
inline constexpr std::uint32_t kQueueLow = 8;

// Promotion: this many bytes in one direction, without a byte the other way and without a receive below kBulkReceive.
inline constexpr std::uint32_t kPromoteBytes = 32 * 1024;
inline constexpr std::uint32_t kBulkReceive = 2048;

// Splice: the most that one flow moves before others get their turn; a move below kSmallMove is not worth a splice.
inline constexpr std::size_t kSpliceMax = 1024 * 1024;
inline constexpr std::uint32_t kSpliceAgain = 64 * 1024;  // after a move of this size more is likely to wait
inline constexpr std::uint32_t kSmallMove = 4096;
inline constexpr std::uint8_t kSmallMovesBeforeCopy = 16;

/// A backend's socket gets its keepalive options (five system calls) when the connection has lasted so long.
inline constexpr Nanos kKeepaliveAfter = std::chrono::seconds(5);

inline constexpr Nanos kWatchAfter = std::chrono::milliseconds(20);
/// A spliced direction that was silent for so long begins again as a copying one.
inline constexpr Nanos kQuiet = std::chrono::milliseconds(500);

inline constexpr Nanos kHousekeeping = std::chrono::milliseconds(500);
inline constexpr Nanos kLingerTick = std::chrono::milliseconds(10);
inline constexpr Nanos kLingerMax = std::chrono::seconds(60);  // without progress

// Of a connection that has lasted so long, or moved so much, TCP_INFO is asked for at its end.
inline constexpr Nanos kTcpInfoAge = std::chrono::seconds(1);
inline constexpr std::uint64_t kTcpInfoBytes = 64 * 1024;

}  // namespace millrace::flow
