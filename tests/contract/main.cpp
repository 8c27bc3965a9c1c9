// The kernel behaviours that millrace relies on, one small test each, through the Io interface.
// Exit status 77 (skipped) where io_uring is not available.

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <csignal>
#include <cstdio>

#include "driver.hpp"

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  const millrace::Result<millrace::io::UringFeatures> probed = millrace::io::probe_uring();
  if (!probed) {
    std::fprintf(stderr, "skipped: %s\n", probed.error().c_str());
    return kSkipped;
  }
  if (!probed.value().multishot_recv || !probed.value().buffer_ring) {
    std::fprintf(stderr, "skipped: the kernel offers only: %s\n", probed.value().to_string().c_str());
    return kSkipped;
  }
  std::fprintf(stderr, "kernel: %s\n", probed.value().to_string().c_str());
  millrace::io::set_features(probed.value());
  (void)std::signal(SIGPIPE, SIG_IGN);  // as the program does: splice(2) raises it, and has no flag against that
  return doctest::Context(argc, argv).run();
}
