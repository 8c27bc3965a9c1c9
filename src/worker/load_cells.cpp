#include "load_cells.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <new>

#include "millrace/base/assert.hpp"
#include "millrace/base/rng.hpp"

namespace millrace::worker {

namespace {

/// Whoever has added to another cell than others takes back and tries again this often, then it is refused.
constexpr int kTakenBackMax = 8;

}  // namespace

static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

LoadCells::LoadCells(const Shape& shape)
    : shape_(shape),
      full_(shape.full),
      clock_mask_((std::uint64_t{1} << shape.clock_bits) - 1),
      bucket_mask_(std::bit_ceil(std::max(shape.cells, 2 * kBucket)) / kBucket - 1),
      bytes_((std::size_t{bucket_mask_} + 1) * kBucket * sizeof(std::uint64_t)) {
  MILLRACE_ASSERT(shape.full <= shape.live_max && shape.live_max <= clock_mask_, "loads fit into the cells");
  void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  cells_ = static_cast<std::uint64_t*>(memory);
}

LoadCells::~LoadCells() {
  ::munmap(cells_, bytes_);
}

LoadCells::Added LoadCells::add(std::uint64_t hash, std::uint64_t amount, std::uint64_t now) {
  const std::uint64_t full = full_.load(std::memory_order_relaxed);
  for (int taken_back = 0; taken_back < kTakenBackMax;) {
    const Look seen = look(hash, now);
    if (seen.sum + amount > full) return {.outcome = Outcome::over};
    Found target = seen.own.cell != kNoCell ? seen.own : seen.free;
    if (target.cell == kNoCell) {
      if (!shape_.replaces_least) return {.outcome = Outcome::uncounted};
      target = seen.least;
      target.load = 0;
    }
    std::uint64_t expected = target.word;
    if (!at(target.cell).compare_exchange_strong(expected, word_of(hash, target.load + amount, now))) continue;
    const Look after = look(hash, now);
    if (after.own.cell == target.cell && after.sum <= full) {
      return {.outcome = Outcome::added, .cell = target.cell};
    }
    take_back(target.cell, hash, amount, now);
    ++taken_back;
  }
  return {.outcome = Outcome::over};
}

/// Unless the cell has passed to another key, or its load away.
void LoadCells::take_back(std::uint32_t cell, std::uint64_t hash, std::uint64_t amount, std::uint64_t now) {
  std::uint64_t word = at(cell).load();
  while (same_key(word, hash) && load_of(word, now) >= amount) {
    if (at(cell).compare_exchange_weak(word, word_of(hash, load_of(word, now) - amount, now))) return;
  }
}

void LoadCells::subtract_one(std::uint32_t cell) {
  const std::uint64_t before = at(cell).fetch_sub(1);
  MILLRACE_ASSERT((before & clock_mask_) != 0, "what was counted is released once");
}

std::uint64_t LoadCells::total(std::uint64_t now) const {
  std::uint64_t sum = 0;
  for (std::uint32_t cell = 0; cell <= bucket_mask_ * kBucket + kBucket - 1; ++cell)
    sum += load_of(at(cell).load(), now);
  return sum;
}

LoadCells::Look LoadCells::look(std::uint64_t hash, std::uint64_t now) const {
  const Buckets buckets = buckets_of(hash);
  Look found;
  const std::uint32_t free_in_first = look_at(buckets.first, hash, now, found);
  const Found first_free = found.free;
  found.free = {};
  const std::uint32_t free_in_second = look_at(buckets.second, hash, now, found);
  // The emptier bucket, so that it hardly ever happens that both are full.
  if (free_in_first >= free_in_second) found.free = first_free;
  return found;
}

std::uint32_t LoadCells::look_at(std::uint32_t bucket, std::uint64_t hash, std::uint64_t now, Look& look) const {
  std::uint32_t free = 0;
  for (std::uint32_t cell = bucket * kBucket; cell < (bucket + 1) * kBucket; ++cell) {
    const std::uint64_t word = at(cell).load();
    const Found found{.cell = cell, .word = word, .load = load_of(word, now)};
    if (found.load == 0) {
      if (free++ == 0) look.free = found;
      continue;
    }
    if (look.least.cell == kNoCell || found.load < look.least.load) look.least = found;
    if (!same_key(word, hash)) continue;
    look.sum += found.load;
    if (look.own.cell == kNoCell) look.own = found;
  }
  return free;
}

std::uint64_t LoadCells::load_of(std::uint64_t word, std::uint64_t now) const {
  if (word == 0) return 0;  // never used: no moment at all
  const std::uint64_t ahead = (word - now) & clock_mask_;
  return ahead <= shape_.live_max ? ahead : 0;
}

std::uint64_t LoadCells::word_of(std::uint64_t hash, std::uint64_t load, std::uint64_t now) const {
  return (hash & ~clock_mask_) | ((now + load) & clock_mask_);
}

bool LoadCells::same_key(std::uint64_t word, std::uint64_t hash) const {
  return ((word ^ hash) & ~clock_mask_) == 0;
}

LoadCells::Buckets LoadCells::buckets_of(std::uint64_t hash) const {
  const auto first = static_cast<std::uint32_t>(hash) & bucket_mask_;
  const auto second = static_cast<std::uint32_t>(mix64(hash)) & bucket_mask_;
  return {.first = first, .second = second != first ? second : first ^ 1U};
}

std::atomic_ref<std::uint64_t> LoadCells::at(std::uint32_t cell) const {
  return std::atomic_ref<std::uint64_t>(cells_[cell]);
}

}  // namespace millrace::worker
