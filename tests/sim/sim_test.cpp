// The simulation: runs many seeds, each a different little world around the production Worker and TcpFlow.
//
//   sim_test [--seeds N] [--first S] [--jobs J]   runs seeds S … S+N-1; stops at the first one that fails
//   sim_test --seed S [--verbose]                 runs one, twice, and compares; --verbose prints every event

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include "report.hpp"
#include "run.hpp"

namespace millrace::sim {
namespace {

struct Arguments {
  std::uint64_t first = 1;
  std::uint64_t seeds = 1000;
  unsigned jobs = 2;
  bool one = false;
  bool verbose = false;
};

[[noreturn]] void usage() {
  std::fputs("usage: sim_test [--seeds N] [--first S] [--jobs J] | --seed S [--verbose]\n", stderr);
  std::exit(2);
}

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      arguments.verbose = true;
      continue;
    }
    if (i + 1 >= argc) usage();
    const std::uint64_t value = std::strtoull(argv[++i], nullptr, 10);
    if (name == "--seeds") {
      arguments.seeds = value;
    } else if (name == "--first") {
      arguments.first = value;
    } else if (name == "--jobs" && value > 0) {
      arguments.jobs = static_cast<unsigned>(value);
    } else if (name == "--seed") {
      arguments.first = value;
      arguments.one = true;
    } else {
      usage();
    }
  }
  return arguments;
}

RunResult run_reported(std::uint64_t seed, bool verbose) {
  return run(
      {.seed = seed, .verbose = verbose, .on_start = [seed](Trace& trace) { report_on(seed, trace); }, .decorate = {}});
}

int run_one(const Arguments& arguments) {
  const RunResult result = run_reported(arguments.first, arguments.verbose);
  std::printf(
      "seed %llu: %llu flows, %llu bytes (%llu spliced, %llu rests), %llu sessions, %llu datagrams, %llu turns\n",
      static_cast<unsigned long long>(arguments.first), static_cast<unsigned long long>(result.flows),
      static_cast<unsigned long long>(result.bytes), static_cast<unsigned long long>(result.spliced),
      static_cast<unsigned long long>(result.rests), static_cast<unsigned long long>(result.sessions),
      static_cast<unsigned long long>(result.datagrams), static_cast<unsigned long long>(result.turns));
  if (run_reported(arguments.first, false).digest == result.digest) return 0;
  std::puts("a second run of the same seed went differently: something depends on more than the seed");
  return 1;
}

int run_share(const Arguments& arguments, unsigned job) {
  RunResult sum;
  std::uint64_t done = 0;
  for (std::uint64_t i = job; i < arguments.seeds; i += arguments.jobs) {
    const RunResult result = run_reported(arguments.first + i, false);
    sum.flows += result.flows;
    sum.bytes += result.bytes;
    sum.spliced += result.spliced;
    sum.rests += result.rests;
    sum.sessions += result.sessions;
    sum.datagrams += result.datagrams;
    if (++done % 5000 == 0) std::printf("job %u: %llu seeds\n", job, static_cast<unsigned long long>(done));
    std::fflush(stdout);
  }
  std::printf(
      "job %u: %llu seeds, %llu flows, %llu bytes, of which %llu spliced, %llu rests, %llu sessions, %llu datagrams: "
      "all well\n",
      job, static_cast<unsigned long long>(done), static_cast<unsigned long long>(sum.flows),
      static_cast<unsigned long long>(sum.bytes), static_cast<unsigned long long>(sum.spliced),
      static_cast<unsigned long long>(sum.rests), static_cast<unsigned long long>(sum.sessions),
      static_cast<unsigned long long>(sum.datagrams));
  return 0;
}

/// One process per job: a failed assertion of production code ends only its own.
int run_all(const Arguments& arguments) {
  std::fflush(stdout);
  std::vector<pid_t> children;
  for (unsigned job = 0; job < arguments.jobs; ++job) {
    const pid_t child = fork();
    if (child == 0) {
      capture_failures();
      const int status = run_share(arguments, job);
      std::fflush(stdout);
      _exit(status);
    }
    children.push_back(child);
  }
  bool failed = false;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    failed = failed || status != 0;
  }
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) {
  using namespace millrace::sim;
  const Arguments arguments = parse(argc, argv);
  if (!arguments.one) return run_all(arguments);
  capture_failures();
  return run_one(arguments);
}
