#include "millrace/flow/outbox.hpp"

#include <algorithm>
#include <cstring>

#include "millrace/base/assert.hpp"

namespace millrace::flow {

using io::kTrainBytesMax;
using io::kTrainDatagramsMax;

namespace {

std::uint32_t datagrams_in(std::uint32_t bytes, std::uint32_t segment_bytes) {
  return (bytes + segment_bytes - 1) / segment_bytes;
}

}  // namespace

Outbox::Outbox(io::Io& io, std::uint32_t messages)
    : io_(io), buffers_(io.datagram_buffers()), messages_(messages), references_(buffers_.count()) {
  waiting_.reserve(messages);
}

// ---- gathering ----

bool Outbox::add(UdpSession& session, Direction direction, const Way& way, io::BufferId buffer,
                 std::span<const std::byte> payload, std::uint32_t segment_bytes) {
  const auto side = static_cast<std::size_t>(direction);
  auto offset = static_cast<std::uint32_t>(payload.data() - buffers_.data(buffer));
  auto left = static_cast<std::uint32_t>(payload.size());
  const std::uint32_t segment = segment_bytes == 0 ? left : segment_bytes;
  const bool trains = segment > 0 && segment <= session.train_segment_max[side];
  ++references_[buffer];  // so that it stays while its parts are handed out
  bool all = true;
  do {
    const std::uint32_t first = std::min(segment, left);
    Message* message = trains ? gathering(session, direction, way, segment, left) : nullptr;
    if (message == nullptr) {
      message = begin(session.id, direction, way, segment);
      if (message == nullptr) {
        all = false;
        break;
      }
      session.gathering[side] = message->id.index + 1;  // also of one that is complete: nothing may overtake it
    }
    std::uint32_t length = first;
    if (trains && left > first) {
      const std::uint32_t room_bytes = kTrainBytesMax - std::min(kTrainBytesMax, message->bytes);
      const std::uint32_t room = std::min(kTrainDatagramsMax - message->datagrams, room_bytes / segment);
      length = std::min(left, std::max(room, 1U) * segment);  // a datagram that large goes alone
    }
    append(*message, buffer, offset, length);
    message->complete = !trains;
    offset += length;
    left -= length;
  } while (left > 0);
  release(buffer);
  return all;
}

/// The message that at least the first of these datagrams may be added to: `bytes` in all, of `segment_bytes` each.
Outbox::Message* Outbox::gathering(const UdpSession& session, Direction direction, const Way& way,
                                   std::uint32_t segment_bytes, std::uint32_t bytes) {
  const std::uint32_t slot = session.gathering[static_cast<std::size_t>(direction)];
  if (slot == 0 || waiting_.empty()) return nullptr;
  Message* message = messages_.find(slot - 1);
  if (message == nullptr || message->complete || message->attempts != 0 || message->direction != direction) {
    return nullptr;
  }
  if (message->session != session.id) return nullptr;  // the slot has another message by now
  const bool shorter_last = bytes == segment_bytes && bytes < message->segment_bytes;
  if (message->segment_bytes != segment_bytes && !shorter_last) return nullptr;
  const bool full_so_far = message->bytes == message->datagrams * message->segment_bytes;
  const bool room =
      message->datagrams < kTrainDatagramsMax && message->bytes + std::min(bytes, segment_bytes) <= kTrainBytesMax;
  return full_so_far && room && message->way == way ? message : nullptr;
}

Outbox::Message* Outbox::begin(SlotId session, Direction direction, const Way& way, std::uint32_t segment_bytes) {
  Message* message = messages_.take();
  if (message == nullptr) return nullptr;
  message->session = session;
  message->direction = direction;
  message->segment_bytes = segment_bytes;
  message->way = way;
  waiting_.push_back(message->id.index);
  return message;
}

void Outbox::append(Message& message, io::BufferId buffer, std::uint32_t offset, std::uint32_t length) {
  MILLRACE_ASSERT(message.slices < message.pieces.size(), "room for a slice");
  message.pieces[message.slices++] = {.offset = offset, .length = length, .buffer = buffer};
  message.bytes += length;
  message.datagrams += length == 0 ? 1 : datagrams_in(length, message.segment_bytes);
  MILLRACE_ASSERT(message.datagrams <= kTrainDatagramsMax, "a train has a limited number of datagrams");
  ++references_[buffer];
}

// ---- buffers ----

void Outbox::drop(io::BufferId buffer) {
  MILLRACE_ASSERT(references_[buffer] == 0, "part of it is to be sent");
  buffers_.give_back(buffer);
}

void Outbox::release(io::BufferId buffer) {
  MILLRACE_ASSERT(references_[buffer] > 0, "released more often than used");
  if (--references_[buffer] == 0) buffers_.give_back(buffer);
}

// ---- sending ----

void Outbox::submit(const Message& message) {
  std::array<std::span<const std::byte>, kTrainDatagramsMax> slices;
  for (std::size_t i = 0; i < message.slices; ++i) {
    const Message::Slice& piece = message.pieces[i];
    slices[i] = {buffers_.data(piece.buffer) + piece.offset, piece.length};
  }
  io_.send_datagrams(io::OpTag(io::OpKind::send_datagrams, 0, message.id.generation, message.id.index), message.way.fd,
                     {.to = message.way.to,
                      .from = message.way.from,
                      .slices = std::span(slices).first(message.slices),
                      .segment_bytes = message.datagrams > 1 ? message.segment_bytes : 0});
}

std::uint64_t Outbox::hash(const Message& message) const {
  std::array<char, kHashedMax> bytes;
  std::size_t length = 0;
  for (std::size_t i = 0; i < message.slices; ++i) {
    const Message::Slice& piece = message.pieces[i];
    MILLRACE_ASSERT(length + piece.length <= bytes.size(), "a small message");
    std::memcpy(bytes.data() + length, buffers_.data(piece.buffer) + piece.offset, piece.length);
    length += piece.length;
  }
  return net::hash_bytes({bytes.data(), length});
}

std::uint64_t Outbox::hash(const Message& message, std::uint32_t datagram) const {
  std::uint32_t offset = datagram * message.segment_bytes;  // every slice begins with a datagram
  const Message::Slice* piece = message.pieces.data();
  for (; offset >= piece->length && offset > 0; ++piece) offset -= piece->length;
  const std::uint32_t length = std::min(message.segment_bytes, piece->length - offset);
  const std::byte* begin = buffers_.data(piece->buffer) + piece->offset + offset;
  return net::hash_bytes({reinterpret_cast<const char*>(begin), length});
}

Outbox::Message& Outbox::completed(const io::Completion& completion) {
  Message* message = messages_.find(completion.tag.slot(), completion.tag.generation());
  MILLRACE_ASSERT(message != nullptr, "a message stays until its send has completed");
  ++message->attempts;
  return *message;
}

void Outbox::done(Message& message) {
  for (std::size_t i = 0; i < message.slices; ++i) release(message.pieces[i].buffer);
  messages_.give_back(&message);
}

void Outbox::again(Message& message, const Way& way) {
  message.way = way;
  waiting_.push_back(message.id.index);
}

bool Outbox::split(Message& message) {
  bool all = true;
  for (std::size_t i = 0; i < message.slices && all; ++i) {
    const Message::Slice& piece = message.pieces[i];
    for (std::uint32_t at = 0; at < piece.length && all; at += message.segment_bytes) {
      Message* single = begin(message.session, message.direction, message.way, message.segment_bytes);
      all = single != nullptr;
      if (!all) break;
      single->attempts = message.attempts;
      append(*single, piece.buffer, piece.offset + at, std::min(message.segment_bytes, piece.length - at));
      single->complete = true;
    }
  }
  done(message);
  return all;
}

}  // namespace millrace::flow
