#pragma once
// LoadCells: loads of very many keys, of which only those in use take room. A fixed number of cells of 64 bits, in
// buckets of a cache line; a key may be in the two buckets that its hash names. Any thread may call; no locks, no
// allocation.
//
// A cell holds a part of its key's hash (the tag), and a moment on a clock of the table's own: the key's load is what
// lies between now and that moment. So loads decay as time passes, and a cell whose moment is past is free, without
// anybody clearing it. (This is GCRA, the "virtual scheduling" form of a token bucket.) On a clock that stands still
// loads are plain counts.
//
// A key is mostly in one cell. But two threads may begin to count it in two cells: its load is the sum, and whoever has
// added looks once more, and takes back what is in the later of two cells, or too much. All operations are sequentially
// consistent: of several who add, the last one sees what the others added. So no load is ever above the maximum, not
// even when two cells of a key decay side by side: then it decays twice as fast, until one of them is free.

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace millrace::worker {

class LoadCells {
 public:
  struct Shape {
    std::uint32_t cells = 0;      // rounded up to a power of two
    unsigned clock_bits = 24;     // the rest of a cell is the tag
    std::uint64_t full = 0;       // what a key's load may be at most
    std::uint64_t live_max = 0;   // what lies further ahead than this is past (the clock goes round)
    bool replaces_least = false;  // without a free cell: replace the least load, instead of leaving a key uncounted
  };
  enum class Outcome : std::uint8_t { added, uncounted, over };
  struct Added {
    Outcome outcome = Outcome::over;
    std::uint32_t cell = 0;  // meaningful when added
  };

  explicit LoadCells(const Shape& shape);
  ~LoadCells();
  LoadCells(const LoadCells&) = delete;
  LoadCells& operator=(const LoadCells&) = delete;

  /// Adds `amount` to the load of the key with this hash, unless it would be above the maximum.
  [[nodiscard]] Added add(std::uint64_t hash, std::uint64_t amount, std::uint64_t now);
  /// Takes 1 back. Only on a clock that stands still.
  void subtract_one(std::uint32_t cell);
  /// From now on; who has more keeps it. At most what the shape's live_max is.
  void set_full(std::uint64_t full) { full_.store(full, std::memory_order_relaxed); }
  /// Of all keys.
  [[nodiscard]] std::uint64_t total(std::uint64_t now) const;

 private:
  static constexpr std::uint32_t kBucket = 8;  // cells: a cache line
  static constexpr std::uint32_t kNoCell = 0xffffffffU;

  struct Found {
    std::uint32_t cell = kNoCell;
    std::uint64_t word = 0;
    std::uint64_t load = 0;
  };
  struct Look {
    std::uint64_t sum = 0;  // the key's load
    Found own;              // a cell of the key
    Found free;
    Found least;
  };
  struct Buckets {
    std::uint32_t first;
    std::uint32_t second;
  };

  [[nodiscard]] std::uint64_t load_of(std::uint64_t word, std::uint64_t now) const;
  [[nodiscard]] std::uint64_t word_of(std::uint64_t hash, std::uint64_t load, std::uint64_t now) const;
  [[nodiscard]] bool same_key(std::uint64_t word, std::uint64_t hash) const;
  [[nodiscard]] Buckets buckets_of(std::uint64_t hash) const;
  [[nodiscard]] Look look(std::uint64_t hash, std::uint64_t now) const;
  /// Looks at one bucket; returns how many cells are free.
  std::uint32_t look_at(std::uint32_t bucket, std::uint64_t hash, std::uint64_t now, Look& look) const;
  void take_back(std::uint32_t cell, std::uint64_t hash, std::uint64_t amount, std::uint64_t now);
  [[nodiscard]] std::atomic_ref<std::uint64_t> at(std::uint32_t cell) const;

  Shape shape_;
  std::atomic<std::uint64_t> full_;
  std::uint64_t clock_mask_;
  std::uint32_t bucket_mask_;
  std::size_t bytes_;
  std::uint64_t* cells_;  // reserved address space, which takes no memory until it is written to
};

}  // namespace millrace::worker
