// What `millrace doctor` prints.

#include <fmt/format.h>

#include <string_view>

#include "doctor.hpp"
#include "grouped.hpp"

namespace millrace::app {

namespace {

std::string_view word(Severity severity) {
  switch (severity) {
    case Severity::good:
      return "good";
    case Severity::note:
      return "note";
    case Severity::warning:
      return "warning";
    case Severity::problem:
      return "problem";
  }
  return "";
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (code < 0x20 || code == 0x7F) {
      out += fmt::format("\\u{:04x}", code);
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_of(const Finding& finding) {
  std::string fixes;
  for (const std::string& fix : finding.fixes) fixes += (fixes.empty() ? "" : ", ") + quoted(fix);
  return fmt::format(R"({{"severity": {}, "topic": {}, "text": {}, "fixes": [{}]}})", quoted(word(finding.severity)),
                     quoted(finding.topic), quoted(finding.text), fixes);
}

}  // namespace

std::string to_text(const Diagnosis& diagnosis) {
  std::string out;
  std::size_t warnings = 0;
  for (const Finding& finding : diagnosis.findings) {
    out += fmt::format("{:<8} {}: {}\n", word(finding.severity), finding.topic, finding.text);
    for (const std::string& fix : finding.fixes) {
      out += fmt::format("{:<8} {} {}\n", "", &fix == &finding.fixes.front() ? "fix:" : " or:", fix);
    }
    warnings += finding.severity == Severity::warning ? 1 : 0;
  }
  if (!diagnosis.can_run()) return out + "\nmillrace cannot run here until the problems above are solved\n";
  return out + fmt::format("\nmillrace can run here, with up to {} connections at a time{}\n",
                           grouped(diagnosis.capacity.max_connections),
                           warnings == 0 ? "" : fmt::format("; {} warning{}", warnings, warnings == 1 ? "" : "s"));
}

std::string to_json(const Diagnosis& diagnosis) {
  std::string findings;
  for (const Finding& finding : diagnosis.findings)
    findings += (findings.empty() ? "\n    " : ",\n    ") + json_of(finding);
  std::string pools;
  for (const PoolCapacity& pool : diagnosis.pools) {
    if (!pools.empty()) pools += ", ";
    pools += fmt::format(R"({{"pool": {}, "connections": {}}})", quoted(pool.pool), pool.connections);
  }
  const Capacity& capacity = diagnosis.capacity;
  return fmt::format(
      R"({{
  "version": 1,
  "millrace": {},
  "can_run": {},
  "capacity": {{"workers": {}, "max_connections": {}, "affordable_connections": {}, "open_files": {}, "pools": [{}]}},
  "findings": [{}
  ]
}}
)",
      quoted(MILLRACE_VERSION), diagnosis.can_run(), capacity.workers, capacity.max_connections,
      capacity.affordable_connections, diagnosis.open_files, pools, findings);
}

}  // namespace millrace::app
