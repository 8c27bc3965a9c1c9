// Do the alarms ring? Plants one bug after the other (BuggyIo) and runs seeds until an oracle finds it. Fails when one
// stays unnoticed.
//
//   planted_bugs_test [NAME]…   all of them, or only these

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "buggy_io.hpp"
#include "report.hpp"
#include "run.hpp"

namespace millrace::sim {
namespace {

constexpr std::uint64_t kSeeds = 500;

void run_with(Bug bug) {
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    run({.seed = seed,
         .verbose = false,
         .on_start = [seed](Trace& trace) { report_on(seed, trace); },
         .decorate = [bug](io::Io& real, std::uint64_t s) { return std::make_unique<BuggyIo>(real, bug, s); }});
  }
}

/// In a process of its own: finding the bug ends it.
bool is_found(const BugName& planted) {
  std::printf("%-31.*s ", static_cast<int>(planted.name.size()), planted.name.data());
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    capture_failures(ReportStyle::one_line);
    run_with(planted.bug);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  const bool found = status != 0;
  if (!found) std::printf("NOT FOUND in %llu seeds\n", static_cast<unsigned long long>(kSeeds));
  return found;
}

}  // namespace
}  // namespace millrace::sim

int main(int argc, char** argv) {
  using namespace millrace::sim;
  bool all_found = true;
  for (const BugName& planted : planted_bugs()) {
    const bool wanted =
        argc == 1 || std::any_of(argv + 1, argv + argc, [&](const char* arg) { return planted.name == arg; });
    if (wanted && !is_found(planted)) all_found = false;
  }
  return all_found ? 0 : 1;
}
