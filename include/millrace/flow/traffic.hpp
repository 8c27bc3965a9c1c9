#pragma once
// What was forwarded on one worker; written by its thread only, readable by any. Traffic: the bytes for somebody.
// FlowTotals: of all its flows, and how.

#include "millrace/base/counter.hpp"

namespace millrace::flow {

struct Traffic {
  Counter from_clients;   // to backends
  Counter from_backends;  // to clients
};

/// Sums over all flows of a worker; written by its thread only.
struct FlowTotals {
  Counter bytes_from_client;   // forwarded to backends
  Counter bytes_from_backend;  // forwarded to clients
  Counter bytes_copied;
  Counter bytes_spliced;
  Counter promotions;
  Counter demotions;
  Counter rests;             // of bulk directions, in the coalescer
  Counter receive_pauses;    // back-pressure stopped a receive
  Counter buffer_shortages;  // a receive ended for lack of a buffer
};

}  // namespace millrace::flow
