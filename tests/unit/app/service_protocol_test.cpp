// What systemd puts into the environment, and what is made of it.
#include "service_protocol.hpp"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>

using namespace millrace::app::service_protocol;
using std::chrono::microseconds;

namespace {

// NOLINTBEGIN(concurrency-mt-unsafe): there is one thread

/// A variable of the environment for the time of a test.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) { ::setenv(name, value.c_str(), 1); }
  ~Variable() { ::unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

bool is_set(const char* name) {
  return std::getenv(name) != nullptr;
}

// NOLINTEND(concurrency-mt-unsafe)

std::string me() {
  return std::to_string(::getpid());
}

}  // namespace

TEST_CASE("no service manager") {
  CHECK(notify_address().empty());
  CHECK(take_watchdog_interval() == microseconds(0));
  CHECK(take_passed_fds() == 0);
}

TEST_CASE("addresses that can be used") {
  for (const auto* address : {"/run/systemd/notify", "@abstract"}) {
    const Variable socket("NOTIFY_SOCKET", address);
    CHECK(notify_address() == address);
  }
  for (const auto* address : {"", "vsock:2:1234", "relative"}) {
    const Variable socket("NOTIFY_SOCKET", address);
    CHECK(notify_address().empty());
  }
}

TEST_CASE("a message arrives whole, by an abstract name as well") {
  const std::string name = "@millrace-test-" + me();
  ::sockaddr_un address{};
  address.sun_family = AF_UNIX;
  name.copy(&address.sun_path[0], name.size());
  address.sun_path[0] = '\0';
  const int receiver = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  REQUIRE(receiver >= 0);
  const auto length = static_cast<::socklen_t>(offsetof(::sockaddr_un, sun_path) + name.size());
  REQUIRE(::bind(receiver, reinterpret_cast<const ::sockaddr*>(&address), length) == 0);  // NOLINT(*-reinterpret-cast)

  CHECK(notify(name, "READY=1\nSTATUS=well") == 0);
  std::array<char, 100> text{};
  const auto received = ::recv(receiver, text.data(), text.size(), MSG_DONTWAIT);
  CHECK(std::string(text.data(), received < 0 ? 0 : static_cast<std::size_t>(received)) == "READY=1\nSTATUS=well");
  ::close(receiver);

  CHECK(notify(name, "READY=1") == ECONNREFUSED);
  CHECK(notify("/nonexistent/notify", "READY=1") == ENOENT);
  CHECK(notify("/" + std::string(200, 'x'), "READY=1") == EINVAL);
  CHECK(notify("", "READY=1") == EINVAL);
}

TEST_CASE("the watchdog") {
  const auto interval = [](const std::string& time, const std::string& process) {
    const Variable usec("WATCHDOG_USEC", time);
    const Variable pid("WATCHDOG_PID", process);
    const auto result = take_watchdog_interval();
    CHECK_FALSE(is_set("WATCHDOG_USEC"));
    CHECK_FALSE(is_set("WATCHDOG_PID"));
    return result;
  };
  CHECK(interval("10000000", me()) == microseconds(10'000'000));
  CHECK(interval("10000000", "") == microseconds(10'000'000));
  CHECK(interval("10000000", "1") == microseconds(0));  // another process's
  CHECK(interval("10000000", "x") == microseconds(0));
  CHECK(interval("10s", me()) == microseconds(0));
  CHECK(interval("0", me()) == microseconds(0));
  CHECK(interval("18446744073709551615", me()) == std::chrono::hours(24 * 365));
}

TEST_CASE("passed sockets") {
  const auto passed = [](const std::string& count, const std::string& process) {
    const Variable fds("LISTEN_FDS", count);
    const Variable pid("LISTEN_PID", process);
    const Variable names("LISTEN_FDNAMES", "a:b");
    const int result = take_passed_fds();
    CHECK_FALSE(is_set("LISTEN_FDS"));
    CHECK_FALSE(is_set("LISTEN_FDNAMES"));
    return result;
  };
  const int fd = ::dup(STDERR_FILENO);  // so that at least kFirstPassedFd is open
  REQUIRE(fd >= kFirstPassedFd);
  CHECK(passed("1", me()) == 1);
  CHECK(passed("1", "1") == 0);  // another process's
  CHECK(passed("1", "") == 0);
  CHECK(passed("0", me()) == 0);
  CHECK(passed("-1", me()) == 0);
  CHECK(passed("1000000", me()) == 0);  // not so many are open
  CHECK(passed("99999999999999999999", me()) == 0);
  ::close(fd);
}
