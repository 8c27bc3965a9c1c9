#pragma once
// How a run that fails is told: the seed, what went wrong, the last events, and how to run it again.

#include <cstdint>

#include "trace.hpp"

namespace millrace::sim {

enum class ReportStyle : std::uint8_t { full, one_line };

/// For this process: failed assertions (SIGABRT), faults (SIGSEGV) and endless loops (SIGALRM) are reported like
/// violations, then end it with status 1. What production code logs is kept apart, and shown with the report only.
void capture_failures(ReportStyle style = ReportStyle::full);

/// The run that is going on; `trace` must stay until the next call.
void report_on(std::uint64_t seed, Trace& trace);

}  // namespace millrace::sim
