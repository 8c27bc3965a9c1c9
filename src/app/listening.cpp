#include "listening.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "millrace/base/log.hpp"
#include "millrace/io/sockets.hpp"

namespace millrace::app {

namespace {

constexpr int kPortAttempts = 16;  // "*:0" needs a port that is free for both families

std::vector<net::Endpoint> wildcards(std::uint16_t port) {
  return {net::Endpoint::ipv4(0, port), net::Endpoint::ipv6(std::array<std::uint8_t, 16>{}, port)};
}

class Opener {
 public:
  Opener(Listening& listening, std::uint32_t workers, PassedSockets& passed)
      : listening_(listening), workers_(workers), passed_(passed) {
    listening_.sockets.resize(workers);
  }

  /// An error message, or nothing.
  std::string open(const config::Listener& listener, std::uint32_t index) {
    for (const net::AddressText& bind : listener.bind) {
      std::string problem = bind.kind == net::AddressText::Kind::any ? use_or_open_any(listener, index, bind.host.port)
                                                                     : use_or_open(listener, index, bind.endpoint);
      if (!problem.empty()) return fmt::format("listener {}: {}", listener.name, problem);
    }
    return {};
  }

  void close_all() {
    for (auto& sockets : listening_.sockets) {
      for (const worker::ListenerSocket& socket : sockets) io::close_now(socket.fd);
      sockets.clear();
    }
  }

 private:
  /// systemd opens `ListenStream=80` as one IPv6 socket that serves both families.
  std::string use_or_open_any(const config::Listener& listener, std::uint32_t index, std::uint16_t port) {
    const net::Endpoint v4 = wildcards(port)[0];
    const net::Endpoint v6 = wildcards(port)[1];
    if (const auto both = passed_.take(listener.protocol, v6, /*dual_stack_only=*/true); !both.fds.empty()) {
      return use(listener, index, v6, both.fds);
    }
    const auto for_v4 = passed_.take(listener.protocol, v4);
    const auto for_v6 = passed_.take(listener.protocol, v6);
    if (for_v4.fds.empty() && for_v6.fds.empty()) return open_any(listener, index, port);
    std::string problem = for_v4.fds.empty() ? open_one(listener, index, v4) : use(listener, index, v4, for_v4.fds);
    if (!problem.empty()) return problem;
    return for_v6.fds.empty() ? open_one(listener, index, v6) : use(listener, index, v6, for_v6.fds);
  }

  std::string use_or_open(const config::Listener& listener, std::uint32_t index, const net::Endpoint& address) {
    const auto match = passed_.take(listener.protocol, address);
    return match.fds.empty() ? open_one(listener, index, address) : use(listener, index, address, match.fds);
  }

  /// A passed TCP socket is shared by all workers: whoever accepts first has the connection. (More sockets for its
  /// address could only be opened by the user who opened this one, which was root.) A passed UDP socket has one worker:
  /// with several, the datagrams of a client would come to any of them, and its session is known to one.
  std::string use(const config::Listener& listener, std::uint32_t index, const net::Endpoint& address,
                  const std::vector<io::Fd>& fds) {
    const bool udp = listener.protocol == config::Protocol::udp;
    const std::size_t shares = udp ? fds.size() : std::max<std::size_t>(fds.size(), workers_);
    std::string problem;
    for (std::size_t i = 0; i < shares; ++i) {
      io::Fd fd = i < fds.size() ? fds[i] : io::Fd{::fcntl(io::raw(fds[i % fds.size()]), F_DUPFD_CLOEXEC, 0)};
      if (fd == io::Fd::none) return "no descriptor left; raise LimitNOFILE (ulimit -n)";
      const std::size_t worker = udp ? next_udp_worker_++ % workers_ : i % workers_;
      listening_.sockets[worker].push_back({.fd = fd, .listener = index});
      if (i >= fds.size()) continue;
      const Result<io::Fd> adopted = udp ? io::adopt_datagram_listener(fd, address)
                                         : io::adopt_listener(fd, address,
                                                              {.backlog = static_cast<int>(listener.backlog),
                                                               .reuse_port = false,
                                                               .keepalive = listener.keepalive});
      if (!adopted) problem = adopted.error();
    }
    listening_.addresses.push_back(
        {.listener = listener.name, .protocol = listener.protocol, .address = address, .passed = true});
    log::info("passed_socket_used", {{"listener", listener.name},
                                     {"address", address.to_string()},
                                     {"sockets", fds.size()},
                                     {"workers", std::min<std::size_t>(shares, workers_)}});
    return problem;
  }

