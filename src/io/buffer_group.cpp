#include "millrace/io/buffer_group.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <limits>
#include <new>

#include "millrace/base/assert.hpp"

namespace millrace::io {

BufferGroup::BufferGroup(Options options)
    : bytes_per_buffer_(options.bytes_per_buffer), free_count_(options.count), entries_(options.count) {
  MILLRACE_ASSERT(options.count >= 1 && options.count <= kNoBuffer, "1 to 65535 buffers");
  MILLRACE_ASSERT(options.bytes_per_buffer >= 1, "a buffer has room");
  arena_bytes_ = static_cast<std::size_t>(options.count) * options.bytes_per_buffer;
  void* memory =
      ::mmap(nullptr, arena_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  arena_ = static_cast<std::byte*>(memory);
  for (std::uint32_t i = 0; i < options.count; ++i) {
    entries_[i].next = i + 1 < options.count ? static_cast<BufferId>(i + 1) : kNoBuffer;
  }
  free_head_ = 0;
  free_min_ = free_count_;
}

BufferGroup::~BufferGroup() {
  ::munmap(arena_, arena_bytes_);
}

BufferId BufferGroup::take() {
  const BufferId id = free_head_;
  if (id == kNoBuffer) return kNoBuffer;
  Entry& entry = entries_[id];
  MILLRACE_ASSERT(entry.free, "the free list holds free buffers only");
  free_head_ = entry.next;
  entry.next = kNoBuffer;
  entry.free = false;
  if (!entry.touched) {
    entry.touched = true;
    ++touched_;
  }
  --free_count_;
  free_min_ = std::min(free_min_, free_count_);
  return id;
}

void BufferGroup::trim(std::uint32_t keep) {
  const std::uint32_t used_lately = free_count_ - free_min_;
  std::uint32_t skip = std::max(keep, used_lately);
  free_min_ = free_count_;
  BufferId id = free_head_;
  for (; id != kNoBuffer && skip > 0; --skip) id = entries_[id].next;
  // The deepest ones go, at most kTrimMax, so that touched ones still come first.
  std::uint32_t cold = 0;
  for (BufferId i = id; i != kNoBuffer && entries_[i].touched; i = entries_[i].next) ++cold;
  for (std::uint32_t left_hot = cold > kTrimMax ? cold - kTrimMax : 0; left_hot > 0; --left_hot) id = entries_[id].next;
  for (; id != kNoBuffer && entries_[id].touched; id = entries_[id].next) {
    ::madvise(data(id), bytes_per_buffer_, MADV_DONTNEED);
    entries_[id].touched = false;
    --touched_;
  }
}

void BufferGroup::give_back(BufferId id) {
  MILLRACE_ASSERT(id < entries_.size(), "buffer of another group");
  Entry& entry = entries_[id];
  MILLRACE_ASSERT(!entry.free, "buffer given back twice");
  entry.free = true;
  entry.next = free_head_;
  free_head_ = id;
  ++free_count_;
}

void BufferQueue::push(BufferGroup& group, BufferId id, std::uint32_t length) {
  MILLRACE_ASSERT(id < group.entries_.size(), "buffer of another group");
  BufferGroup::Entry& entry = group.entries_[id];
  MILLRACE_ASSERT(!entry.free, "a free buffer cannot be queued");
  MILLRACE_ASSERT(length > 0, "a queued buffer holds bytes");
  MILLRACE_ASSERT(length <= group.bytes_per_buffer_, "more bytes than a buffer holds");
  MILLRACE_ASSERT(length <= std::numeric_limits<std::uint32_t>::max() - bytes_, "a queue holds less than 4 GiB");
  entry.begin = 0;
  entry.end = length;
  entry.next = kNoBuffer;
  if (tail_ == kNoBuffer) {
    head_ = id;
  } else {
    group.entries_[tail_].next = id;
  }
  tail_ = id;
  bytes_ += length;
  ++buffers_;
  ++group.queued_count_;
}

std::size_t BufferQueue::peek(const BufferGroup& group, std::span<std::span<const std::byte>> slices) const {
  std::size_t filled = 0;
  for (BufferId id = head_; id != kNoBuffer && filled < slices.size(); id = group.entries_[id].next) {
    const BufferGroup::Entry& entry = group.entries_[id];
    slices[filled++] = {group.data(id) + entry.begin, entry.end - entry.begin};
  }
  return filled;
}

void BufferQueue::consume(BufferGroup& group, std::uint32_t length) {
  MILLRACE_ASSERT(length <= bytes_, "more consumed than queued");
  bytes_ -= length;
  while (length > 0) {
    const BufferId id = head_;
    BufferGroup::Entry& entry = group.entries_[id];
    const std::uint32_t held = entry.end - entry.begin;
    if (length < held) {
      entry.begin += length;
      return;
    }
    length -= held;
    head_ = entry.next;
    --buffers_;
    --group.queued_count_;
    group.give_back(id);
  }
  if (head_ == kNoBuffer) tail_ = kNoBuffer;
}

void BufferQueue::clear(BufferGroup& group) {
  consume(group, bytes_);
}

}  // namespace millrace::io
