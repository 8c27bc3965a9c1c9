#include "capacity.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>

namespace millrace::app {

namespace {

config::Runtime runtime(std::uint32_t workers, std::uint32_t max_connections) {
  config::Runtime runtime;
  runtime.workers = workers;
  runtime.max_connections = max_connections;
  return runtime;
}

Capacity automatic(std::uint32_t cpus, std::uint64_t open_files) {
  return derive_capacity(runtime(0, 0), {.cpus = cpus, .open_files = open_files}, cpus, 10);
}

bool same(const Capacity& a, const Capacity& b) {
  return a.workers == b.workers && a.max_connections == b.max_connections &&
         a.affordable_connections == b.affordable_connections && a.slots == b.slots && a.pipes == b.pipes &&
         a.buffers == b.buffers;
}

}  // namespace

TEST_CASE("capacity: workers: one per CPU, or as configured") {
  CHECK(automatic(1, 65536).workers == 1);
  CHECK(automatic(64, 65536).workers == 64);
  CHECK(automatic(0, 65536).workers == 1);  // it could not be found out
  CHECK(derive_capacity(runtime(3, 0), {.cpus = 64, .open_files = 65536}, 1, 1).workers == 3);
  CHECK(derive_capacity(runtime(1024, 0), {.cpus = 1, .open_files = 65536}, 1, 1).workers == 1024);
}

TEST_CASE("capacity: auto: what the file limit allows, two descriptors a connection") {
  for (const std::uint64_t files : std::array<std::uint64_t, 4>{4096, 65536, 100'000, 1'048'576}) {
    const Capacity capacity = automatic(4, files);
    CHECK(capacity.max_connections == capacity.affordable_connections);
    CHECK(capacity.max_connections > files * 40 / 100);
    CHECK(capacity.max_connections < files / 2);
  }
}

TEST_CASE("capacity: auto: everything that needs a descriptor fits under the file limit") {
  for (std::uint64_t files = 1024; files <= 1'048'576; files += files / 7) {
    for (const std::uint32_t cpus : {1U, 2U, 7U, 16U}) {
      for (const std::uint32_t probed : {0U, 3U, 256U}) {
        const std::uint32_t sockets = 5 * cpus;
        const Capacity capacity = derive_capacity(runtime(0, 0), {.cpus = cpus, .open_files = files}, sockets, probed);
        REQUIRE(capacity.max_connections > 1);
        const std::uint64_t rings = 2 * (cpus + 1);
        const std::uint64_t pipes = std::uint64_t{2} * capacity.pipes * capacity.workers;
        REQUIRE(std::uint64_t{2} * capacity.max_connections + pipes + rings + sockets + probed + 16 <= files);
      }
    }
  }
}

TEST_CASE("capacity: auto: more files never give less, more to reserve never gives more") {
  std::uint32_t before = 0;
  for (std::uint64_t files = 1; files < 200'000; files += 1 + files / 10) {
    const Capacity capacity = automatic(2, files);
    CHECK(capacity.max_connections >= before);
    before = capacity.max_connections;
    const Capacity more_sockets = derive_capacity(runtime(0, 0), {.cpus = 2, .open_files = files}, 100, 10);
    CHECK(more_sockets.max_connections <= capacity.max_connections);
    const Capacity more_probes = derive_capacity(runtime(0, 0), {.cpus = 2, .open_files = files}, 2, 200);
    CHECK(more_probes.max_connections <= capacity.max_connections);
  }
}

TEST_CASE("capacity: probes run at most 256 at once, however many backends there are") {
  const Machine machine{.cpus = 2, .open_files = 10'000};
  const Capacity some = derive_capacity(runtime(0, 0), machine, 2, 256);
  const Capacity many = derive_capacity(runtime(0, 0), machine, 2, 1'000'000);
  CHECK(same(some, many));
}

TEST_CASE("capacity: configured max_connections is obeyed, and what the files allow is told") {
  const Capacity more = derive_capacity(runtime(0, 50'000), {.cpus = 2, .open_files = 1024}, 2, 2);
  CHECK(more.max_connections == 50'000);
  CHECK(more.affordable_connections < 512);
  const Capacity fewer = derive_capacity(runtime(0, 10), {.cpus = 2, .open_files = 65536}, 2, 2);
  CHECK(fewer.max_connections == 10);
  CHECK(fewer.affordable_connections > 30'000);
  CHECK(fewer.slots >= 10);
  CHECK(fewer.slots < 2000);
}

TEST_CASE("capacity: a worker has a slot for every connection, and some for what one batch accepts beyond") {
  for (const std::uint32_t limit : {1U, 100U, 400'000U}) {
    for (const std::uint32_t workers : {1U, 16U}) {
      const Capacity capacity = derive_capacity(runtime(workers, limit), {.cpus = 1, .open_files = 1'048'576}, 1, 1);
      CHECK(capacity.slots == limit + 1024);
    }
  }
}

TEST_CASE("capacity: tiny file limits still give one of everything") {
  for (const std::uint64_t files : std::array<std::uint64_t, 6>{0, 1, 32, 64, 100, 256}) {
    for (const std::uint32_t cpus : {1U, 128U}) {
      const Capacity capacity = automatic(cpus, files);
      CHECK(capacity.max_connections >= 1);
      CHECK(capacity.max_connections <= 128);
      CHECK(capacity.slots >= capacity.max_connections);
      CHECK(capacity.pipes >= 1);
      CHECK(capacity.buffers >= 1024);
    }
  }
}

TEST_CASE("capacity: a huge file limit sizes nothing") {
  const Capacity sane = automatic(8, kOpenFilesUsed);
  for (const std::uint64_t files :
       std::array<std::uint64_t, 3>{kOpenFilesUsed + 1, std::uint64_t{1} << 30U, ~std::uint64_t{0}}) {
    CHECK(same(automatic(8, files), sane));
  }
  CHECK(sane.max_connections < kOpenFilesUsed / 2);
}

TEST_CASE("capacity: buffers: two a connection, within what 16-bit ids and good sense allow") {
  CHECK(automatic(1, 1024).buffers >= 1024);
  CHECK(automatic(1, 1'048'576).buffers == 32768);
  const Capacity capacity = derive_capacity(runtime(1, 5000), {.cpus = 1, .open_files = 65536}, 1, 1);
  CHECK(capacity.buffers == 2 * capacity.slots);
}

TEST_CASE("capacity: pipes are shared out among the workers") {
  const Capacity one = automatic(1, 65536);
  const Capacity eight = derive_capacity(runtime(8, 0), {.cpus = 1, .open_files = 65536}, 1, 1);
  CHECK(one.pipes == 1024);
  CHECK(eight.pipes == 128);
  CHECK(automatic(1, 1'048'576).pipes == 4096);
}

TEST_CASE("capacity: UDP: without a UDP listener, room for what a reload may bring") {
  const Capacity capacity = derive_capacity(runtime(2, 0), {.cpus = 2, .open_files = 65536}, 4, 10, {{.udp = false}});
  CHECK(capacity.upstream_sockets > 0);
  CHECK(capacity.sessions > 0);
  CHECK(capacity.datagram_buffers > 0);
  const Capacity alone = derive_capacity(runtime(2, 0), {.cpus = 2, .open_files = 65536}, 4, 10);
  CHECK(capacity.max_connections == alone.max_connections);  // it costs no connection
  CHECK(capacity.max_sessions == std::vector<std::uint32_t>{0});
}

TEST_CASE("capacity: UDP: upstream sockets and connections together fit under the file limit") {
  for (const std::uint64_t files : {1024ULL, 20'000ULL, 200'000ULL}) {
    for (const bool alone : {false, true}) {
      std::vector<ListenerDemand> listeners = {{.udp = true, .max_sessions = 0, .backends = 3}};
      if (!alone) listeners.push_back({.udp = false});
      const Capacity capacity = derive_capacity(runtime(2, 0), {.cpus = 2, .open_files = files}, 4, 10, listeners);
      const std::uint64_t upstreams = std::uint64_t{2} * capacity.upstream_sockets;
      CHECK(upstreams + std::uint64_t{2} * capacity.max_connections <= files);
      CHECK(upstreams > files * (alone ? 80 : 40) / 100);
      CHECK(capacity.max_connections >= 1);
      CHECK(capacity.max_sessions[0] >= 3 * upstreams);
      CHECK(capacity.max_sessions[0] <= std::min<std::uint64_t>(3 * upstreams + 6, 3 * files));
      CHECK(capacity.sessions == capacity.max_sessions[0]);
    }
  }
}

TEST_CASE("capacity: UDP: max_sessions as configured; a limit that allows nothing still leaves one of each") {
  const std::vector<ListenerDemand> listeners = {{.udp = true, .max_sessions = 500, .backends = 3},
                                                 {.udp = true, .max_sessions = 70, .backends = 1}};
  const Capacity capacity = derive_capacity(runtime(2, 0), {.cpus = 2, .open_files = 4096}, 4, 10, listeners);
  CHECK(capacity.max_sessions == std::vector<std::uint32_t>{500, 70});
  CHECK(capacity.sessions == 570);
  const Capacity tiny = derive_capacity(runtime(2, 0), {.cpus = 2, .open_files = 20}, 4, 10, {{.udp = true}});
  CHECK(tiny.upstream_sockets >= 1);
  CHECK(tiny.max_sessions[0] >= 1);
  CHECK(tiny.datagram_buffers >= 1);
}

}  // namespace millrace::app
