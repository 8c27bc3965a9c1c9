#include "millrace/admin/control_server.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "client_sockets.hpp"
#include "millrace/base/log.hpp"
#include "millrace/io/sockets.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::admin {

namespace {

constexpr mode_t kSocketMode = 0660;
constexpr std::size_t kGroupsMax = 65536;

std::string text_of(int error) {
  return ::strerrordesc_np(error);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

/// Empty when the path is free, or was made free.
std::string make_way(const std::string& path, const sockaddr_un& address) {
  const int error = io::remove_stale_file(net::Endpoint::from_sockaddr(generic(address), sizeof address));
  switch (error) {
    case 0:
      return {};
    case ENOTSOCK:
      return fmt::format("{} exists and is no socket; remove it, or name another path", path);
    case EADDRINUSE:
      return fmt::format("another process listens on {}; end it, or give this one another [admin] socket", path);
    default:
      return fmt::format("cannot remove the stale {}: {}", path, text_of(error));
  }
}

std::string bind_problem(const std::string& path, int error) {
  if (error != ENOENT) return fmt::format("cannot listen on {}: {}", path, text_of(error));
  const std::string folder = path.substr(0, std::max<std::size_t>(path.rfind('/'), 1));
  return fmt::format(
      "the folder {} does not exist; create it (systemd: RuntimeDirectory=millrace), or set [admin] socket", folder);
}

PeerCredentials credentials_of(int fd) {
  PeerCredentials peer;
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) {
    peer.uid = static_cast<uid_t>(-1);
    return peer;
  }
  peer.uid = credentials.uid;
  peer.groups.resize(64);
  for (;;) {
    length = static_cast<socklen_t>(peer.groups.size() * sizeof(gid_t));
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &length) == 0) break;
    if (errno != ERANGE || length / sizeof(gid_t) > kGroupsMax) {
      length = 0;
      break;
    }
    peer.groups.resize(length / sizeof(gid_t));
  }
  peer.groups.resize(length / sizeof(gid_t));
  peer.groups.push_back(credentials.gid);
  return peer;
}

}  // namespace

bool may_control(const PeerCredentials& peer, uid_t own_uid, gid_t socket_group) {
  if (peer.uid == 0 || peer.uid == own_uid) return true;
  return std::find(peer.groups.begin(), peer.groups.end(), socket_group) != peer.groups.end();
}

struct ControlServer::Client {
  explicit Client(int of) : fd(of) {}
  ~Client() { ::close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] bool answering() const { return sent < answer.size(); }
  /// Whether a whole request waits: it did not wait for the answer before it asked for more.
  [[nodiscard]] bool has_request() const { return !answering() && request.find('\n') != std::string::npos; }

  int fd;
  std::string request;  // what has come of it, and perhaps of the next
  std::string answer;
  std::size_t sent = 0;
  Instant deadline{};
  Instant last_heard{};
  bool last_answer = false;
  bool gone = false;
};

Result<std::unique_ptr<ControlServer>> ControlServer::start(ControlOptions options, Handler handle, Refusal refuse) {
  const std::string path = options.path;
  const sockaddr_un address = address_of(path);
  if (std::string problem = make_way(path, address); !problem.empty()) return Error{std::move(problem)};
  const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const int stop = ::eventfd(0, EFD_CLOEXEC);
  const auto fail = [&](std::string problem) {
    ::close(listener);
    ::close(stop);
    return Error{std::move(problem)};
  };
  if (listener < 0 || stop < 0) return fail("no descriptor for the control socket: " + text_of(errno));
  if (::bind(listener, generic(address), sizeof address) != 0) return fail(bind_problem(path, errno));
  // Nobody can connect before listen(): by then the mode is right.
  if (::chmod(path.c_str(), kSocketMode) != 0 || ::listen(listener, 64) != 0) {
    const std::string problem = bind_problem(path, errno);
    ::unlink(path.c_str());
    return fail(problem);
  }
  return std::unique_ptr<ControlServer>(
      new ControlServer(std::move(options), std::move(handle), std::move(refuse), listener, stop));
}

