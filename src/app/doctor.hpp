#pragma once
// `millrace doctor`: what this machine lets millrace do, and how to let it do more. Pure: facts in, findings out; the
// facts are gathered in doctor_facts.cpp.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "capacity.hpp"
#include "millrace/config/config.hpp"
#include "millrace/io/uring_io.hpp"

namespace millrace::app {

/// What the machine says; empty where it does not say (a module that is not loaded, a sandbox that hides it).
struct DoctorFacts {
  std::string kernel_release = {};
  std::optional<io::UringFeatures> uring = {};
  std::string uring_problem = {};  // why there is none, with the remedy
  std::optional<std::uint64_t> uring_disabled = {};
  std::uint32_t cpus = 1;
  std::uint64_t open_files_soft = 1024;
  std::uint64_t open_files_hard = 1024;
  std::optional<std::uint64_t> memlock_bytes = {};  // empty: unlimited
  std::uint64_t capabilities = 0;                   // effective ones, by CAP_…
  std::uint64_t seccomp_mode = 0;                   // 2: a filter is in force
  std::string container = {};                       // what kind, as far as it can be told
  std::optional<std::uint64_t> file_max = {};
  std::optional<std::uint64_t> somaxconn = {};
  std::optional<std::uint64_t> syncookies = {};
  std::optional<std::uint64_t> rmem_max = {};
  std::optional<std::uint64_t> tcp_rmem_max = {};
  std::optional<std::uint64_t> tcp_wmem_max = {};
  std::optional<std::uint64_t> port_low = {};
  std::optional<std::uint64_t> port_high = {};
  std::optional<std::uint64_t> unprivileged_port = {};
  std::optional<std::uint64_t> pipe_user_pages = {};
  std::optional<std::uint64_t> conntrack_max = {};
  std::string congestion_control = {};
};

enum class Severity : std::uint8_t {
  good,
  note,     // worth knowing, nothing to do
  warning,  // it runs, but not as it could or should
  problem,  // keeps it from running
};

struct Finding {
  Severity severity = Severity::good;
  std::string topic;
  std::string text;
  std::vector<std::string> fixes = {};  // lines to copy; any one of them helps
};

struct PoolCapacity {
  std::string pool;
  std::uint64_t connections = 0;  // that local ports allow, over all backends
};

struct Diagnosis {
  std::vector<Finding> findings;
  Capacity capacity;
  std::uint64_t open_files = 0;  // that a run would use
  std::vector<PoolCapacity> pools;

  /// Nothing keeps it from running.
  [[nodiscard]] bool can_run() const;
};

/// `config` may have no listener and no pool: then it is about the machine alone.
[[nodiscard]] Diagnosis diagnose(const DoctorFacts& facts, const config::Config& config);

[[nodiscard]] std::string to_text(const Diagnosis& diagnosis);
[[nodiscard]] std::string to_json(const Diagnosis& diagnosis);

[[nodiscard]] DoctorFacts gather_facts();

}  // namespace millrace::app
