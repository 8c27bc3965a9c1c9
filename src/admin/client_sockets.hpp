#pragma once
// What the servers of the control socket and of HTTP have in common: a poll loop over clients of which none is waited
// for.

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "millrace/base/time.hpp"

namespace millrace::admin {

/// For poll(2): until `wake`, or -1 for kNever. Rounded up, so that it is over then.
[[nodiscard]] int poll_timeout(Instant wake);
/// A client that waits, non-blocking; -1 when there is none. Out of descriptors it gives whoever waits a moment, who
/// would keep the loop awake instead.
[[nodiscard]] int accept_client(int listener);
/// Sends what the socket takes of `text` from `sent` on; false when the client is gone.
[[nodiscard]] bool send_more(int fd, const std::string& text, std::size_t& sent);

/// Drops the client that has asked nothing for longest.
template <class Client>
void drop_quietest(std::vector<std::unique_ptr<Client>>& clients) {
  auto quietest = clients.begin();
  for (auto client = clients.begin(); client != clients.end(); ++client) {
    if ((*client)->last_heard < (*quietest)->last_heard) quietest = client;
  }
  clients.erase(quietest);
}

}  // namespace millrace::admin