ControlServer::ControlServer(ControlOptions options, Handler handle, Refusal refuse, int listener, int stop)
    : options_(std::move(options)),
      handle_(std::move(handle)),
      refuse_(std::move(refuse)),
      listener_(listener),
      stop_(stop) {
  struct stat file {};
  if (::stat(options_.path.c_str(), &file) == 0) {
    device_ = file.st_dev;
    inode_ = file.st_ino;
  }
  thread_ = std::thread([this] { serve(); });
}

ControlServer::~ControlServer() {
  ::eventfd_write(stop_, 1);
  thread_.join();
  struct stat file {};
  const bool ours = ::lstat(options_.path.c_str(), &file) == 0 && file.st_dev == device_ && file.st_ino == inode_;
  if (ours) ::unlink(options_.path.c_str());
  ::close(listener_);
  ::close(stop_);
}

void ControlServer::serve() {
  ::pthread_setname_np(::pthread_self(), "control");
  std::vector<pollfd> polled;
  for (;;) {
    polled.assign({{.fd = stop_, .events = POLLIN, .revents = 0}, {.fd = listener_, .events = POLLIN, .revents = 0}});
    Instant wake = kNever;
    for (const auto& client : clients_) {
      const bool answering = client->answering();
      polled.push_back({.fd = client->fd, .events = static_cast<short>(answering ? POLLOUT : POLLIN), .revents = 0});
      wake = std::min(wake, client->has_request() ? Instant::min() : client->deadline);
    }
    if (::poll(polled.data(), polled.size(), poll_timeout(wake)) < 0 && errno != EINTR) {
      log::error("control_failed", {{"reason", text_of(errno)}});
      return;
    }
    if (polled[0].revents != 0) break;
    const Instant now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < clients_.size(); ++i) progress(*clients_[i], polled[i + 2].revents, now);
    std::erase_if(clients_, [](const auto& client) { return client->gone; });
    if (polled[1].revents != 0) accept_clients();
  }
  clients_.clear();
}

void ControlServer::accept_clients() {
  for (std::size_t i = 0; i < options_.clients_max; ++i) {  // then the clients that are there have their turn
    const int fd = accept_client(listener_);
    if (fd < 0) return;
    add_client(fd);
  }
}

void ControlServer::add_client(int fd) {
  auto client = std::make_unique<Client>(fd);
  struct stat file {};
  const bool known = ::stat(options_.path.c_str(), &file) == 0;
  const Instant now = std::chrono::steady_clock::now();
  client->last_heard = now;
  client->deadline = now + options_.request_time;
  if (!may_control(credentials_of(fd), ::geteuid(), known ? file.st_gid : ::getegid())) {
    client->answer = refuse_("forbidden", "only root, the balancer's user and the group of the socket's file may");
    client->last_answer = true;
    send(*client);
    return;
  }
  if (clients_.size() >= options_.clients_max) drop_quietest(clients_);
  clients_.push_back(std::move(client));
}

void ControlServer::progress(Client& client, short events, Instant now) {
  if (client.answering()) {
    if (events != 0) send(client);
  } else if (events != 0 || client.has_request()) {
    if (events != 0 && !client.has_request()) receive(client);
    answer_request(client, now);
  }
  if (now >= client.deadline) client.gone = true;
}

void ControlServer::receive(Client& client) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(client.fd, buffer.data(), buffer.size(), 0);
  if (got > 0) {
    client.request.append(buffer.data(), static_cast<std::size_t>(got));
  } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
    client.gone = true;
  }
}

/// If one has come whole.
void ControlServer::answer_request(Client& client, Instant now) {
  const std::size_t end = client.request.find('\n');
  if (end == std::string::npos && client.request.size() <= options_.request_bytes_max) return;
  if (end == std::string::npos || end > options_.request_bytes_max) {
    client.answer = refuse_("too_long", fmt::format("a request is at most {} bytes long", options_.request_bytes_max));
    client.last_answer = true;
  } else {
    client.answer = handle_(std::string_view(client.request).substr(0, end));
    client.request.erase(0, end + 1);
  }
  client.sent = 0;
  client.last_heard = now;
  client.deadline = std::chrono::steady_clock::now() + options_.request_time;
  send(client);
}

void ControlServer::send(Client& client) {
  client.gone = !send_more(client.fd, client.answer, client.sent);
  if (client.gone || client.answering()) return;
  client.answer.clear();
  client.answer.shrink_to_fit();
  client.sent = 0;
  if (client.last_answer) client.gone = true;
}

}  // namespace millrace::admin
