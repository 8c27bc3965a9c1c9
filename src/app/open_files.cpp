#include "open_files.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "capacity.hpp"

namespace millrace::app {

std::uint64_t raise_open_files() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  const rlim_t wanted = open_files_wanted(limit.rlim_cur, limit.rlim_max);
  if (limit.rlim_cur < wanted) {
    const rlimit raised{wanted, limit.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) limit.rlim_cur = wanted;
  }
  return limit.rlim_cur;
}

void reserve_descriptors(std::uint64_t open_files) {
  // The table never shrinks. Any descriptor can be duplicated; some systems start a process without the standard ones.
  const int any = ::open("/", O_PATH | O_CLOEXEC);
  if (any < 0) return;
  const auto last = static_cast<int>(std::min(open_files, kTableReserved)) - 1;
  const int high = ::fcntl(any, F_DUPFD_CLOEXEC, last);
  if (high >= 0) ::close(high);
  ::close(any);
}

}  // namespace millrace::app
