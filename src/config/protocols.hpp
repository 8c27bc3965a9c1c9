#pragma once
// What a value that nobody gave depends on besides its table: whether listeners are tcp or udp. Filled in last, when
// everything has been read and found to be good.

#include "drafts.hpp"

namespace millrace::config {

/// Gives listeners the defaults of their protocol, and probes the type that fits the listeners of their pool.
void settle_protocols(Drafts& drafts);

}  // namespace millrace::config
