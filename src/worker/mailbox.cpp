#include "millrace/worker/mailbox.hpp"

#include <utility>

#include "millrace/base/assert.hpp"

namespace millrace::worker {

namespace {

/// What stands in a box that takes nothing any more.
class Closed : public Task {
 public:
  bool run(Worker& /*worker*/) override { return true; }
};

Task* closed() {
  static Closed mark;
  return &mark;
}

}  // namespace

bool Task::wait(Nanos patience) {
  return answer_.wait_for(patience) == std::future_status::ready && answer_.get();
}

Mailbox::~Mailbox() {
  close();
}

void Mailbox::post(std::shared_ptr<Task> task) {
  MILLRACE_ASSERT(task->self_ == nullptr, "a task posted twice");
  Task* posted = task.get();
  posted->self_ = std::move(task);
  Task* newest = newest_.load(std::memory_order_acquire);
  do {
    if (newest == closed()) return answer(std::move(posted->self_), false);
    posted->next_ = newest;
  } while (!newest_.compare_exchange_weak(newest, posted, std::memory_order_release, std::memory_order_acquire));
}

void Mailbox::work(Worker& worker) {
  if (newest_.load(std::memory_order_relaxed) != nullptr) {
    take_in(newest_.exchange(nullptr, std::memory_order_acquire));
  }
  if (tasks_.empty() || !tasks_.front()->run(worker)) return;
  answer(std::move(tasks_.front()), true);
  tasks_.pop_front();
}

void Mailbox::close() {
  Task* newest = newest_.exchange(closed(), std::memory_order_acq_rel);
  if (newest != closed()) take_in(newest);
  for (std::shared_ptr<Task>& task : tasks_) answer(std::move(task), false);
  tasks_.clear();
}

void Mailbox::take_in(Task* newest) {
  const auto older = static_cast<std::ptrdiff_t>(tasks_.size());
  for (Task* task = newest; task != nullptr; task = task->next_) {
    tasks_.insert(tasks_.begin() + older, std::move(task->self_));
  }
}

/// Lets go of the task first: so whoever waits for it frees it, not the worker's thread.
void Mailbox::answer(std::shared_ptr<Task>&& task, bool done) {
  std::promise<bool> answer = std::move(task->done_);
  task.reset();
  answer.set_value(done);
}

}  // namespace millrace::worker
