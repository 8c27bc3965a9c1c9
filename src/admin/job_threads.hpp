#pragma once
// JobThreads: a few threads that do what they are given, in order, and a queue of bounded length.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace millrace::admin {

class JobThreads {
 public:
  using Job = std::function<void()>;

  JobThreads(const char* name, std::size_t threads, std::size_t waiting_max);
  /// Waits for what has been begun; what waits is dropped.
  ~JobThreads();
  JobThreads(const JobThreads&) = delete;
  JobThreads& operator=(const JobThreads&) = delete;

  /// False when too many wait.
  [[nodiscard]] bool add(Job job);

 private:
  void work();

  std::size_t waiting_max_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> waiting_;
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace millrace::admin
