#pragma once
// Traffic: bytes that were forwarded for somebody, on one worker; written by its thread only, readable by any.

#include "millrace/base/counter.hpp"

namespace millrace::flow {

struct Traffic {
  Counter from_clients;   // to backends
  Counter from_backends;  // to clients
};

}  // namespace millrace::flow
