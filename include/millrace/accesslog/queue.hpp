#pragma once
// Queue: the records of one worker on their way to the writer. A ring of fixed size with one producer and one consumer;
// neither ever waits for the other. When it is full a record is dropped and counted.
//
// The producer rings the writer's bell at most once a pass, and only when the writer sleeps: under load it does not
// sleep but looks by itself every few milliseconds, and workers make no system call for it.

#include <atomic>
#include <cstdint>
#include <new>

#include "millrace/accesslog/record.hpp"
#include "millrace/base/counter.hpp"

namespace millrace::accesslog {

/// Wakes the writer. Any thread may ring.
class Bell {
 public:
  Bell();
  ~Bell();
  Bell(const Bell&) = delete;
  Bell& operator=(const Bell&) = delete;

  /// Only if the writer sleeps.
  void ring_sleeper() {
    // Both sides exchange: either this one sees the sleep, or it comes first, and the writer, who has then read what is
    // written here, sees everything that was published before.
    if (asleep_.exchange(false, std::memory_order_acq_rel)) ring();
  }
  void ring();

  // The writer.

  /// Announces a sleep; look once more for something to do, then rest().
  void fall_asleep() { asleep_.exchange(true, std::memory_order_acq_rel); }
  void stay_awake() { asleep_.store(false, std::memory_order_relaxed); }
  /// Until somebody rings, or so many milliseconds at most; negative: no end.
  void rest(int milliseconds);

 private:
  std::atomic<bool> asleep_{false};
  int fd_;
};

class Queue {
 public:
  /// A power of two. Memory is reserved, and touched on use.
  Queue(std::uint32_t capacity, Bell& bell);
  ~Queue();
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // The producer.

  void push(const Record& record) {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_seen_ == capacity_) {
      head_seen_ = head_.load(std::memory_order_acquire);
      if (tail - head_seen_ == capacity_) return dropped_.add();
    }
    ::new (static_cast<void*>(records_ + (tail & (capacity_ - 1)))) Record(record);
    tail_.store(tail + 1, std::memory_order_release);
    rings_due_ = true;
  }
  /// Once a pass: has the writer woken if there is something for it.
  void end_of_pass() {
    if (!rings_due_) return;
    rings_due_ = false;
    bell_.ring_sleeper();
  }

  // The writer.

  /// Null when it is empty; valid until pop().
  [[nodiscard]] const Record* front() const {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_acquire)) return nullptr;
    return records_ + (head & (capacity_ - 1));
  }
  void pop() { head_.store(head_.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

  /// Any thread.
  [[nodiscard]] std::uint32_t capacity() const { return capacity_; }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_.get(); }

 private:
  Record* records_;
  std::uint32_t capacity_;
  Bell& bell_;
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::uint32_t head_seen_ = 0;  // the producer's, so that it seldom looks at head_
  bool rings_due_ = false;
  Counter dropped_;
  alignas(64) std::atomic<std::uint32_t> head_{0};
};

}  // namespace millrace::accesslog
