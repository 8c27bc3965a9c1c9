#pragma once
// A small deterministic random source. Not for secrets. One owner, no locking.
// Algorithm: SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).

#include <cstdint>

namespace millrace {

/// Mixes all bits of `x`; a bijection on 64 bits (SplitMix64's finalizer).
[[nodiscard]] constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// g++ and clang have it; -Wpedantic wants to be told.
// NOLINTNEXTLINE(modernize-use-using)
__extension__ typedef unsigned __int128 Uint128;

/// `word`, uniform over 64 bits, scaled to [0, bound); 0 for bound 0. Uses the high bits most (Lemire, "Fast Random
/// Integer Generation in an Interval", 2019); the bias is below bound / 2^64.
[[nodiscard]] constexpr std::uint64_t scale(std::uint64_t word, std::uint64_t bound) {
  return static_cast<std::uint64_t>((static_cast<Uint128>(word) * bound) >> 64U);
}

class Rng {
 public:
  explicit constexpr Rng(std::uint64_t seed) : state_(seed) {}

  constexpr std::uint64_t next() {
    const std::uint64_t word = mix64(state_);
    state_ += 0x9e3779b97f4a7c15ULL;
    return word;
  }
  /// Uniform in [0, bound); 0 for bound 0. The bias is below 2^-32 for the bounds used here.
  constexpr std::uint64_t below(std::uint64_t bound) { return scale(next(), bound); }
  /// True once in `n` calls on average; never for n == 0.
  constexpr bool one_in(std::uint64_t n) { return n != 0 && below(n) == 0; }
  /// Uniform in [0, 1).
  constexpr double unit() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }

 private:
  std::uint64_t state_;
};

}  // namespace millrace
