#pragma once
// What the datagrams of peers say. Each one names its kind, the client whose conversation it belongs to, its number
// (every datagram of a run has its own) and its length; a checksum covers all that, and what follows depends on it. So
// one that was cut, joined, mixed up or sent to somebody else is noticed. Shorter ones say less:
//   32 bytes and more  everything
//   8 to 31            the kind and the client
//   1 to 7             the kind
//   0                  nothing

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "datagram_network.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::sim {

enum class NoteKind : std::uint8_t { request, reply };

struct Note {
  static constexpr std::uint32_t kUnknown = ~std::uint32_t{0};
  static constexpr std::size_t kWhole = 32;  // bytes from which on it says everything
  static constexpr std::size_t kShort = 8;   // … the kind and the client

  NoteKind kind = NoteKind::request;
  std::uint32_t client = kUnknown;
  std::uint32_t number = kUnknown;
  std::uint32_t length = 0;

  [[nodiscard]] Payload to_payload() const {
    Payload payload(length);
    if (length < kWhole) {
      for (std::size_t i = 0; i < payload.size(); ++i) payload[i] = short_byte(i);
      return payload;
    }
    put(payload, 0, kMagic | static_cast<std::uint64_t>(kind) << 32U);
    put(payload, 8, static_cast<std::uint64_t>(client) << 32U | number);
    put(payload, 16, length);
    put(payload, 24, checksum());
    for (std::size_t i = kWhole; i < payload.size(); ++i) payload[i] = later_byte(i, checksum());
    return payload;
  }

  /// Empty when these bytes are not what anybody has sent.
  [[nodiscard]] static std::optional<Note> read(std::span<const std::byte> bytes) {
    for (const NoteKind kind : {NoteKind::request, NoteKind::reply}) {
      Note note{.kind = kind, .length = static_cast<std::uint32_t>(bytes.size())};
      if (bytes.size() >= kWhole) {
        note.client = static_cast<std::uint32_t>(get(bytes, 8) >> 32U);
        note.number = static_cast<std::uint32_t>(get(bytes, 8));
      } else if (bytes.size() >= kShort) {
        note.client = 0;
        for (std::size_t i = 0; i < kClientBytes; ++i) {
          const auto byte = static_cast<std::uint32_t>(bytes[i] ^ mask(kind));
          note.client = (note.client << 8U) | byte;
        }
      }
      if (note.matches(bytes)) return note;
    }
    return std::nullopt;
  }

 private:
  static constexpr std::uint64_t kMagic = 0x64677261;
  static constexpr std::size_t kClientBytes = 4;

  static void put(Payload& payload, std::size_t offset, std::uint64_t word) {
    for (std::size_t i = 0; i < 8; ++i) payload[offset + i] = static_cast<std::byte>(word >> (i * 8));
  }
  static std::uint64_t get(std::span<const std::byte> bytes, std::size_t offset) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(bytes[offset + i]) << (i * 8);
    return word;
  }
  static std::byte mask(NoteKind kind) { return kind == NoteKind::request ? std::byte{0x5a} : std::byte{0xa6}; }

  [[nodiscard]] std::uint64_t checksum() const {
    return mix64(mix64(static_cast<std::uint64_t>(client) << 32U | number) ^ length ^
                 static_cast<std::uint64_t>(kind) << 40U);
  }
  [[nodiscard]] static std::byte later_byte(std::size_t i, std::uint64_t sum) {
    return static_cast<std::byte>((sum * 0x9e3779b97f4a7c15ULL + i * 0xbf58476d1ce4e5b9ULL) >> 56U);
  }
  [[nodiscard]] std::byte short_byte(std::size_t i) const {
    if (length < kShort) return mask(kind) ^ static_cast<std::byte>(length);  // a train of them is not a longer one
    if (i < kClientBytes) return static_cast<std::byte>(client >> (8 * (kClientBytes - 1 - i))) ^ mask(kind);
    return static_cast<std::byte>(mix64(client ^ static_cast<std::uint64_t>(kind) << 40U) >> (i % 8 * 8));
  }
  [[nodiscard]] bool matches(std::span<const std::byte> bytes) const {
    if (length < kWhole) {
      for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (bytes[i] != short_byte(i)) return false;
      }
      return true;
    }
    const std::uint64_t sum = checksum();
    if (get(bytes, 0) != (kMagic | static_cast<std::uint64_t>(kind) << 32U) || get(bytes, 16) != length) return false;
    if (get(bytes, 24) != sum) return false;
    for (std::size_t i = kWhole; i < bytes.size(); ++i) {
      if (bytes[i] != later_byte(i, sum)) return false;
    }
    return true;
  }
};

}  // namespace millrace::sim
