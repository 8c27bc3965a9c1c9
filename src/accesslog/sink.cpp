#include "sink.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

namespace millrace::accesslog {
namespace {

constexpr std::size_t kWriteFrom = 64 * 1024;  // pending, while more is added
constexpr mode_t kMode = 0640;
constexpr std::chrono::minutes kFailureEvery(1);

int open_file(const std::string& path) {
  constexpr int kFlags = O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | kFlags, kMode);
  // A FIFO that nobody reads yet; opened for both it never is without a reader.
  return fd < 0 && errno == ENXIO ? ::open(path.c_str(), O_RDWR | kFlags) : fd;
}

std::string_view remedy(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return "; make its folder";
    case EACCES:
    case EPERM:
      return "; let the user that millrace runs as write there";
    case EROFS:
      return "; choose a folder that can be written to (with systemd: LogsDirectory= or ReadWritePaths=)";
    case EISDIR:
      return "; name a file in it";
    case EMFILE:
    case ENFILE:
      return "; raise LimitNOFILE (ulimit -n)";
    case ENXIO:
      return "; name a file or a FIFO";
    default:
      return "; choose another path";
  }
}

std::uint64_t count_lines(std::string_view text) {
  return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

Result<std::shared_ptr<Sink>> Sink::open(const std::string& path, Counter& lost) {
  const int fd = path == kStderr ? STDERR_FILENO : open_file(path);
  if (fd >= 0) return std::shared_ptr<Sink>(new Sink(path, fd, lost));
  const int error = errno;
  return Error{fmt::format("cannot open the access log {}: {}{}", path, ::strerrordesc_np(error), remedy(error))};
}

Sink::~Sink() {
  if (!is_stderr()) ::close(fd_);
}

void Sink::add(std::string_view line) {
  if (pending_.size() >= kWriteFrom) write();
  if (pending_.size() + line.size() > kPendingMax) {
    overrun(1);
    return;
  }
  pending_ += line;
}

bool Sink::write() {
  std::size_t written = 0;
  while (!pending_.empty()) {
    const long result = write_some();
    if (result == 0) break;
    if (result < 0) {
      failure_.error = static_cast<int>(-result);
      const std::uint64_t lines = drop_whole_lines();
      failure_.lines += lines;
      lost_.add(lines);
      break;
    }
    const auto length = static_cast<std::size_t>(result);
    mid_line_ = pending_[length - 1] != '\n';
    pending_.erase(0, length);
    written += length;
  }
  return written > 0;
}

long Sink::write_some() {
  std::size_t length = pending_.size();
  if (is_stderr()) {
    // Others share its open file, so it must not be made non-blocking: ask first, and write no more than is taken then.
    pollfd watched{.fd = fd_, .events = POLLOUT, .revents = 0};
    if (::poll(&watched, 1, 0) <= 0) return 0;
    length = std::min<std::size_t>(length, PIPE_BUF);
    // Whole lines, among which the program's own may stand.
    if (const std::size_t end = pending_.rfind('\n', length - 1); end != std::string::npos) length = end + 1;
  }
  const ssize_t result = ::write(fd_, pending_.data(), length);
  if (result > 0) return result;
  if (result == 0 || errno == EAGAIN || errno == EINTR) return 0;
  return -errno;
}

/// All but the rest of one that was begun.
std::uint64_t Sink::drop_whole_lines() {
  const std::size_t keep = mid_line_ ? pending_.find('\n') + 1 : 0;
  const std::uint64_t lines = count_lines(std::string_view(pending_).substr(keep));
  pending_.resize(keep);
  return lines;
}

void Sink::overrun(std::uint64_t lines) {
  overrun_ += lines;
  lost_.add(lines);
}

void Sink::give_up() {
  overrun(count_lines(pending_));
  pending_.clear();
  mid_line_ = false;
}

std::string Sink::reopen() {
  if (is_stderr()) return {};
  write();
  const int fd = open_file(path_);
  if (fd < 0) {
    const int error = errno;
    return fmt::format("{}{}", ::strerrordesc_np(error), remedy(error));
  }
  ::close(fd_);
  fd_ = fd;
  if (mid_line_) {  // its beginning is in the file of before
    pending_.erase(0, pending_.find('\n') + 1);
    mid_line_ = false;
    overrun(1);
  }
  return {};
}

bool Sink::failure_due(std::chrono::steady_clock::time_point now) const {
  return failure_.error != 0 && (!failure_told_ || now - *failure_told_ >= kFailureEvery);
}

Sink::Failure Sink::take_failure(std::chrono::steady_clock::time_point now) {
  failure_told_ = now;
  return std::exchange(failure_, {});
}

}  // namespace millrace::accesslog
