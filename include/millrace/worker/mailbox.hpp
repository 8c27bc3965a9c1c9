#pragma once
// Mailbox: how other threads have something done on a worker's thread. Any thread posts a task; the worker takes what
// has come once in a pass, and does one bounded piece of one task in each, so that no flow waits for it.
//
// A list that only grows until it is taken whole: posting is a compare-and-swap, looking into an empty box one load.

#include <atomic>
#include <deque>
#include <future>
#include <memory>

#include "millrace/base/time.hpp"

namespace millrace::worker {

class Worker;

class Task {
 public:
  virtual ~Task() = default;
  /// On the worker's thread: a bounded piece of the work; true when all of it is done.
  [[nodiscard]] virtual bool run(Worker& worker) = 0;

  /// The poster: waits until it is done; false when the worker has ended or does not answer in time. What the task
  /// holds may be read only after a true.
  [[nodiscard]] bool wait(Nanos patience);

 private:
  friend class Mailbox;

  std::promise<bool> done_;
  std::future<bool> answer_ = done_.get_future();
  std::shared_ptr<Task> self_;  // while it is in a mailbox: whoever posted it may have given up
  Task* next_ = nullptr;
};

class Mailbox {
 public:
  Mailbox() = default;
  ~Mailbox();
  Mailbox(const Mailbox&) = delete;
  Mailbox& operator=(const Mailbox&) = delete;

  /// Any thread. A task is posted once. After close() it is answered at once, with false.
  void post(std::shared_ptr<Task> task);

  // The worker's thread.

  /// Does a piece of the oldest task.
  void work(Worker& worker);
  /// Whether there is more to do than has been done.
  [[nodiscard]] bool busy() const { return !tasks_.empty(); }
  /// Answers all that is there and all that will come with false.
  void close();

 private:
  void take_in(Task* newest);
  static void answer(std::shared_ptr<Task>&& task, bool done);

  std::atomic<Task*> newest_{nullptr};
  std::deque<std::shared_ptr<Task>> tasks_;  // taken in, oldest first
};

}  // namespace millrace::worker
