#pragma once
// Slab<T>: a fixed number of slots that never move, each with a generation, taken and returned in O(1).
//
// Address space for all slots is reserved at construction; a slot's memory is touched when it is first used, so a large
// capacity costs nothing until it is needed. Slots are reused last-in first-out to stay warm in the cache.
// Owned and used by one thread. Running out is an ordinary case: take() returns null.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>

#include "millrace/base/assert.hpp"

namespace millrace {

/// The identity of a slot while one object lives in it.
struct SlotId {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;

  friend bool operator==(SlotId, SlotId) = default;
};

template <class T>
class Slab {
 public:
  static constexpr std::uint32_t kGenerationMask = (1U << 24U) - 1;  // as many bits as io::OpTag carries

  explicit Slab(std::uint32_t capacity) : capacity_(capacity) {
    bytes_ = sizeof(Slot) * static_cast<std::size_t>(capacity == 0 ? 1 : capacity);
    void* memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    slots_ = static_cast<Slot*>(memory);
  }
  ~Slab() {
    for (std::uint32_t i = 0; i < touched_; ++i) {
      if (slots_[i].in_use) slots_[i].value()->~T();
    }
    ::munmap(slots_, bytes_);
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  /// Constructs a T in a free slot; null when every slot is in use. A constructor that takes a SlotId first is told it.
  template <class... Args>
  [[nodiscard]] T* take(Args&&... args) {
    Slot* slot = nullptr;
    if (free_head_ != kNone) {
      slot = &slots_[free_head_];
      free_head_ = slot->next_free;
    } else if (touched_ < capacity_) {
      slot = &slots_[touched_++];
      slot->generation = 0;
    } else {
      return nullptr;
    }
    slot->generation = (slot->generation + 1) & kGenerationMask;
    slot->in_use = true;
    ++in_use_;
    const SlotId id{static_cast<std::uint32_t>(slot - slots_), slot->generation};
    if constexpr (std::is_constructible_v<T, SlotId, Args...>) {
      return ::new (static_cast<void*>(slot->storage)) T(id, std::forward<Args>(args)...);
    } else {
      return ::new (static_cast<void*>(slot->storage)) T(std::forward<Args>(args)...);
    }
  }

  void give_back(T* value) {
    Slot* slot = slot_of(value);
    MILLRACE_ASSERT(slot->in_use, "slot given back twice");
    value->~T();
    slot->in_use = false;
    slot->next_free = free_head_;
    free_head_ = static_cast<std::uint32_t>(slot - slots_);
    --in_use_;
  }

  [[nodiscard]] std::uint32_t index_of(const T* value) const {
    return static_cast<std::uint32_t>(slot_of(value) - slots_);
  }
  [[nodiscard]] std::uint32_t generation_of(const T* value) const { return slot_of(value)->generation; }

  /// The object in `index`, or null when the slot is free or has been reused since `generation`.
  [[nodiscard]] T* find(std::uint32_t index, std::uint32_t generation) {
    if (index >= touched_) return nullptr;
    Slot& slot = slots_[index];
    return slot.in_use && slot.generation == generation ? slot.value() : nullptr;
  }
  [[nodiscard]] T* find(SlotId id) { return find(id.index, id.generation); }

  /// The object in `index`, or null when the slot is free.
  [[nodiscard]] T* find(std::uint32_t index) {
    return index < touched_ && slots_[index].in_use ? slots_[index].value() : nullptr;
  }

  /// The object in `index`, which must be in use.
  [[nodiscard]] T* at(std::uint32_t index) {
    MILLRACE_ASSERT(index < touched_ && slots_[index].in_use, "the slot is in use");
    return slots_[index].value();
  }
  [[nodiscard]] const T* at(std::uint32_t index) const {
    MILLRACE_ASSERT(index < touched_ && slots_[index].in_use, "the slot is in use");
    return slots_[index].value();
  }

  /// Slots from here on have never been used.
  [[nodiscard]] std::uint32_t touched() const { return touched_; }
  [[nodiscard]] std::uint32_t in_use() const { return in_use_; }
  [[nodiscard]] std::uint32_t capacity() const { return capacity_; }
  [[nodiscard]] static constexpr std::size_t slot_bytes() { return sizeof(Slot); }

  template <class F>
  void for_each(F&& visit) {
    for (std::uint32_t i = 0; i < touched_; ++i) {
      if (slots_[i].in_use) visit(*slots_[i].value());
    }
  }

 private:
  static constexpr std::uint32_t kNone = 0xffffffffU;

  struct Slot {
    alignas(T) std::byte storage[sizeof(T)];
    std::uint32_t generation : 24;
    std::uint32_t in_use : 1;
    std::uint32_t next_free;
    T* value() { return std::launder(reinterpret_cast<T*>(storage)); }
    const T* value() const { return std::launder(reinterpret_cast<const T*>(storage)); }
  };

  [[nodiscard]] Slot* slot_of(const T* value) const {
    const auto offset = reinterpret_cast<const std::byte*>(value) - reinterpret_cast<const std::byte*>(slots_);
    const auto index = static_cast<std::size_t>(offset) / sizeof(Slot);
    MILLRACE_ASSERT(offset >= 0 && index < touched_, "object does not belong to this slab");
    return &slots_[index];
  }

  Slot* slots_ = nullptr;
  std::size_t bytes_ = 0;
  std::uint32_t capacity_;
  std::uint32_t touched_ = 0;  // slots below this have been used at least once
  std::uint32_t free_head_ = kNone;
  std::uint32_t in_use_ = 0;
};

}  // namespace millrace
