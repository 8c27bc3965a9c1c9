#include "faults.hpp"

#include <cmath>

namespace millrace::sim {
namespace {

/// 0 in half of the runs; otherwise between 1/300 and `most`, small values as likely as large ones.
double draw_probability(Rng& random, double most) {
  if (random.one_in(2)) return 0;
  constexpr double kLeast = 1.0 / 300;
  return kLeast * std::pow(most / kLeast, random.unit());
}

}  // namespace

Faults Faults::draw(Rng& random) {
  Faults faults;
  faults.defer = draw_probability(random, 0.7);
  faults.full_ring = draw_probability(random, 0.7);
  faults.fragment = draw_probability(random, 1.0);
  faults.early_end = draw_probability(random, 0.7);
  faults.no_buffers = draw_probability(random, 0.3);
  faults.short_send = draw_probability(random, 0.5);
  faults.splice_again = draw_probability(random, 0.5);
  faults.spurious_poll = draw_probability(random, 0.5);
  faults.spurious_wake = draw_probability(random, 0.3);
  faults.cancel_race = draw_probability(random, 1.0);
  faults.accept_error = draw_probability(random, 0.2);
  faults.stream_error = draw_probability(random, 0.2);
  faults.pipe_error = draw_probability(random, 0.7);
  faults.connect_error = draw_probability(random, 0.5);
  faults.lost_connect = draw_probability(random, 0.2);
  faults.late_connect = draw_probability(random, 0.3);
  faults.link_failure = random.one_in(3) ? draw_probability(random, 0.2) : 0;
  faults.random_order = !random.one_in(4);
  faults.batch_max = static_cast<std::uint32_t>(random.one_in(2) ? 1 + random.below(8) : 512);
  faults.descriptors_max = static_cast<std::uint32_t>(random.one_in(6) ? 12 + random.below(60) : 0);
  faults.latency_max = Nanos(static_cast<std::int64_t>(1000 * std::pow(50'000, random.unit())));  // 1 µs … 50 ms
  return faults;
}

void Faults::draw_datagrams(Rng& random) {
  datagram_loss = draw_probability(random, 0.3);
  datagram_duplicate = draw_probability(random, 0.3);
  datagram_reorder = draw_probability(random, 0.3);
  datagram_again = draw_probability(random, 0.3);
  datagram_send_error = draw_probability(random, 0.1);
  datagram_truncated = draw_probability(random, 0.1);
  datagram_socket = draw_probability(random, 0.5);
  icmp_loss = draw_probability(random, 0.7);
  icmp_late = draw_probability(random, 0.5);
}

}  // namespace millrace::sim
