#include "system_limits.hpp"

#include <sys/resource.h>
#include <sys/utsname.h>

#include <fstream>

namespace millrace::io {
namespace {

std::optional<int> read_number(const char* path) {
  std::ifstream file(path);
  int value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

}  // namespace

SetupContext read_setup_context() {
  SetupContext context;
  context.disabled = read_number("/proc/sys/kernel/io_uring_disabled");
  context.group = read_number("/proc/sys/kernel/io_uring_group");
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
    context.memlock_bytes = limit.rlim_cur;
  utsname name{};
  if (::uname(&name) == 0) context.kernel_release = static_cast<const char*>(name.release);
  return context;
}

}  // namespace millrace::io
