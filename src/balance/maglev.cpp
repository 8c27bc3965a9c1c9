#include "millrace/balance/maglev.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace millrace::balance {
namespace {

constexpr std::uint32_t kFree = std::numeric_limits<std::uint32_t>::max();

constexpr bool is_prime(std::uint64_t n) {
  if (n < 2) return false;
  for (std::uint64_t divisor = 2; divisor * divisor <= n; ++divisor) {
    if (n % divisor == 0) return false;
  }
  return true;
}
static_assert(is_prime(Maglev::kSlotsDefault));

/// One backend's walk through its permutation of the slots: offset, offset + skip, offset + 2 skip, ... As the number
/// of slots is a prime, it visits each of them once.
class Walk {
 public:
  Walk(std::uint64_t name_hash, std::uint32_t slots)
      : position_(static_cast<std::uint32_t>(name_hash % slots)),
        skip_(static_cast<std::uint32_t>(mix64(name_hash) % (slots - 1)) + 1),
        slots_(slots) {}

  /// The first position from here on that is free. There must be one.
  std::uint32_t next_free(std::span<const std::uint32_t> table) {
    while (table[position_] != kFree) advance();
    return position_;
  }

 private:
  void advance() {
    const std::uint32_t to_end = slots_ - position_;
    position_ = skip_ < to_end ? position_ + skip_ : skip_ - to_end;
  }

  std::uint32_t position_;
  std::uint32_t skip_;
  std::uint32_t slots_;
};

}  // namespace

std::uint64_t stable_hash(std::string_view name) {
  constexpr std::uint64_t kOffsetBasis = 0xcbf29ce484222325ULL;
  constexpr std::uint64_t kPrime = 0x00000100000001b3ULL;
  std::uint64_t hash = kOffsetBasis;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  return mix64(hash);
}

Maglev::Maglev(std::span<const Entry> entries, std::uint32_t slots) : members_(members_by_name(entries)) {
  MILLRACE_ASSERT(is_prime(slots), "a permutation by offset and skip reaches every slot only if their number is prime");
  MILLRACE_ASSERT(entries.size() < kFree, "positions and the mark of a free slot share 32 bits");
  if (!members_.empty()) slots_ = fill(members_, slots);
}

std::vector<Maglev::Member> Maglev::members_by_name(std::span<const Entry> entries) {
  std::vector<Member> members;
  members.reserve(entries.size());
  for (std::uint32_t index = 0; index < entries.size(); ++index) {
    const Entry& entry = entries[index];
    if (entry.weight != 0) members.push_back({stable_hash(entry.name), index, entry.weight});
  }
  std::stable_sort(members.begin(), members.end(),
                   [&](const Member& a, const Member& b) { return entries[a.index].name < entries[b.index].name; });
  return members;
}

std::vector<std::uint32_t> Maglev::fill(std::span<const Member> members, std::uint32_t slots) {
  std::vector<Walk> walks;
  walks.reserve(members.size());
  std::uint64_t price = 0;  // of one slot: what the heaviest earns in one round
  for (const Member& member : members) {
    walks.emplace_back(member.name_hash, slots);
    price = std::max<std::uint64_t>(price, member.weight);
  }
  // All can pay for one slot at the start, so that a light backend among heavy ones has one too.
  std::vector<std::uint64_t> credit(members.size(), price);
  std::vector<std::uint32_t> table(slots, kFree);
  for (std::uint32_t taken = 0;;) {
    for (std::size_t turn = 0; turn < members.size(); ++turn) {
      if (credit[turn] >= price) {
        credit[turn] -= price;
        table[walks[turn].next_free(table)] = members[turn].index;
        if (++taken == slots) return table;
      }
      credit[turn] += members[turn].weight;
    }
  }
}

/// Weights by the logarithmic method (Schindelhauer and Schomaker, "Weighted Distributed Hash Tables", SPAA 2005) on
/// rendezvous hashing (Thaler and Ravishankar, 1998): exponential variables of rate `weight`; the smallest is each
/// one's with a probability in proportion to its weight.
double Maglev::distance(std::uint64_t hash, const Member& member) {
  const double unit = (static_cast<double>(mix64(hash ^ member.name_hash) >> 11U) + 0.5) * 0x1.0p-53;  // in (0, 1)
  return -std::log(unit) / static_cast<double>(member.weight);
}

}  // namespace millrace::balance
