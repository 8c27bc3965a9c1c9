#include "millrace/io/buffer_group.hpp"

#include <doctest/doctest.h>

#include <array>
#include <cstring>
#include <random>
#include <set>
#include <string>

namespace millrace::io {
namespace {

BufferId filled(BufferGroup& group, const std::string& text) {
  const BufferId id = group.take();
  std::memcpy(group.data(id), text.data(), text.size());
  return id;
}

void push(BufferGroup& group, BufferQueue& queue, const std::string& text) {
  queue.push(group, filled(group, text), static_cast<std::uint32_t>(text.size()));
}

std::string contents(const BufferGroup& group, const BufferQueue& queue, std::size_t slices_max = 8) {
  std::array<std::span<const std::byte>, 8> slices;
  const std::size_t filled_in = queue.peek(group, std::span(slices).first(slices_max));
  std::string text;
  for (std::size_t i = 0; i < filled_in; ++i) {
    text.append(reinterpret_cast<const char*>(slices[i].data()), slices[i].size());
  }
  return text;
}

}  // namespace

TEST_CASE("a group hands out each buffer once and then none") {
  BufferGroup group({.count = 5, .bytes_per_buffer = 100});
  CHECK(group.count() == 5);
  CHECK(group.bytes_per_buffer() == 100);
  std::set<BufferId> ids;
  for (unsigned i = 0; i < 5; ++i) {
    CHECK(group.free_count() == 5 - i);
    ids.insert(group.take());
  }
  CHECK(ids.size() == 5);
  CHECK(*ids.rbegin() == 4);
  CHECK(group.free_count() == 0);
  CHECK(group.take() == kNoBuffer);
  CHECK(group.free_count() == 0);
}

TEST_CASE("buffers do not overlap, and keep what was written") {
  BufferGroup group({.count = 3, .bytes_per_buffer = 64});
  for (BufferId id = 0; id < 3; ++id) std::memset(group.data(id), 'a' + id, 64);
  for (BufferId id = 0; id < 3; ++id) {
    CHECK(group.data(id)[0] == static_cast<std::byte>('a' + id));
    CHECK(group.data(id)[63] == static_cast<std::byte>('a' + id));
  }
}

TEST_CASE("the buffer given back last is taken first") {
  BufferGroup group({.count = 8, .bytes_per_buffer = 16});
  const BufferId a = group.take();
  const BufferId b = group.take();
  const BufferId c = group.take();
  group.give_back(a);
  group.give_back(c);
  group.give_back(b);
  CHECK(group.take() == b);
  CHECK(group.take() == c);
  CHECK(group.take() == a);
}

TEST_CASE("the largest group works to its last buffer") {
  BufferGroup group({.count = 65535, .bytes_per_buffer = 4096});
  for (std::uint32_t i = 0; i < 65535; ++i) REQUIRE(group.take() != kNoBuffer);
  CHECK(group.take() == kNoBuffer);
  group.give_back(65534);
  CHECK(group.take() == 65534);
}

TEST_CASE("a queue gives bytes back in order") {
  BufferGroup group({.count = 4, .bytes_per_buffer = 16});
  BufferQueue queue;
  CHECK(queue.empty());
  CHECK(contents(group, queue).empty());
  push(group, queue, "one ");
  push(group, queue, "two ");
  push(group, queue, "three");
  CHECK(queue.bytes() == 13);
  CHECK(queue.buffers() == 3);
  CHECK(contents(group, queue) == "one two three");
  CHECK(contents(group, queue, 2) == "one two ");
  CHECK(contents(group, queue, 0).empty());
  queue.clear(group);
  CHECK(queue.empty());
  CHECK(queue.bytes() == 0);
  CHECK(queue.buffers() == 0);
  CHECK(group.free_count() == 4);
}

TEST_CASE("consuming returns a buffer exactly when its last byte is gone") {
  BufferGroup group({.count = 4, .bytes_per_buffer = 16});
  BufferQueue queue;
  push(group, queue, "abcd");
  push(group, queue, "efgh");
  queue.consume(group, 0);
  CHECK(contents(group, queue) == "abcdefgh");
  queue.consume(group, 3);
  CHECK(contents(group, queue) == "defgh");
  CHECK(group.free_count() == 2);
  CHECK(group.queued_count() == 2);
  queue.consume(group, 1);
  CHECK(group.queued_count() == 1);
  CHECK(group.free_count() == 3);
  CHECK(queue.buffers() == 1);
  queue.consume(group, 2);
  CHECK(contents(group, queue) == "gh");
  CHECK(queue.bytes() == 2);
  push(group, queue, "ij");
  CHECK(contents(group, queue) == "ghij");
  queue.consume(group, 3);
  CHECK(contents(group, queue) == "j");
  queue.consume(group, 1);
  CHECK(queue.empty());
  CHECK(group.free_count() == 4);
  push(group, queue, "again");
  CHECK(contents(group, queue) == "again");
  queue.clear(group);
}

TEST_CASE("queues of one group match a plain model through many random steps") {
  BufferGroup group({.count = 12, .bytes_per_buffer = 9});
  std::array<BufferQueue, 3> queues;
  std::array<std::string, 3> models;
  std::minstd_rand random(7);
  const auto below = [&random](std::uint32_t bound) { return static_cast<std::uint32_t>(random() % bound); };
  for (int step = 0; step < 20000; ++step) {
    const auto which = static_cast<std::size_t>(below(3));
    if (below(2) == 0 && group.free_count() > 0) {
      const std::string text(1 + below(9), static_cast<char>('a' + below(26)));
      push(group, queues[which], text);
      models[which] += text;
    } else {
      const auto length = below(queues[which].bytes() + 1U);
      queues[which].consume(group, length);
      models[which].erase(0, length);
    }
    REQUIRE(queues[which].bytes() == models[which].size());
    REQUIRE(models[which].starts_with(contents(group, queues[which])));
    REQUIRE(group.free_count() + queues[0].buffers() + queues[1].buffers() + queues[2].buffers() == 12);
  }
  for (BufferQueue& queue : queues) queue.clear(group);
  CHECK(group.free_count() == 12);
}

TEST_CASE("a queue stays small, for two of them live in every flow") {
  CHECK(sizeof(BufferQueue) <= 12);
}

TEST_CASE("trim gives back the memory of what a burst touched, and keeps what was used since") {
  BufferGroup group({.count = 64, .bytes_per_buffer = 4096});
  std::vector<BufferId> taken;
  for (int i = 0; i < 32; ++i) {
    taken.push_back(group.take());
    group.data(taken.back())[0] = std::byte{7};
  }
  CHECK(group.free_touched() == 0);
  for (const BufferId id : taken) group.give_back(id);
  CHECK(group.free_touched() == 32);
  group.trim(8);  // all 32 were in use a moment ago
  CHECK(group.free_touched() == 32);
  group.trim(8);
  CHECK(group.free_touched() == 8);
  int zeroed = 0;
  for (const BufferId id : taken) zeroed += group.data(id)[0] == std::byte{0} ? 1 : 0;
  CHECK(zeroed == 24);
  const BufferId warm = group.take();
  CHECK(group.data(warm)[0] == std::byte{7});
  group.give_back(warm);
}

}  // namespace millrace::io
