// One worker with a UDP listener on SimIo, and clients, backends and ICMP errors by hand: what runs of seeds come upon
// too rarely.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cerrno>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "millrace/pool/snapshot.hpp"
#include "millrace/worker/worker.hpp"
#include "sim_io.hpp"

namespace millrace::sim {
namespace {

using std::chrono::milliseconds;

const net::IpEndpoint kListen = net::IpEndpoint::ipv4(0x0a000001, 53);
const std::vector kBackends = {net::IpEndpoint::ipv4(0x0a020000, 53), net::IpEndpoint::ipv4(0x0a020001, 53)};

net::IpEndpoint client(std::uint16_t number) {
  return net::IpEndpoint::ipv4(0x0a010000, static_cast<std::uint16_t>(5000 + number));
}

Payload bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

/// The first backend that is up gets all sessions.
config::Config config_for(std::uint32_t max_sessions) {
  config::Config config;
  config::Pool& pool = config.pools.emplace_back();
  pool.name = "pool";
  pool.balance = balance::Algorithm::first;
  for (const net::IpEndpoint& address : kBackends) {
    config::Backend& backend = pool.backends.emplace_back();
    backend.name = address.to_string();
    backend.address = address.to_endpoint();
  }
  config::Listener& listener = config.listeners.emplace_back();
  listener.name = "listener";
  listener.protocol = config::Protocol::udp;
  listener.pool = pool.name;
  listener.max_sessions = max_sessions;
  return config;
}

struct Fixture : DatagramRemote {
  explicit Fixture(std::uint32_t max_sessions)
      : snapshot(pool::build_snapshot(config_for(max_sessions))),
        admission(1, {max_sessions}, 1),
        io(kernel, {.buffers = {.count = 1, .bytes_per_buffer = 32}, .datagram_buffers = 4, .backend_queues = {}}) {
    kernel.datagrams.remote = this;
    net::IpEndpoint here = kListen;
    here.set_port(0);
    kernel.datagrams.options.addresses = {here};
    const worker::ListenerSocket socket{.fd = kernel.open_datagram_listener(kListen, 0, 0), .listener = 0};
    worker.emplace(io, snapshot, table, admission, std::span(&socket, 1), worker::WorkerOptions{.slots = 1});
    worker->start();
  }
  ~Fixture() override {
    worker->request_stop_now();
    run_for(milliseconds(1));
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  void arrives(const Datagram& datagram) override { arrived.push_back(datagram); }
  [[nodiscard]] DatagramPath path_to(const net::IpEndpoint&) const override { return {}; }

  void run_for(Nanos time) {
    const Instant until = context.clock.now() + time;
    while (context.clock.now() < until && worker->pass(until)) {
    }
  }
  /// What arrives at a backend because a client says something.
  Datagram ask(const net::IpEndpoint& from) {
    arrived.clear();
    kernel.datagrams.from_world({.from = from, .to = kListen, .payload = bytes_of("hello")});
    return next_arrival();
  }
  /// What arrives at a backend because another one was not there for `request`.
  Datagram refuse(const Datagram& request) {
    arrived.clear();
    kernel.datagrams.fail({.error = EHOSTUNREACH, .from = request.from, .to = request.to, .quote = request.payload});
    return next_arrival();
  }
  Datagram next_arrival() {
    run_for(milliseconds(10));
    REQUIRE(arrived.size() == 1);
    return arrived.front();
  }
  void backend_is_down(std::size_t index) {
    table.set_health(snapshot->pools.front()->backends[index].id, pool::HealthState::down);
  }

  Context context{1};
  Kernel kernel{context};
  std::shared_ptr<const pool::Snapshot> snapshot;
  pool::BackendTable table{kBackends.size()};
  worker::Admission admission;
  SimIo io;
  std::optional<worker::Worker> worker;
  std::vector<Datagram> arrived;
};

}  // namespace

TEST_CASE("udp relay: the place of an evicted session rests since it was given up") {
  Fixture fixture(1);
  const Datagram first = fixture.ask(client(1));
  CHECK(first.to == kBackends[0]);
  fixture.run_for(milliseconds(2500));  // the router looks for the host
  const Datagram again = fixture.refuse(first);
  CHECK(again.to == kBackends[1]);
  fixture.backend_is_down(0);
  // The client has been silent for longer than a place rests; its request has only just left by this one.
  const Datagram stranger = fixture.ask(client(2));
  CHECK(stranger.to == kBackends[1]);
  CHECK(stranger.from != again.from);
}

}  // namespace millrace::sim
