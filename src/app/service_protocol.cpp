#include "service_protocol.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string_view>

namespace millrace::app::service_protocol {

namespace {

// NOLINTBEGIN(concurrency-mt-unsafe): the environment is read and changed before any other thread starts

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::optional<std::uint64_t> number(const char* name) {
  const std::string text = variable(name);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void forget(std::initializer_list<const char*> names) {
  for (const char* name : names) ::unsetenv(name);
}

// NOLINTEND(concurrency-mt-unsafe)

bool is_me(std::uint64_t process) {
  return process == static_cast<std::uint64_t>(::getpid());
}

}  // namespace

std::string notify_address() {
  std::string address = variable("NOTIFY_SOCKET");
  const bool known = address.starts_with('/') || address.starts_with('@');
  return known ? address : "";
}

int notify(const std::string& address, const std::string& message) {
  ::sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (address.empty() || address.size() >= sizeof(to.sun_path)) return EINVAL;
  std::memcpy(to.sun_path, address.data(), address.size());
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';  // the abstract name space, whose names end where the length says
  const auto length =
      static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + address.size() + (to.sun_path[0] == '\0' ? 0 : 1));

  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const bool sent = ::sendto(fd, message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<const ::sockaddr*>(&to),
                             length) >= 0;  // NOLINT(*-reinterpret-cast)
  const int error = sent ? 0 : errno;
  ::close(fd);
  return error;
}

std::chrono::microseconds take_watchdog_interval() {
  const auto process = number("WATCHDOG_PID");
  const auto interval = number("WATCHDOG_USEC");
  const bool ours = variable("WATCHDOG_PID").empty() || (process && is_me(*process));
  forget({"WATCHDOG_PID", "WATCHDOG_USEC"});
  if (!ours || !interval) return {};
  // No more than the clock can count.
  constexpr std::uint64_t kLongest = 365ULL * 24 * 3600 * 1'000'000;
  return std::chrono::microseconds(std::min(*interval, kLongest));
}

int take_passed_fds() {
  const auto process = number("LISTEN_PID");
  const auto count = number("LISTEN_FDS");
  forget({"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"});
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<int>::max() - kFirstPassedFd);
  if (!process || !is_me(*process) || !count || *count > kMost) return 0;
  const int passed = static_cast<int>(*count);
  for (int fd = kFirstPassedFd; fd < kFirstPassedFd + passed; ++fd) {
    // A descriptor that is not there: what the environment says is not to be believed.
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return 0;
  }
  return passed;
}

}  // namespace millrace::app::service_protocol
