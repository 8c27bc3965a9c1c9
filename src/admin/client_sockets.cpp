#include "client_sockets.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace millrace::admin {

int poll_timeout(Instant wake) {
  if (wake == kNever) return -1;
  const Instant now = std::chrono::steady_clock::now();
  return wake <= now ? 0 : static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(wake - now).count());
}

int accept_client(int listener) {
  const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0 && (errno == EMFILE || errno == ENFILE)) ::poll(nullptr, 0, 100);
  return fd;
}

bool send_more(int fd, const std::string& text, std::size_t& sent) {
  const ssize_t taken = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (taken < 0) return errno == EAGAIN || errno == EINTR;
  sent += static_cast<std::size_t>(taken);
  return true;
}

}  // namespace millrace::admin
