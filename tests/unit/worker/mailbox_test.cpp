#include "millrace/worker/mailbox.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "millrace/worker/worker.hpp"

namespace millrace::worker {

namespace {

constexpr Nanos kPatience = std::chrono::seconds(20);

/// Memory in the place of a worker, which no task here looks at.
class NoWorker {
 public:
  Worker& get() { return reinterpret_cast<Worker&>(storage_); }

 private:
  alignas(Worker) std::byte storage_[sizeof(Worker)];
};

/// Takes so many passes, and notes each.
class Counting : public Task {
 public:
  Counting(std::vector<int>& log, int name, int pieces) : log_(log), name_(name), pieces_(pieces) {}
  bool run(Worker& /*worker*/) override {
    log_.push_back(name_);
    return --pieces_ == 0;
  }

 private:
  std::vector<int>& log_;
  int name_;
  int pieces_;
};

}  // namespace

TEST_CASE("Mailbox: tasks are done in the order of posting, a piece at a time") {
  NoWorker worker;
  Mailbox mailbox;
  std::vector<int> log;
  const auto first = std::make_shared<Counting>(log, 1, 2);
  const auto second = std::make_shared<Counting>(log, 2, 1);
  mailbox.post(first);
  mailbox.post(second);
  mailbox.work(worker.get());
  CHECK(log == std::vector{1});
  CHECK(mailbox.busy());
  CHECK_FALSE(first->wait(Nanos(0)));
  const auto third = std::make_shared<Counting>(log, 3, 1);
  mailbox.post(third);
  for (int pass = 0; pass < 3; ++pass) mailbox.work(worker.get());
  CHECK(log == std::vector{1, 1, 2, 3});
  CHECK_FALSE(mailbox.busy());
  CHECK(first->wait(kPatience));
  CHECK(second->wait(kPatience));
  CHECK(third->wait(kPatience));
  mailbox.work(worker.get());
  CHECK(log.size() == 4);
}

TEST_CASE("Mailbox: what is not done when it closes is answered with false, and so is what comes later") {
  NoWorker worker;
  std::vector<int> log;
  const auto begun = std::make_shared<Counting>(log, 1, 2);
  const auto waiting = std::make_shared<Counting>(log, 2, 1);
  const auto late = std::make_shared<Counting>(log, 3, 1);
  Mailbox mailbox;
  mailbox.post(begun);
  mailbox.work(worker.get());
  mailbox.post(waiting);
  mailbox.close();
  mailbox.post(late);
  for (const auto& task : {begun, waiting, late}) CHECK_FALSE(task->wait(kPatience));
  CHECK(log == std::vector{1});
}

TEST_CASE("Mailbox: nobody has to wait for a task that was posted") {
  NoWorker worker;
  std::vector<int> log;
  Mailbox mailbox;
  mailbox.post(std::make_shared<Counting>(log, 1, 1));
  mailbox.work(worker.get());
  CHECK(log == std::vector{1});
  mailbox.post(std::make_shared<Counting>(log, 2, 1));  // goes with the box
}

TEST_CASE("Mailbox: many threads post, one works, then it closes: everybody is answered") {
  constexpr int kPosters = 4;
  constexpr int kTasks = 500;
  NoWorker worker;
  Mailbox mailbox;
  std::vector<int> log;
  std::vector<std::thread> posters;
  std::atomic<int> done{0};
  std::atomic<int> refused{0};
  for (int i = 0; i < kPosters; ++i) {
    posters.emplace_back([&] {
      for (int n = 0; n < kTasks; ++n) {
        const auto task = std::make_shared<Counting>(log, n, 1);
        mailbox.post(task);
        ++(task->wait(kPatience) ? done : refused);
      }
    });
  }
  while (log.size() < kPosters * kTasks / 2) mailbox.work(worker.get());
  mailbox.close();
  for (std::thread& poster : posters) poster.join();
  CHECK(done + refused == kPosters * kTasks);
  CHECK(static_cast<std::size_t>(done) == log.size());
}

TEST_CASE("ConnectionId: as text and back") {
  for (const ConnectionId& id :
       {ConnectionId{}, ConnectionId{.worker = 3, .slot = 1'000'000, .generation = 77, .udp = false},
        ConnectionId{.worker = 1, .slot = 2, .generation = 3, .udp = true}}) {
    CHECK(ConnectionId::parse(id.to_string()) == id);
  }
  CHECK(ConnectionId{.worker = 1, .slot = 2, .generation = 3, .udp = true}.to_string() == "u1.2.3");
  for (const char* text : {"", "u", "1", "1.2", "1.2.", ".1.2", "1.2.3.4", "1.2.3 ", " 1.2.3", "-1.2.3", "1..3",
                           "x1.2.3", "1.2.4294967296"}) {
    CAPTURE(text);
    CHECK_FALSE(ConnectionId::parse(text));
  }
}

}  // namespace millrace::worker
