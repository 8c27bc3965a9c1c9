// relay-floor: the smallest relay that does what no TCP proxy can avoid, to compare proxies with.
//
// usage: relay-floor PORT 127.0.0.1:PORT
//
// One thread, one epoll, edge-triggered: for each connection one accept, socket, connect and two closes, and no socket
// option but TCP_NODELAY; one receive and one send per request and per small answer; for large answers nothing but
// splices, each as large as the pipe. No balancing, no timers, no limits, no checks of health, nothing is counted, and
// whatever is unusual ends the connection. What a proxy costs beyond this is its own.

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr std::size_t kPipeBytes = std::size_t{512} * 1024;
constexpr int kEventsMax = 256;

struct Relay;

/// What an event is about.
struct Watched {
  Relay* relay = nullptr;
  bool is_client = false;
};

struct Relay {
  int client = -1;
  int backend = -1;
  int pipe_in = -1;
  int pipe_out = -1;
  std::size_t in_pipe = 0;
  bool bulk = false;  // the answers are large
  bool ended = false;
  Watched client_watch{this, true};
  Watched backend_watch{this, false};
};

std::vector<std::array<int, 2>> spare_pipes;
std::vector<Relay*> ended;

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  return address;
}

void set_one(int fd, int level, int name) {
  const int one = 1;
  (void)::setsockopt(fd, level, name, &one, sizeof one);
}

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

int listen_on(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("socket");
  set_one(fd, SOL_SOCKET, SO_REUSEADDR);
  set_one(fd, IPPROTO_TCP, TCP_NODELAY);  // accepted sockets inherit it
  const sockaddr_in address = loopback(port);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("bind");
  if (::listen(fd, 4096) != 0) fail("listen");
  return fd;
}

void watch(int poller, int fd, Watched* watched) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT | EPOLLET;
  event.data.ptr = watched;
  if (::epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
}

void accept_all(int poller, int listener, int backend_port) {
  const sockaddr_in address = loopback(backend_port);
  for (;;) {
    const int client = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    if (client < 0) return;
    const int backend = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (backend < 0) fail("socket");
    set_one(backend, IPPROTO_TCP, TCP_NODELAY);
    if (::connect(backend, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno != EINPROGRESS) {
      fail("connect");
    }
    auto* relay = new Relay;
    relay->client = client;
    relay->backend = backend;
    watch(poller, backend, &relay->backend_watch);
    watch(poller, client, &relay->client_watch);
  }
}

void end(Relay& relay) {
  if (relay.ended) return;
  relay.ended = true;
  ::close(relay.client);
  ::close(relay.backend);
  if (relay.pipe_in >= 0) {
    if (relay.in_pipe == 0) {
      spare_pipes.push_back({relay.pipe_out, relay.pipe_in});
    } else {
      ::close(relay.pipe_in);
      ::close(relay.pipe_out);
    }
  }
  ended.push_back(&relay);  // further events of this round may name it
}

void take_pipe(Relay& relay) {
  std::array<int, 2> ends{};
  if (!spare_pipes.empty()) {
    ends = spare_pipes.back();
    spare_pipes.pop_back();
  } else {
    if (::pipe2(ends.data(), O_NONBLOCK) != 0) fail("pipe2");
    (void)::fcntl(ends[1], F_SETPIPE_SZ, static_cast<int>(kPipeBytes));
  }
  relay.pipe_out = ends[0];
  relay.pipe_in = ends[1];
}

/// Small ones are copied; one that does not fit into the socket at once is not for this program. False: more comes than
/// one buffer holds.
bool copy_once(Relay& relay, int from, int to) {
  static std::array<char, 16384> buffer;
  const ssize_t length = ::recv(from, buffer.data(), buffer.size(), 0);
  if (length < 0) {
    if (errno != EAGAIN) end(relay);
    return true;
  }
  if (length == 0 || ::send(to, buffer.data(), static_cast<std::size_t>(length), MSG_NOSIGNAL) != length) {
    end(relay);
    return true;
  }
  return length < static_cast<ssize_t>(buffer.size());
}

/// Answers: until there is no more, or no room.
void forward_answer(Relay& relay) {
  if (!relay.bulk) {
    relay.bulk = !copy_once(relay, relay.backend, relay.client);
    if (!relay.bulk) return;
  }
  if (relay.pipe_in < 0) take_pipe(relay);
  for (;;) {
    if (relay.in_pipe > 0) {
      const ssize_t moved =
          ::splice(relay.pipe_out, nullptr, relay.client, nullptr, relay.in_pipe, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (moved <= 0) {
        if (moved < 0 && errno != EAGAIN) end(relay);
        return;
      }
      relay.in_pipe -= static_cast<std::size_t>(moved);
      continue;
    }
    const ssize_t moved =
        ::splice(relay.backend, nullptr, relay.pipe_in, nullptr, kPipeBytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (moved <= 0) {
      if (moved == 0 || errno != EAGAIN) end(relay);
      return;
    }
    relay.in_pipe = static_cast<std::size_t>(moved);
  }
}

void handle(const Watched& watched, std::uint32_t events) {
  Relay& relay = *watched.relay;
  if (!watched.is_client) {
    if ((events & EPOLLIN) != 0 && relay.in_pipe == 0) forward_answer(relay);
    if ((events & EPOLLRDHUP) != 0 && !relay.ended && relay.in_pipe == 0) forward_answer(relay);  // its end
    return;
  }
  if ((events & EPOLLIN) != 0) (void)copy_once(relay, relay.client, relay.backend);
  if (!relay.ended && relay.in_pipe > 0) forward_answer(relay);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fputs("usage: relay-floor PORT 127.0.0.1:PORT\n", stderr);
    return 2;
  }
  const int listener = listen_on(std::atoi(argv[1]));
  const char* colon = std::strchr(argv[2], ':');
  const int backend_port = std::atoi(colon == nullptr ? argv[2] : colon + 1);
  const int poller = ::epoll_create1(0);
  watch(poller, listener, nullptr);
  std::array<epoll_event, kEventsMax> events{};
  for (;;) {
    const int count = ::epoll_wait(poller, events.data(), kEventsMax, -1);
    for (int i = 0; i < count; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      const auto* watched = static_cast<const Watched*>(event.data.ptr);
      if (watched == nullptr) {
        accept_all(poller, listener, backend_port);
      } else if (!watched->relay->ended) {
        handle(*watched, event.events);
      }
    }
    for (Relay* relay : ended) delete relay;
    ended.clear();
  }
}
