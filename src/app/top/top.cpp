#include "top.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <csignal>
#include <ctime>
#include <memory>
#include <optional>

#include "feed.hpp"
#include "rates.hpp"
#include "screen.hpp"
#include "view.hpp"

namespace millrace::app::top {

namespace {

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr Nanos kRedraw = std::chrono::seconds(1);  // at least so often: the clock goes on

int fail(const std::string& message) {
  fmt::print(stderr, "millrace: error: {}\n", message);
  return kFailed;
}

/// Signals that end the program, as something to wait for: so the terminal is put in order before they do.
class Endings {
 public:
  Endings() {
    sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) sigaddset(&set_, number);
    ::pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = ::signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK);
  }
  ~Endings() {
    ::close(fd_);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Endings(const Endings&) = delete;
  Endings& operator=(const Endings&) = delete;
  Endings(Endings&&) = delete;
  Endings& operator=(Endings&&) = delete;

  [[nodiscard]] int descriptor() const { return fd_; }
  /// The signal that came, if one did.
  [[nodiscard]] std::optional<int> take() const {
    signalfd_siginfo info{};
    if (::read(fd_, &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
  }

 private:
  sigset_t set_{};
  sigset_t before_{};
  int fd_ = -1;
};

std::string clock_text() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return fmt::format("{:%H:%M:%S}", local);
}

int milliseconds_until(Instant due, Instant now) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(std::min(due - now, kRedraw));
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

/// Until `q` is pressed or a signal ends it, which is returned.
std::optional<int> watch(Feed& feed, Gauge& gauge, const Endings& endings) {
  Screen screen;
  View view;
  std::int64_t pid = 0;
  while (!view.done()) {
    const Instant now = std::chrono::steady_clock::now();
    const News news = feed.step(now);
    if (news.status) {
      gauge.add(*news.status);
      view.show(gauge.picture());
      if (pid != 0 && pid != news.status->pid) view.say("the balancer was restarted: everything begins anew", false);
      pid = news.status->pid;
    }
    if (news.done) view.say(*news.done, false);
    if (news.refused) view.say(*news.refused, true);
    view.set_link(feed.link(now));
    screen.draw(
        view.draw({.size = screen.size(), .samples = gauge.samples(), .ascii = screen.ascii(), .clock = clock_text()}));
    std::array<pollfd, 3> waited = {{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                     {.fd = endings.descriptor(), .events = POLLIN, .revents = 0},
                                     {.fd = feed.descriptor(), .events = POLLIN, .revents = 0}}};
    ::poll(waited.data(), waited.size(), milliseconds_until(std::max(feed.due(), now), now));
    if (const std::optional<int> signal = endings.take()) return signal;
    if ((waited[0].revents & (POLLHUP | POLLERR)) != 0) return SIGHUP;  // the terminal is gone
    while (const std::optional<Key> key = screen.key()) {
      if (const std::optional<Order> order = view.press(*key)) feed.give(*order);
    }
  }
  return std::nullopt;
}

}  // namespace

int run_top(const TopOptions& options) {
  if (const std::optional<Error> problem = Screen::check()) return fail(problem->message);
  Result<admin::ControlClient> client = admin::ControlClient::connect(options.socket);
  if (!client) return fail(client.error());
  const auto interval = std::chrono::duration_cast<Nanos>(std::chrono::duration<double>(options.interval_seconds));
  Feed feed(options.socket, std::move(client).value(), interval);
  Gauge gauge(static_cast<std::size_t>(std::lround(60 / options.interval_seconds)));
  std::optional<int> signal;
  {
    const Endings endings;
    signal = watch(feed, gauge, endings);
  }
  if (!signal) return kDone;
  // Whoever started this sees that a signal ended it.
  ::signal(*signal, SIG_DFL);  // NOLINT(bugprone-signal-handler): the default
  ::raise(*signal);
  return kFailed;
}

}  // namespace millrace::app::top