  std::string open_any(const config::Listener& listener, std::uint32_t index, std::uint16_t port) {
    std::string problem;
    for (int attempt = 0; attempt < (port == 0 ? kPortAttempts : 1); ++attempt) {
      const std::size_t before = listening_.sockets.front().size();
      const std::size_t addresses_before = listening_.addresses.size();
      problem = open_one(listener, index, wildcards(port)[0]);
      if (!problem.empty()) continue;
      net::Endpoint v6 = wildcards(listening_.addresses.back().address.port())[1];
      problem = open_one(listener, index, v6);
      if (problem.empty()) return {};
      for (auto& sockets : listening_.sockets) {
        for (std::size_t i = before; i < sockets.size(); ++i) io::close_now(sockets[i].fd);
        sockets.resize(before);
      }
      listening_.addresses.resize(addresses_before);
    }
    return problem;
  }

  [[nodiscard]] Result<io::Fd> open_socket(const config::Listener& listener, const net::Endpoint& address) const {
    const bool reuse_port = !address.is_unix() && workers_ > 1;
    if (listener.protocol == config::Protocol::udp)
      return io::open_datagram_listener(address, {.reuse_port = reuse_port});
    return io::open_listener(
        address,
        {.backlog = static_cast<int>(listener.backlog), .reuse_port = reuse_port, .keepalive = listener.keepalive});
  }

  /// One socket per worker on the same address; a unix socket cannot be shared that way and is duplicated instead.
  std::string open_one(const config::Listener& listener, std::uint32_t index, net::Endpoint address) {
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
      io::Fd fd = io::Fd::none;
      if (address.is_unix() && worker > 0) {
        fd = io::Fd{::fcntl(io::raw(listening_.sockets[0].back().fd), F_DUPFD_CLOEXEC, 0)};
        if (fd == io::Fd::none) return "no descriptor left; raise LimitNOFILE (ulimit -n)";
      } else {
        const Result<io::Fd> opened = open_socket(listener, address);
        if (!opened) return opened.error();
        fd = opened.value();
      }
      listening_.sockets[worker].push_back({.fd = fd, .listener = index});
      if (worker == 0 && !address.is_unix()) address = io::bound_address(fd);
    }
    listening_.addresses.push_back({.listener = listener.name, .protocol = listener.protocol, .address = address});
    return {};
  }

  Listening& listening_;
  std::uint32_t workers_;
  PassedSockets& passed_;
  std::size_t next_udp_worker_ = 0;
};

}  // namespace

Result<Listening> open_listeners(const config::Config& config, std::uint32_t workers, PassedSockets& passed) {
  Listening listening;
  Opener opener(listening, workers, passed);
  for (std::uint32_t i = 0; i < config.listeners.size(); ++i) {
    std::string problem = opener.open(config.listeners[i], i);
    if (problem.empty()) continue;
    opener.close_all();
    return Error{std::move(problem)};
  }
  return listening;
}

void remove_socket_files(const Listening& listening) {
  for (const Bound& bound : listening.addresses) {
    const std::string text = bound.address.to_string();  // "unix:/path" or "unix:@abstract"
    if (!bound.passed && bound.address.is_unix() && text.size() > 5 && text[5] != '@') ::unlink(text.c_str() + 5);
  }
}

std::uint32_t count_sockets(const config::Config& config, std::uint32_t workers) {
  std::uint32_t sockets = 0;
  for (const config::Listener& listener : config.listeners) {
    for (const net::AddressText& bind : listener.bind) {
      sockets += (bind.kind == net::AddressText::Kind::any ? 2U : 1U) * workers;
    }
  }
  return sockets;
}

}  // namespace millrace::app
