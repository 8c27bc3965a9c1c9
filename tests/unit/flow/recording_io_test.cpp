// The alarm rings: each misuse of Io is noted.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "recording_io.hpp"

namespace millrace::flow::test {

namespace {

constexpr OpTag tag(OpKind kind, unsigned side = 0) {
  return OpTag(kind, side, 1, 1);
}

using Breaches = std::vector<std::string>;

struct Pair {
  Pair() { static_cast<void>(io.open_stream({}, {})); }

  RecordingIo io{{.count = 4, .bytes_per_buffer = 64}};
  Fd client = RecordingIo::kClient;
};

}  // namespace

TEST_CASE("RecordingIo: two receives on one connection") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  pair.io.recv(tag(OpKind::recv, 1), pair.client);
  CHECK(pair.io.breaches == Breaches{"two operations of a kind on a descriptor"});
}

TEST_CASE("RecordingIo: a tag in flight twice") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  pair.io.recv(tag(OpKind::recv), pair.io.backend);
  CHECK(pair.io.breaches == Breaches{"tag in flight twice: recv side=0 slot=1 generation=1"});
}

TEST_CASE("RecordingIo: close with a receive in flight") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  pair.io.close(pair.client, io::CloseMode::normal);
  CHECK(pair.io.breaches == Breaches{"close with something in flight: recv side=0 slot=1 generation=1"});
}

TEST_CASE("RecordingIo: closed twice") {
  Pair pair;
  pair.io.close(pair.client, io::CloseMode::normal);
  pair.io.close(pair.client, io::CloseMode::normal);
  CHECK(pair.io.breaches == Breaches{"use of a closed descriptor"});
}

TEST_CASE("RecordingIo: a byte of the wrong place") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  const io::Completion got = pair.io.receive(tag(OpKind::recv), 10, true);
  const std::span<const std::byte> slice(pair.io.buffers().data(got.buffer) + 1, 9);
  pair.io.send(tag(OpKind::send, 1), pair.io.backend, std::span(&slice, 1));
  pair.io.complete(tag(OpKind::send, 1), 9);
  CHECK(pair.io.breaches == Breaches{"a byte was lost, doubled or out of order"});
}

TEST_CASE("RecordingIo: a buffer reused during its send") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  const io::Completion got = pair.io.receive(tag(OpKind::recv), 10, true);
  const std::span<const std::byte> slice(pair.io.buffers().data(got.buffer), 10);
  pair.io.send(tag(OpKind::send, 1), pair.io.backend, std::span(&slice, 1));
  pair.io.buffers().give_back(got.buffer);
  static_cast<void>(pair.io.receive(tag(OpKind::recv), 10, true));
  pair.io.complete(tag(OpKind::send, 1), 0);
  CHECK(pair.io.breaches == Breaches{"the bytes of a send changed while it was in flight"});
}

TEST_CASE("RecordingIo: FIN before everything was delivered") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  static_cast<void>(pair.io.receive(tag(OpKind::recv), 10, true));
  pair.io.shutdown_write(pair.io.backend);
  CHECK(pair.io.breaches == Breaches{"FIN before everything was delivered"});
}

TEST_CASE("RecordingIo: a splice into a pipe that holds bytes") {
  Pair pair;
  io::Pipe pipe;
  REQUIRE(pair.io.open_pipe(pipe) == 0);
  for (int i = 0; i < 2; ++i) {
    pair.io.splice(tag(OpKind::splice_in), pair.client, pipe.write_end, 100);
    pair.io.complete(tag(OpKind::splice_in), 50);
  }
  CHECK(pair.io.breaches == Breaches{"a pipe is filled only when it is empty"});
}

TEST_CASE("RecordingIo: a receive after the end of the stream") {
  Pair pair;
  pair.io.recv(tag(OpKind::recv), pair.client);
  pair.io.complete(tag(OpKind::recv), 0);
  pair.io.recv(tag(OpKind::recv), pair.client);
  CHECK(pair.io.breaches == Breaches{"receive after the end of the stream"});
}

}  // namespace millrace::flow::test
