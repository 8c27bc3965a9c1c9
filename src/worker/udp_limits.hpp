#pragma once
// The numbers of the UDP relay, in one place.

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "millrace/base/time.hpp"

namespace millrace::worker {

// Sides in the tags of receives.
inline constexpr unsigned kListenerSide = 0;
inline constexpr unsigned kUpstreamSide = 1;

/// Messages that are gathered or in flight. Every received one holds a buffer, so more come only of trains that are
/// sent datagram by datagram.
inline constexpr std::uint32_t kMessagesMax = 8192;

/// A session whose backend is not up, and was chosen because none is (fail_open), looks for a better one this often.
inline constexpr Nanos kLookAgain = std::chrono::seconds(1);

/// At the stop: how long a session may wait for a reply that it is owed.
inline constexpr Nanos kOwedReplyMax = std::chrono::seconds(2);

/// Sessions that one pass may end for idleness, so that nobody waits behind the end of a flood.
inline constexpr std::uint32_t kEndedPerPass = 256;

/// When every upstream socket has a session of the chosen backend: fresh sessions that may be evicted for a place.
inline constexpr int kEvictionsForPlace = 8;

/// Of one upstream socket, in one go; the others are looked at with the next error.
inline constexpr std::uint32_t kErrorsAtOnce = 256;

/// Gathering: when in a window of kGatherWindow datagrams came at kGatherRate (a second) or more, and kGatherMerge of
/// them or more left as one message on average, waits last kDatagramGatherTime at least. More then come together and
/// leave together, for the price of that delay; neither single datagrams nor a moderate rate are ever held up.
inline constexpr Nanos kGatherWindow = std::chrono::milliseconds(2);
inline constexpr std::uint64_t kGatherRate = 40'000;
inline constexpr double kGatherMerge = 1.5;
inline constexpr Nanos kDatagramGatherTime = std::chrono::microseconds(100);

/// Datagrams that came back from unreachable backends and wait for the end of the pass.
inline constexpr std::size_t kReturnedMax = 256;

/// Places that sessions have left because of an error, kept so that later errors about them find the session.
inline constexpr std::size_t kDepartures = 1024;

/// ICMP errors quote the beginning of the datagram. Linux quotes so much that a datagram of this size is there whole
/// (RFC 1812, 4.3.2.3: up to 576 bytes with all headers); larger messages are not remembered.
inline constexpr std::size_t kQuoteWholeMax = 500;

/// Of a train: so many of its last datagrams are known when ICMP brings them back one by one.
inline constexpr std::uint32_t kTrainRemembered = 6;

/// A message that was not sent because an error was pending on its socket is submitted again; this often.
inline constexpr std::uint8_t kAttemptsMax = 8;

}  // namespace millrace::worker
