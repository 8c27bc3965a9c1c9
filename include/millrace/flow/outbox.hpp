#pragma once
// Outbox: the datagrams that one pass of a worker wants to send, put together into as few messages as possible.
//
// Datagrams of one session in one direction that are equally large become one message, a train that the kernel cuts
// up again (UDP_SEGMENT); its last datagram may be shorter. A received train goes on as a train. Nothing waits for
// another pass: flush() submits everything, in the order in which it came. Boundaries and order are kept.
//
// Owns the buffers of what it has been given until it has been sent: a buffer may be part of several messages, and goes
// back to io.datagram_buffers() when the last of them has ended. A message copies its way, so the session may end
// meanwhile. A message that the kernel does not take as a train is sent again datagram by datagram.
//
// Fixed size; does not allocate after construction. One thread.

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "millrace/base/slab.hpp"
#include "millrace/flow/session_table.hpp"
#include "millrace/io/io.hpp"

namespace millrace::flow {

enum class Direction : std::uint8_t { to_backend = 0, to_client = 1 };

/// Where a message goes.
struct Way {
  io::Fd fd = io::Fd::none;
  std::uint32_t socket = 0;  // the number of the socket `fd`: listening or upstream, by the direction
  net::IpEndpoint to;
  net::IpEndpoint from;  // Family::none: the socket's own address

  friend bool operator==(const Way&, const Way&) = default;
};

class Outbox {
 public:
  /// `messages` may be gathering or in flight at a time.
  Outbox(io::Io& io, std::uint32_t messages);
  Outbox(const Outbox&) = delete;
  Outbox& operator=(const Outbox&) = delete;

  struct Message {
    explicit Message(SlotId slot) : id(slot) {}

    SlotId id;
    SlotId session;  // may have ended
    Direction direction = Direction::to_backend;
    bool complete = false;      // nothing may be added
    std::uint8_t attempts = 0;  // times that it has been submitted
    std::uint16_t slices = 0;
    std::uint32_t datagrams = 0;
    std::uint32_t bytes = 0;
    std::uint32_t segment_bytes = 0;  // of each datagram but the last
    Way way;

   private:
    friend class Outbox;
    struct Slice {
      std::uint32_t offset;  // from the start of the buffer
      std::uint32_t length;
      io::BufferId buffer;
    };
    std::array<Slice, io::kTrainDatagramsMax> pieces;  // the first `slices`
  };

  /// The bytes of a received message (`segment_bytes` 0: one datagram, perhaps empty), or of a part of one: `payload`
  /// lies in `buffer`, which the outbox owns from now on. False when there is no room for all of it: the rest is
  /// dropped.
  [[nodiscard]] bool add(UdpSession& session, Direction direction, const Way& way, io::BufferId buffer,
                         std::span<const std::byte> payload, std::uint32_t segment_bytes);
  /// Gives back a buffer that is not to be sent.
  void drop(io::BufferId buffer);

  /// Calls `begun(message)`, which may change its way, for every message that has not been submitted yet, and submits
  /// it.
  template <class F>
  void flush(F&& begun) {
    for (const std::uint32_t index : waiting_) {
      Message& message = *messages_.at(index);
      message.complete = true;
      begun(message);
      submit(message);
    }
    waiting_.clear();
  }

  /// Of all its bytes, which are not more than kHashedMax.
  [[nodiscard]] std::uint64_t hash(const Message& message) const;
  /// Of one datagram, counted from the first.
  [[nodiscard]] std::uint64_t hash(const Message& message, std::uint32_t datagram) const;
  static constexpr std::uint32_t kHashedMax = 512;

  /// The message whose send has completed; the caller answers with done(), again() or split().
  [[nodiscard]] Message& completed(const io::Completion& completion);
  void done(Message& message);
  /// Submits it once more with the next flush().
  void again(Message& message, const Way& way);
  /// The kernel does not take it as a train: every datagram becomes a message. False when there is no room for all.
  [[nodiscard]] bool split(Message& message);

  [[nodiscard]] bool idle() const { return messages_.in_use() == 0; }
  [[nodiscard]] bool waiting() const { return !waiting_.empty(); }

 private:
  [[nodiscard]] Message* gathering(const UdpSession& session, Direction direction, const Way& way,
                                   std::uint32_t segment_bytes, std::uint32_t bytes);
  [[nodiscard]] Message* begin(SlotId session, Direction direction, const Way& way, std::uint32_t segment_bytes);
  void append(Message& message, io::BufferId buffer, std::uint32_t offset, std::uint32_t length);
  void submit(const Message& message);
  void release(io::BufferId buffer);

  io::Io& io_;
  io::BufferGroup& buffers_;
  Slab<Message> messages_;
  std::vector<std::uint32_t> waiting_;     // to be submitted, in order
  std::vector<std::uint16_t> references_;  // by buffer: slices that lie in it
};

}  // namespace millrace::flow
