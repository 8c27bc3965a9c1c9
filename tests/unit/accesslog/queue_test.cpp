#include "millrace/accesslog/queue.hpp"

#include <doctest/doctest.h>

#include <thread>

namespace millrace::accesslog::test {
namespace {

Record numbered(std::uint64_t number) {
  Record record;
  record.bytes_in = number;
  record.bytes_out = ~number;
  return record;
}

}  // namespace

TEST_CASE("Queue: in order, round and round") {
  Bell bell;
  Queue queue(4, bell);
  CHECK(queue.front() == nullptr);
  std::uint64_t next = 0;
  for (std::uint64_t i = 0; i < 100; i += 3) {
    for (std::uint64_t k = 0; k < 3; ++k) queue.push(numbered(i + k));
    while (const Record* record = queue.front()) {
      CHECK(record->bytes_in == next++);
      queue.pop();
    }
  }
  CHECK(next == 102);
  CHECK(queue.dropped() == 0);
}

TEST_CASE("Queue: a full one drops the newest, and counts them") {
  Bell bell;
  Queue queue(8, bell);
  for (std::uint64_t i = 0; i < 11; ++i) queue.push(numbered(i));
  CHECK(queue.dropped() == 3);
  CHECK(queue.front()->bytes_in == 0);
  queue.pop();
  queue.push(numbered(100));  // there is room again
  CHECK(queue.dropped() == 3);
  std::uint64_t last = 0;
  for (; queue.front() != nullptr; queue.pop()) last = queue.front()->bytes_in;
  CHECK(last == 100);
}

TEST_CASE("Queue: a sleeper is woken, and nothing is lost or torn between two threads") {
  constexpr std::uint64_t kRecords = 100'000;
  Bell bell;
  Queue queue(64, bell);
  std::uint64_t seen = 0;
  bool whole = true;
  std::uint64_t last = 0;
  std::thread reader([&] {
    for (bool ended = false; !ended;) {
      bell.fall_asleep();
      if (queue.front() == nullptr) bell.rest(-1);
      bell.stay_awake();
      for (; queue.front() != nullptr; queue.pop()) {
        const Record& record = *queue.front();
        whole = whole && record.bytes_out == ~record.bytes_in && (seen == 0 || record.bytes_in > last);
        last = record.bytes_in;
        ended = record.attempts == 1;
        ++seen;
      }
    }
  });
  for (std::uint64_t i = 0; i < kRecords; ++i) {
    queue.push(numbered(i));
    if (i % 7 == 0) queue.end_of_pass();
  }
  Record end = numbered(kRecords);
  end.attempts = 1;
  const std::uint64_t dropped = queue.dropped();
  std::uint64_t missing = 0;
  do {  // until there was room for it
    missing = queue.dropped();
    queue.push(end);
    queue.end_of_pass();
  } while (queue.dropped() != missing);
  reader.join();
  CHECK(whole);
  CHECK(seen == kRecords + 1 - dropped);
}

}  // namespace millrace::accesslog::test
