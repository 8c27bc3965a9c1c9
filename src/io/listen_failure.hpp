#pragma once
// What to tell a person when a listening socket cannot be opened: pure text, apart from the system calls so that every
// case has a unit test.

#include <string>
#include <string_view>

#include "millrace/net/endpoint.hpp"

namespace millrace::io {

/// "cannot listen on 10.0.0.1:80: …" with the likely cause and the remedy. `step` is the system call that failed.
[[nodiscard]] std::string explain_listen_failure(const net::Endpoint& address, std::string_view step, int error);

}  // namespace millrace::io
