#include "report.hpp"

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>

// Sanitizers end the process by SIGABRT, so that what they find is reported with its seed; otherwise a complaint would
// only go into the captured log.
extern "C" const char* __asan_default_options() {
  return "abort_on_error=1";
}
extern "C" const char* __ubsan_default_options() {
  return "halt_on_error=1:abort_on_error=1:print_stacktrace=1";
}

namespace millrace::sim {
namespace {

constexpr unsigned kSecondsForOneRun = 60;  // of the real clock; one takes milliseconds
constexpr std::size_t kEventsShown = 200;

std::uint64_t current_seed = 0;
const Trace* current_trace = nullptr;
int captured_log = -1;
ReportStyle report_style = ReportStyle::full;

void print_captured_log() {
  if (captured_log < 0) return;
  lseek(captured_log, 0, SEEK_SET);
  std::array<char, 4096> chunk;
  for (ssize_t n = 0; (n = read(captured_log, chunk.data(), chunk.size())) > 0;) {
    std::fwrite(chunk.data(), 1, static_cast<std::size_t>(n), stdout);
  }
}

[[noreturn]] void report(const std::string& oracle, const std::string& detail) {
  if (report_style == ReportStyle::one_line) {
    std::printf("seed %llu: %s\n", static_cast<unsigned long long>(current_seed), oracle.c_str());
    std::fflush(stdout);
    _exit(1);
  }
  if (current_trace != nullptr) std::fputs(current_trace->last(kEventsShown).c_str(), stdout);
  print_captured_log();
  std::printf("\nseed %llu: %s\n%s\nreplay: sim_test --seed %llu --verbose\n",
              static_cast<unsigned long long>(current_seed), oracle.c_str(), detail.c_str(),
              static_cast<unsigned long long>(current_seed));
  std::fflush(stdout);
  _exit(1);
}

// These signals are raised by the thread that fails, in the middle of a run; the report may use what it likes.
void on_signal(int number) {
  std::signal(number, SIG_DFL);
  report(number == SIGALRM ? "an endless loop" : number == SIGABRT ? "a failed assertion" : "a crash", "");
}

}  // namespace

void capture_failures(ReportStyle style) {
  report_style = style;
  for (const int number : {SIGABRT, SIGSEGV, SIGALRM}) std::signal(number, on_signal);
  std::FILE* file = std::tmpfile();
  if (file == nullptr) return;
  captured_log = fileno(file);
  dup2(captured_log, STDERR_FILENO);
}

void report_on(std::uint64_t seed, Trace& trace) {
  current_seed = seed;
  current_trace = &trace;
  trace.on_violation = [](const Violation& violation) { report(violation.oracle, violation.detail); };
  alarm(kSecondsForOneRun);
  if (captured_log < 0) return;
  if (ftruncate(captured_log, 0) == 0) lseek(captured_log, 0, SEEK_SET);
}

}  // namespace millrace::sim
