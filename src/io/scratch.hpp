#pragma once
// Scratch: the arguments of queued submissions that the kernel reads from memory (message headers, addresses). Filled
// by verbs, valid until the entries that refer to them are submitted, then reused all at once. Fixed size.

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "millrace/base/assert.hpp"
#include "millrace/io/io.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::io {

class Scratch {
 public:
  Scratch(std::size_t messages, std::size_t addresses) : messages_(messages), addresses_(addresses) {}

  [[nodiscard]] bool messages_full() const { return messages_used_ == messages_.size(); }
  [[nodiscard]] bool addresses_full() const { return addresses_used_ == addresses_.size(); }

  const msghdr* message(std::span<const std::span<const std::byte>> slices) {
    MILLRACE_ASSERT(!messages_full(), "checked by the caller");
    Message& message = messages_[messages_used_++];
    for (std::size_t i = 0; i < slices.size(); ++i) {
      // The kernel only reads from these; iovec has no const form.
      auto* bytes = const_cast<std::byte*>(slices[i].data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
      message.pieces[i] = {bytes, slices[i].size()};
    }
    message.header = {};
    message.header.msg_iov = message.pieces.data();
    message.header.msg_iovlen = slices.size();
    return &message.header;
  }
  const net::Endpoint* address(const net::Endpoint& endpoint) {
    MILLRACE_ASSERT(!addresses_full(), "checked by the caller");
    net::Endpoint& copy = addresses_[addresses_used_++];
    copy = endpoint;
    return &copy;
  }
  /// After a submission that left nothing queued.
  void reuse() {
    messages_used_ = 0;
    addresses_used_ = 0;
  }

 private:
  struct Message {
    msghdr header;
    std::array<iovec, Io::kMaxSlices> pieces;
  };
  std::vector<Message> messages_;
  std::vector<net::Endpoint> addresses_;
  std::size_t messages_used_ = 0;
  std::size_t addresses_used_ = 0;
};

}  // namespace millrace::io
