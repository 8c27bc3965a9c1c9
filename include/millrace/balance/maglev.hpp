#pragma once
// Maglev: a table that maps hashes to backends: even by weight, the same on every node, and little moves when a backend
// comes or goes. An immutable value; any thread.
//
// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.
// Weights as in Envoy and in Katran's MaglevHashV2: backends take slots in turn, one of weight w in w of every
// (highest weight) rounds.
//
// - The table depends on the set of (name, weight) only, not on the order of the entries, the machine or the run.
//   Slots hold positions in the given entries; the turns follow the order of the names (bytewise). Names are expected
//   to be unique: entries of equal name take their turns in the given order.
// - Slots per backend: with equal weights all within 1 of each other. Otherwise, for a fair share of
//   slots * weight / (sum of weights), at most 2 above it and at most 1 + backends * weight / (sum of weights) below
//   it, which is 1.5 % of its share with 1,000 backends. Every backend has a slot while there are no more backends than
//   slots.
// - A backend that is not eligible stays in the table, so that only its clients move: each on its own to a next choice,
//   spread over the others by weight. They return when it does. This is exact: no other client ever moves.
// - A backend that is added or removed makes a new table; besides its share, some slots of others move. That is the
//   price that Maglev pays for the even spread (measured bounds: tests/unit/balance/maglev_test.cpp).
//
// Memory: 4 bytes a slot, 256 KiB by default, and 16 bytes a backend. Building takes O(slots * log slots) on average
// plus O(slots * backends) additions when one weight is far above the others; milliseconds.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "millrace/balance/pick.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::balance {

/// FNV-1a (64 bit) of the bytes, then mix64, because FNV alone leaves similar names with similar high bits. Must never
/// change: nodes of different versions would send the same client to different backends.
[[nodiscard]] std::uint64_t stable_hash(std::string_view name);

class Maglev {
 public:
  struct Entry {
    std::string_view name;  // needed during construction only
    std::uint32_t weight;   // 0: not in the table
  };

  /// A prime; the paper asks for at least 100 slots a backend for an even spread.
  static constexpr std::uint32_t kSlotsDefault = 65'537;

  explicit Maglev(std::span<const Entry> entries, std::uint32_t slots = kSlotsDefault);

  /// No entry, or none with a weight.
  [[nodiscard]] bool empty() const { return slots_.empty(); }
  [[nodiscard]] std::span<const std::uint32_t> slots() const { return slots_; }

  /// The backend of this hash while all are eligible. The table must not be empty. Any 64-bit value is a good hash as
  /// long as different clients have different ones: it is mixed here.
  [[nodiscard]] std::uint32_t at(std::uint64_t hash) const {
    MILLRACE_ASSERT(!empty(), "lookup in an empty Maglev table");
    return slot(mix64(hash));
  }

  /// at(hash), or the first eligible one of the next choices: the slots of hash 1, hash 2, ..., where hash k+1 is
  /// mix64(hash k). When those are used up a scan decides. All of it follows from the hash, the names, the weights and
  /// who is eligible, so every node agrees. To retry elsewhere, call a backend that was tried not eligible.
  template <EligibleFn Eligible>
  [[nodiscard]] std::optional<std::uint32_t> pick(std::uint64_t hash, Eligible&& eligible) const {
    if (empty()) return std::nullopt;
    for (int choice = 0; choice < kChoices; ++choice) {
      hash = mix64(hash);
      const std::uint32_t index = slot(hash);
      if (eligible(index)) return index;
    }
    return scan(hash, eligible);
  }

 private:
  struct Member {
    std::uint64_t name_hash;
    std::uint32_t index;
    std::uint32_t weight;
  };

  // Enough that the scan is rare: with a tenth of the weight eligible, 1 pick in 850 needs it.
  static constexpr int kChoices = 64;

  [[nodiscard]] std::uint32_t slot(std::uint64_t mixed) const { return slots_[scale(mixed, slots_.size())]; }
  [[nodiscard]] static std::vector<Member> members_by_name(std::span<const Entry> entries);
  [[nodiscard]] static std::vector<std::uint32_t> fill(std::span<const Member> members, std::uint32_t slots);
  [[nodiscard]] static double distance(std::uint64_t hash, const Member& member);

  // Weighted rendezvous hashing among the eligible ones. A walk to the next eligible neighbour would be simpler, but
  // gives nearly everything to the first one behind a long gap, and gaps are long when the scan is needed.
  template <class Eligible>
  std::optional<std::uint32_t> scan(std::uint64_t hash, Eligible& eligible) const {
    std::optional<std::uint32_t> nearest;
    double shortest = 0;
    for (const Member& member : members_) {
      if (!eligible(member.index)) continue;
      const double length = distance(hash, member);
      if (nearest && length >= shortest) continue;
      nearest = member.index;
      shortest = length;
    }
    return nearest;
  }

  std::vector<Member> members_;       // those with a weight, ordered by name
  std::vector<std::uint32_t> slots_;  // positions in the entries; empty exactly when members_ is
};

}  // namespace millrace::balance
