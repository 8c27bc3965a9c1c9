#include "millrace/base/thread_clock.hpp"

#include <doctest/doctest.h>

#include <future>
#include <thread>

namespace millrace {

TEST_CASE("ThreadClock: another thread's time, which stays when that thread is gone") {
  ThreadClock clock;
  CHECK(clock.get() == Nanos(0));
  std::promise<void> looked;
  std::promise<void> worked;
  std::thread thread([&] {
    clock.begin();
    const Nanos begin = clock.get();
    while (clock.get() < begin + std::chrono::milliseconds(2)) {
    }
    worked.set_value();
    looked.get_future().wait();
    clock.end();
  });
  worked.get_future().wait();
  const Nanos while_it_lives = clock.get();
  CHECK(while_it_lives >= std::chrono::milliseconds(2));
  looked.set_value();
  thread.join();
  const Nanos after = clock.get();
  CHECK(after >= while_it_lives);
  CHECK(clock.get() == after);
}

}  // namespace millrace
