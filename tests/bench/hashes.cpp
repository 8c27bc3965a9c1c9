// The hash of a client for source_hash.

#include <benchmark/benchmark.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "millrace/base/rng.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::net::bench {
namespace {

constexpr std::size_t kClients = 1024;

std::vector<Endpoint> clients(bool v6) {
  Rng rng(1);
  std::vector<Endpoint> all;
  for (std::size_t i = 0; i < kClients; ++i) {
    const auto port = static_cast<std::uint16_t>(rng.next());
    if (v6) {
      std::array<std::uint8_t, 16> address{};
      for (std::uint8_t& byte : address) byte = static_cast<std::uint8_t>(rng.next());
      all.push_back(Endpoint::ipv6(address, port));
    } else {
      all.push_back(Endpoint::ipv4(static_cast<std::uint32_t>(rng.next()), port));
    }
  }
  return all;
}

void hash(benchmark::State& state, bool v6, bool with_port) {
  const std::vector<Endpoint> all = clients(v6);
  std::size_t i = 0;
  for ([[maybe_unused]] auto _ : state) {
    benchmark::DoNotOptimize(hash_client(all[i], 32, 64, with_port));
    i = (i + 1) % kClients;
  }
}

BENCHMARK_CAPTURE(hash, v4, false, false)->Name("hash/IPv4");
BENCHMARK_CAPTURE(hash, v6, true, false)->Name("hash/IPv6");
BENCHMARK_CAPTURE(hash, v4_port, false, true)->Name("hash/IPv4 and port");
BENCHMARK_CAPTURE(hash, v6_port, true, true)->Name("hash/IPv6 and port");

}  // namespace
}  // namespace millrace::net::bench
