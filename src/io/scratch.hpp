#pragma once
// Scratch: the arguments of queued submissions that the kernel reads from memory (message headers, addresses). Filled
// by verbs, valid until the entries that refer to them are submitted, then reused all at once. Fixed size.

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "datagram_message.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/io/io.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::io {

class Scratch {
 public:
  /// `trains` may be 0.
  Scratch(std::size_t messages, std::size_t addresses, std::size_t trains)
      : messages_(messages), addresses_(addresses), trains_(trains) {}

  [[nodiscard]] bool messages_full() const { return messages_used_ == messages_.size(); }
  [[nodiscard]] bool addresses_full() const { return addresses_used_ == addresses_.size(); }
  [[nodiscard]] bool trains_full() const { return trains_used_ == trains_.size(); }

  const msghdr* message(std::span<const std::span<const std::byte>> slices) {
    MILLRACE_ASSERT(!messages_full(), "checked by the caller");
    Message& message = messages_[messages_used_++];
    message.header = {};
    fill(message.header, message.pieces, slices);
    return &message.header;
  }
  const msghdr* train(const DatagramsToSend& datagrams) {
    MILLRACE_ASSERT(!trains_full(), "checked by the caller");
    Train& train = trains_[trains_used_++];
    train.header = {};
    train.header.msg_name = &train.to;
    train.header.msg_namelen = datagrams.to.to_sockaddr(train.to);
    fill(train.header, train.pieces, datagrams.slices);
    write_control(train.control, datagrams.from, datagrams.segment_bytes);
    if (train.control.used != 0) {
      train.header.msg_control = train.control.bytes.data();
      train.header.msg_controllen = train.control.used;
    }
    return &train.header;
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
    trains_used_ = 0;
  }

 private:
  struct Message {
    msghdr header;
    std::array<iovec, Io::kMaxSlices> pieces;
  };
  struct Train {
    msghdr header;
    sockaddr_in6 to;
    ControlBytes control;
    std::array<iovec, kTrainDatagramsMax> pieces;
  };

  static void fill(msghdr& header, std::span<iovec> pieces, std::span<const std::span<const std::byte>> slices) {
    for (std::size_t i = 0; i < slices.size(); ++i) {
      // The kernel only reads from these; iovec has no const form.
      auto* bytes = const_cast<std::byte*>(slices[i].data());  // NOLINT(cppcoreguidelines-pro-type-const-cast)
      pieces[i] = {bytes, slices[i].size()};
    }
    header.msg_iov = pieces.data();
    header.msg_iovlen = slices.size();
  }

  std::vector<Message> messages_;
  std::vector<net::Endpoint> addresses_;
  std::vector<Train> trains_;
  std::size_t messages_used_ = 0;
  std::size_t addresses_used_ = 0;
  std::size_t trains_used_ = 0;
};

}  // namespace millrace::io
