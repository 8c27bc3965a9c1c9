#include "listening.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "millrace/io/sockets.hpp"

namespace millrace::app {

namespace {

constexpr int kPortAttempts = 16;  // "*:0" needs a port that is free for both families

std::vector<net::Endpoint> wildcards(std::uint16_t port) {
  return {net::Endpoint::ipv4(0, port), net::Endpoint::ipv6(std::array<std::uint8_t, 16>{}, port)};
}

class Opener {
 public:
  Opener(Listening& listening, std::uint32_t workers) : listening_(listening), workers_(workers) {
    listening_.sockets.resize(workers);
  }

  /// An error message, or nothing.
  std::string open(const config::Listener& listener, std::uint32_t index) {
    for (const net::AddressText& bind : listener.bind) {
      std::string problem = bind.kind == net::AddressText::Kind::any ? open_any(listener, index, bind.host.port)
                                                                     : open_one(listener, index, bind.endpoint);
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
};

}  // namespace

Result<Listening> open_listeners(const config::Config& config, std::uint32_t workers) {
  Listening listening;
  Opener opener(listening, workers);
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
    if (bound.address.is_unix() && text.size() > 5 && text[5] != '@') ::unlink(text.c_str() + 5);
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
