// Reads what `millrace doctor` looks at from /proc and the kernel.

#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>

#include "doctor.hpp"

namespace millrace::app {

namespace {

/// The index-th word of a file.
std::string read_word(const std::string& path, int index = 0) {
  std::ifstream file(path);
  std::string word;
  for (int i = 0; i <= index; ++i) {
    if (!(file >> word)) return {};
  }
  return word;
}

std::optional<std::uint64_t> number_of(const std::string& text, int base = 10) {
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text.c_str(), &end, base);
  if (*end != '\0') return std::nullopt;
  return value;
}

std::optional<std::uint64_t> read_sysctl(const std::string& name, int index = 0) {
  return number_of(read_word("/proc/sys/" + name, index));
}

/// What /proc/self/status says of `key`.
std::string read_status(std::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::string value;
    if (words >> name >> value && name.size() == key.size() + 1 && name.starts_with(key)) return value;
  }
  return {};
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): there is one thread
  return value == nullptr ? "" : value;
}

std::string detect_container() {
  if (!environment("KUBERNETES_SERVICE_HOST").empty()) return "Kubernetes";
  if (std::string name = environment("container"); !name.empty()) return name;
  if (::access("/.dockerenv", F_OK) == 0) return "Docker";
  if (::access("/run/.containerenv", F_OK) == 0) return "Podman";
  return {};
}

void read_limits(DoctorFacts& facts) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    facts.open_files_soft = limit.rlim_cur;
    facts.open_files_hard = limit.rlim_max;
  }
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    facts.memlock_bytes = limit.rlim_cur;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0) facts.cpus = static_cast<std::uint32_t>(CPU_COUNT(&set));
}

void read_sysctls(DoctorFacts& facts) {
  facts.uring_disabled = read_sysctl("kernel/io_uring_disabled");
  facts.file_max = read_sysctl("fs/file-max");
  facts.somaxconn = read_sysctl("net/core/somaxconn");
  facts.syncookies = read_sysctl("net/ipv4/tcp_syncookies");
  facts.rmem_max = read_sysctl("net/core/rmem_max");
  facts.tcp_rmem_max = read_sysctl("net/ipv4/tcp_rmem", 2);
  facts.tcp_wmem_max = read_sysctl("net/ipv4/tcp_wmem", 2);
  facts.port_low = read_sysctl("net/ipv4/ip_local_port_range", 0);
  facts.port_high = read_sysctl("net/ipv4/ip_local_port_range", 1);
  facts.unprivileged_port = read_sysctl("net/ipv4/ip_unprivileged_port_start");
  facts.pipe_user_pages = read_sysctl("fs/pipe-user-pages-soft");
  facts.conntrack_max = read_sysctl("net/netfilter/nf_conntrack_max");
  facts.congestion_control = read_word("/proc/sys/net/ipv4/tcp_congestion_control");
}

}  // namespace

DoctorFacts gather_facts() {
  DoctorFacts facts;
  utsname name{};
  if (::uname(&name) == 0) facts.kernel_release = static_cast<const char*>(name.release);
  Result<io::UringFeatures> features = io::probe_uring();
  if (features) {
    facts.uring = features.value();
  } else {
    facts.uring_problem = features.error();
  }
  read_limits(facts);
  read_sysctls(facts);
  facts.capabilities = number_of(read_status("CapEff"), 16).value_or(0);
  facts.seccomp_mode = number_of(read_status("Seccomp")).value_or(0);
  facts.container = detect_container();
  return facts;
}

}  // namespace millrace::app
