#include "millrace/admin/control_client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace millrace::admin {

namespace {

constexpr timeval kPatience = {.tv_sec = 10, .tv_usec = 0};
constexpr std::size_t kAnswerBytesMax = std::size_t{256} << 20U;

std::string remedy(int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
      return "; no balancer runs there: start one, or say which with --socket PATH";
    case EACCES:
    case EPERM:
      return "; be root, the balancer's user, or in the group of the socket's file";
    default:
      return {};
  }
}

}  // namespace

Result<ControlClient> ControlClient::connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Error{fmt::format("{}: the path is too long for a unix socket", path)};
  }
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Error{fmt::format("no socket: {}", ::strerrordesc_np(errno))};
  ControlClient client(fd, path);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error{fmt::format("cannot connect to {}: {}{}", path, ::strerrordesc_np(errno), remedy(errno))};
  }
  return client;
}

ControlClient::ControlClient(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

ControlClient::ControlClient(ControlClient&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), received_(std::move(other.received_)) {}

ControlClient::~ControlClient() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::string> ControlClient::ask(std::string_view request) {
  send(request);
  for (;;) {
    if (std::optional<std::string> answer = line()) return std::move(*answer);
    if (std::optional<Error> problem = receive(0)) return std::move(*problem);
  }
}

void ControlClient::send(std::string_view request) {
  const std::string line = std::string(request) + '\n';
  std::string_view left = line;
  while (!left.empty()) {
    const ssize_t sent = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
    // It may have answered and closed before it took the request: the answer says why.
    if (sent <= 0) return;
    left.remove_prefix(static_cast<std::size_t>(sent));
  }
}

Result<std::optional<std::string>> ControlClient::take() {
  if (std::optional<Error> problem = receive(MSG_DONTWAIT)) return std::move(*problem);
  return line();
}

std::optional<Error> ControlClient::receive(int flags) {
  std::array<char, 65536> buffer;
  const ssize_t got = ::recv(fd_, buffer.data(), buffer.size(), flags);
  if (got > 0) {
    received_.append(buffer.data(), static_cast<std::size_t>(got));
    if (received_.size() <= kAnswerBytesMax) return std::nullopt;
    return Error{fmt::format("the answer of {} does not end", path_)};
  }
  if (got == 0) return Error{fmt::format("{} was closed before it answered; did the balancer end?", path_)};
  if (errno == EINTR || ((flags & MSG_DONTWAIT) != 0 && errno == EAGAIN)) return std::nullopt;
  return Error{fmt::format("no answer from {}: {}", path_, ::strerrordesc_np(errno))};
}

std::optional<std::string> ControlClient::line() {
  const std::size_t end = received_.find('\n');
  if (end == std::string::npos) return std::nullopt;
  std::string found = received_.substr(0, end);
  received_.erase(0, end + 1);
  return found;
}

}  // namespace millrace::admin
