#pragma once
// Faults: how often each kind of trouble happens in one run. Drawn from the seed, so that each run leans on a different
// corner: about half of the kinds are off, the others range from rare to almost always.

#include <cstdint>

#include "millrace/base/rng.hpp"
#include "millrace/base/time.hpp"

namespace millrace::sim {

/// Probabilities in [0, 1] unless the comment says otherwise.
struct Faults {
  double defer = 0;                   // an operation that could go on does so a little later
  double full_ring = 0;               // only part of what is submitted gets into the ring this turn
  double fragment = 0;                // a transfer is cut at a random length
  double early_end = 0;               // a multishot operation ends after this completion
  double no_buffers = 0;              // -ENOBUFS although a buffer is free
  double short_send = 0;              // a send ends before everything is taken
  double splice_again = 0;            // a splice answers -EAGAIN without a reason
  double spurious_poll = 0;           // a poll completes although there is nothing to see
  double spurious_wake = 0;           // turn() returns early with nothing
  double cancel_race = 0;             // a cancelled operation completes with what it did meanwhile
  double accept_error = 0;            // -EMFILE, -ENFILE, -ENOBUFS, -ECONNABORTED, …
  double stream_error = 0;            // open_stream(): EMFILE, ENOBUFS, EADDRNOTAVAIL
  double pipe_error = 0;              // open_pipe(): EMFILE
  double connect_error = 0;           // a connect is refused or answered by something worse
  double lost_connect = 0;            // a connect is never answered
  double late_connect = 0;            // a connect succeeds after a long while
  double link_failure = 0;            // a connection dies of a timeout at both ends
  bool random_order = false;          // operations on different descriptors complete in any order
  std::uint32_t batch_max = 512;      // completions of one turn
  std::uint32_t descriptors_max = 0;  // 0: no limit
  Nanos latency_max = std::chrono::microseconds(200);

  // Datagrams.
  double datagram_loss = 0;
  double datagram_duplicate = 0;
  double datagram_reorder = 0;     // one takes a while longer than those after it
  double datagram_again = 0;       // a send answers -EAGAIN
  double datagram_send_error = 0;  // … or something worse, without having sent
  double datagram_truncated = 0;   // a received one is cut off
  double datagram_socket = 0;      // open_datagram(): EMFILE, ENOBUFS, …
  double icmp_loss = 0;
  double icmp_late = 0;

  [[nodiscard]] static Faults none() { return {}; }
  [[nodiscard]] static Faults draw(Rng& random);
  /// Those of datagrams; with dice of their own, so that they change nothing in runs without any.
  void draw_datagrams(Rng& random);
};

}  // namespace millrace::sim
