#include "listening.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "millrace/base/assert.hpp"
#include "millrace/base/log.hpp"
#include "millrace/io/sockets.hpp"

namespace millrace::app {

namespace {

constexpr int kPortAttempts = 16;  // "*:0" needs a port that is free for both families

std::vector<net::Endpoint> wildcards(std::uint16_t port) {
  return {net::Endpoint::ipv4(0, port), net::Endpoint::ipv6(std::array<std::uint8_t, 16>{}, port)};
}

/// The addresses that a `bind` stands for.
std::vector<net::Endpoint> wanted_by(const net::AddressText& bind) {
  if (bind.kind == net::AddressText::Kind::any) return wildcards(bind.host.port);
  return {bind.endpoint};
}

bool is_file(const net::Endpoint& address) {
  const std::string text = address.to_string();  // "unix:/path" or "unix:@abstract"
  return address.is_unix() && text.size() > 5 && text[5] != '@';
}

void close_all(const Bound& bound) {
  for (const std::vector<io::Fd>& fds : bound.fds) {
    for (const io::Fd fd : fds) io::close_now(fd);
  }
}

void remove_file(const Bound& bound) {
  if (!bound.passed && is_file(bound.address)) ::unlink(bound.address.to_string().c_str() + 5);
}

/// After a failure. The file is that of another program when there is no socket for it.
void take_down(const Bound& bound) {
  close_all(bound);
  const auto is_open = [](const std::vector<io::Fd>& fds) { return !fds.empty(); };
  if (std::any_of(bound.fds.begin(), bound.fds.end(), is_open)) remove_file(bound);
}

bool share_a_descriptor(const Bound& one, const Bound& other) {
  for (const std::vector<io::Fd>& fds : one.fds) {
    for (const io::Fd fd : fds) {
      const auto has = [fd](const std::vector<io::Fd>& theirs) {
        return std::find(theirs.begin(), theirs.end(), fd) != theirs.end();
      };
      if (std::any_of(other.fds.begin(), other.fds.end(), has)) return true;
    }
  }
  return false;
}

/// Whether a socket that was opened for one serves the other. A port that the kernel chose belongs to its listener.
bool serves(const Bound& bound, const config::Listener& listener, const net::Endpoint& wanted) {
  if (bound.protocol != listener.protocol || bound.wanted != wanted) return false;
  return wanted.is_unix() || wanted.port() != 0 || bound.listener == listener.name;
}

class Opener {
 public:
  Opener(Listening& listening, std::uint32_t workers, PassedSockets& passed)
      : listening_(listening), workers_(workers), passed_(passed) {}

  /// An error message, or nothing.
  std::string open(const config::Listener& listener, const net::AddressText& bind) {
    std::string problem = bind.kind == net::AddressText::Kind::any ? use_or_open_any(listener, bind.host.port)
                                                                   : use_or_open(listener, bind.endpoint);
    return problem.empty() ? problem : fmt::format("listener {}: {}", listener.name, problem);
  }

  std::string open_at(const config::Listener& listener, const net::Endpoint& wanted, std::uint16_t port) {
    net::Endpoint address = wanted;
    address.set_port(port);
    std::string problem = open_one(listener, wanted, address);
    return problem.empty() ? problem : fmt::format("listener {}: {}", listener.name, problem);
  }

  /// Opens the sockets of those workers that have none.
  std::string complete(const config::Listener& listener, Bound& bound) const {
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
      if (!bound.fds[worker].empty()) continue;
      const Result<io::Fd> opened = open_socket(listener, bound.address);
      if (!opened) return fmt::format("listener {}: {}", listener.name, opened.error());
      bound.fds[worker].push_back(opened.value());
    }
    return {};
  }

 private:
  Bound& add(const config::Listener& listener, const net::Endpoint& wanted) {
    return listening_.bounds.emplace_back(Bound{.listener = listener.name,
                                                .protocol = listener.protocol,
                                                .wanted = wanted,
                                                .address = wanted,
                                                .fds = std::vector<std::vector<io::Fd>>(workers_)});
  }

  /// systemd opens `ListenStream=80` as one IPv6 socket that serves both families.
  std::string use_or_open_any(const config::Listener& listener, std::uint16_t port) {
    const net::Endpoint v4 = wildcards(port)[0];
    const net::Endpoint v6 = wildcards(port)[1];
    if (const auto both = passed_.take(listener.protocol, v6, /*dual_stack_only=*/true); !both.fds.empty()) {
      std::string problem = use(listener, v6, both.fds);
      listening_.bounds.back().dual_stack = true;
      return problem;
    }
    const auto for_v4 = passed_.take(listener.protocol, v4);
    const auto for_v6 = passed_.take(listener.protocol, v6);
    if (for_v4.fds.empty() && for_v6.fds.empty()) return open_any(listener, port);
    std::string problem = for_v4.fds.empty() ? open_one(listener, v4, v4) : use(listener, v4, for_v4.fds);
    if (!problem.empty()) return problem;
    return for_v6.fds.empty() ? open_one(listener, v6, v6) : use(listener, v6, for_v6.fds);
  }

  std::string use_or_open(const config::Listener& listener, const net::Endpoint& address) {
    const auto match = passed_.take(listener.protocol, address);
    return match.fds.empty() ? open_one(listener, address, address) : use(listener, address, match.fds);
  }

  /// A passed TCP socket is shared by all workers: whoever accepts first has the connection. (More sockets for its
  /// address could only be opened by the user who opened this one, which was root.) A passed UDP socket has one worker:
  /// with several, the datagrams of a client would come to any of them, and its session is known to one.
  std::string use(const config::Listener& listener, const net::Endpoint& address, const std::vector<io::Fd>& fds) {
    const bool udp = listener.protocol == config::Protocol::udp;
    const std::size_t shares = udp ? fds.size() : std::max<std::size_t>(fds.size(), workers_);
    std::string problem;
    Bound& bound = add(listener, address);
    bound.passed = true;
    for (std::size_t i = 0; i < shares; ++i) {
      io::Fd fd = i < fds.size() ? fds[i] : io::Fd{::fcntl(io::raw(fds[i % fds.size()]), F_DUPFD_CLOEXEC, 0)};
      if (fd == io::Fd::none) return "no descriptor left; raise LimitNOFILE (ulimit -n)";
      const std::size_t worker = udp ? next_udp_worker_++ % workers_ : i % workers_;
      bound.fds[worker].push_back(fd);
      if (i >= fds.size()) continue;
      const Result<io::Fd> adopted = udp ? io::adopt_datagram_listener(fd, address)
                                         : io::adopt_listener(fd, address,
                                                              {.backlog = static_cast<int>(listener.backlog),
                                                               .reuse_port = false,
                                                               .keepalive = listener.keepalive});
      if (!adopted) problem = adopted.error();
    }
    log::info("passed_socket_used", {{"listener", listener.name},
                                     {"address", address.to_string()},
                                     {"sockets", fds.size()},
                                     {"workers", std::min<std::size_t>(shares, workers_)}});
    return problem;
  }

  std::string open_any(const config::Listener& listener, std::uint16_t port) {
    std::string problem;
    for (int attempt = 0; attempt < (port == 0 ? kPortAttempts : 1); ++attempt) {
      const std::size_t before = listening_.bounds.size();
      problem = open_one(listener, wildcards(port)[0], wildcards(port)[0]);
      if (problem.empty()) {
        const std::uint16_t chosen = listening_.bounds.back().address.port();
        problem = open_one(listener, wildcards(port)[1], wildcards(chosen)[1]);
      }
      if (problem.empty()) return {};
      for (std::size_t i = before; i < listening_.bounds.size(); ++i) close_all(listening_.bounds[i]);
      listening_.bounds.resize(before);
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
  std::string open_one(const config::Listener& listener, const net::Endpoint& wanted, const net::Endpoint& address) {
    Bound& bound = add(listener, wanted);
    bound.address = address;
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
      io::Fd fd = io::Fd::none;
      if (address.is_unix() && worker > 0) {
        fd = io::Fd{::fcntl(io::raw(bound.fds[0].back()), F_DUPFD_CLOEXEC, 0)};
        if (fd == io::Fd::none) return "no descriptor left; raise LimitNOFILE (ulimit -n)";
      } else {
        const Result<io::Fd> opened = open_socket(listener, bound.address);
        if (!opened) return opened.error();
        fd = opened.value();
      }
      bound.fds[worker].push_back(fd);
      if (worker == 0 && !address.is_unix()) bound.address = io::bound_address(fd);
    }
    return {};
  }

  Listening& listening_;
  std::uint32_t workers_;
  PassedSockets& passed_;
  std::size_t next_udp_worker_ = 0;
};

/// What accepted connections inherit, and the length of the queue, may have changed.
void follow(const Bound& bound, const config::Listener& listener) {
  if (listener.protocol == config::Protocol::udp) return;
  for (const std::vector<io::Fd>& fds : bound.fds) {
    for (const io::Fd fd : fds) {
      // It worked when the socket was opened.
      static_cast<void>(io::adopt_listener(
          fd, bound.address,
          {.backlog = static_cast<int>(listener.backlog), .reuse_port = false, .keepalive = listener.keepalive}));
    }
  }
}

}  // namespace

Result<Listening> ListeningSockets::open(const config::Config& config, PassedSockets& passed) {
  Listening listening;
  Opener opener(listening, workers_, passed);
  for (const config::Listener& listener : config.listeners) {
    for (const net::AddressText& bind : listener.bind) {
      std::string problem = opener.open(listener, bind);
      if (problem.empty()) continue;
      for (const Bound& bound : listening.bounds) take_down(bound);
      return Error{std::move(problem)};
    }
  }
  return listening;
}

Result<Listening> ListeningSockets::prepare(const config::Config& config, const KeepDraining& keep_draining) {
  Preparation preparation{.keep_draining = keep_draining, .taken = std::vector<bool>(now_.bounds.size())};
  for (const config::Listener& listener : config.listeners) {
    for (const net::AddressText& bind : listener.bind) {
      std::string problem = provide(listener, bind, preparation);
      if (problem.empty()) continue;
      discard(preparation.next);
      return Error{std::move(problem)};
    }
  }
  return std::move(preparation.next);
}

/// What is there, what is on its way out, and only then what is new. An error message, or nothing.
std::string ListeningSockets::provide(const config::Listener& listener, const net::AddressText& bind,
                                      Preparation& preparation) {
  std::vector<Bound>& bounds = preparation.next.bounds;
  PassedSockets none;
  Opener opener(preparation.next, workers_, none);
  const std::vector<net::Endpoint> all = wanted_by(bind);
  std::vector<net::Endpoint> missing;
  for (const net::Endpoint& wanted : all) {
    if (const Bound* present = take_present(listener, bind, wanted, preparation.taken)) {
      bounds.push_back(*present);
      bounds.back().listener = listener.name;
      if (present->dual_stack) return {};
    } else if (std::optional<Bound> back = take_draining(listener, wanted, preparation.keep_draining)) {
      bounds.push_back(*std::move(back));
      if (std::string problem = opener.complete(listener, bounds.back()); !problem.empty()) return problem;
    } else {
      missing.push_back(wanted);
    }
  }
  if (missing.size() == all.size()) return opener.open(listener, bind);
  for (const net::Endpoint& wanted : missing) {  // one family of a wildcard; the port is that of the other
    if (std::string problem = opener.open_at(listener, wanted, bounds.back().address.port()); !problem.empty()) {
      return problem;
    }
  }
  return {};
}

const Bound* ListeningSockets::take_present(const config::Listener& listener, const net::AddressText& bind,
                                            const net::Endpoint& wanted, std::vector<bool>& taken) const {
  for (std::size_t i = 0; i < now_.bounds.size(); ++i) {
    const Bound& bound = now_.bounds[i];
    const bool both = bound.dual_stack && bind.kind == net::AddressText::Kind::any &&
                      bound.protocol == listener.protocol && bound.wanted.port() == wanted.port();
    if (taken[i] || (!both && !serves(bound, listener, wanted))) continue;
    taken[i] = true;
    return &bound;
  }
  return nullptr;
}

/// Workers that have closed theirs already lack one then.
std::optional<Bound> ListeningSockets::take_draining(const config::Listener& listener, const net::Endpoint& wanted,
                                                     const KeepDraining& keep_draining) {
  const auto draining = std::find_if(draining_.begin(), draining_.end(), [&](const Bound& bound) {
    return serves(bound, listener, wanted) && !is_file(wanted) && !bound.passed && bound.kept.empty();
  });
  if (draining == draining_.end()) return std::nullopt;
  draining->kept = keep_draining(*draining);
  Bound back = *draining;
  back.listener = listener.name;
  back.fds = back.kept;
  return back;
}

void ListeningSockets::discard(const Listening& prepared) {
  for (Bound bound : prepared.bounds) {
    const bool ours = std::any_of(now_.bounds.begin(), now_.bounds.end(),
                                  [&](const Bound& present) { return present.fds == bound.fds; });
    if (ours) continue;
    for (std::size_t worker = 0; worker < bound.kept.size(); ++worker) {  // those the worker has
      for (const io::Fd fd : bound.kept[worker]) std::erase(bound.fds[worker], fd);
    }
    take_down(bound);
  }
  for (Bound& bound : draining_) bound.kept.clear();
}

void ListeningSockets::commit(Listening next, const config::Config& config) {
  std::erase_if(draining_, [](const Bound& bound) { return !bound.kept.empty(); });
  for (Bound& bound : next.bounds) bound.kept.clear();
  for (Bound& before : now_.bounds) {
    const bool stays = std::any_of(next.bounds.begin(), next.bounds.end(),
                                   [&](const Bound& bound) { return bound.fds == before.fds; });
    if (stays) continue;
    const bool file_again = std::any_of(next.bounds.begin(), next.bounds.end(),
                                        [&](const Bound& bound) { return bound.address == before.address; });
    if (!file_again) remove_file(before);
    draining_.push_back(std::move(before));
  }
  now_ = std::move(next);
  for (const Bound& bound : now_.bounds) {
    for (const config::Listener& listener : config.listeners) {
      if (listener.name == bound.listener) follow(bound, listener);
    }
  }
  forget_reused();
}

/// What was draining is closed a little later: then its numbers may be those of others.
void ListeningSockets::forget_reused() {
  const auto is_reused = [this](const Bound& bound) {
    return std::any_of(now_.bounds.begin(), now_.bounds.end(),
                       [&](const Bound& present) { return share_a_descriptor(present, bound); });
  };
  std::erase_if(draining_, is_reused);
  for (std::size_t i = 0; i + 1 < draining_.size();) {
    const bool reused = std::any_of(draining_.begin() + static_cast<std::ptrdiff_t>(i) + 1, draining_.end(),
                                    [&](const Bound& later) { return share_a_descriptor(later, draining_[i]); });
    if (reused) {
      draining_.erase(draining_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

std::vector<std::vector<worker::ListenerSocket>> ListeningSockets::by_worker(const Listening& listening,
                                                                             const pool::Snapshot& snapshot) const {
  std::vector<std::vector<worker::ListenerSocket>> sockets(workers_);
  for (const Bound& bound : listening.bounds) {
    const auto index = snapshot.find_listener(bound.listener);
    MILLRACE_ASSERT(index.has_value(), "a snapshot has the listeners of its configuration");
    for (std::uint32_t worker = 0; worker < workers_; ++worker) {
      for (const io::Fd fd : bound.fds[worker]) {
        sockets[worker].push_back({.fd = fd, .listener = *index, .shared = bound.passed});
      }
    }
  }
  return sockets;
}

std::vector<std::vector<std::string>> ListeningSockets::addresses(const Listening& listening,
                                                                  const pool::Snapshot& snapshot) {
  std::vector<std::vector<std::string>> addresses(snapshot.listeners.size());
  for (const Bound& bound : listening.bounds) {
    if (const auto index = snapshot.find_listener(bound.listener)) {
      addresses[*index].push_back(bound.address.to_string());
    }
  }
  return addresses;
}

void ListeningSockets::remove_socket_files() const {
  for (const Bound& bound : now_.bounds) remove_file(bound);
}

std::uint32_t count_sockets(const config::Config& config, std::uint32_t workers) {
  std::uint32_t sockets = 0;
  for (const config::Listener& listener : config.listeners) {
    for (const net::AddressText& bind : listener.bind) {
      sockets += static_cast<std::uint32_t>(wanted_by(bind).size()) * workers;
    }
  }
  return sockets;
}

}  // namespace millrace::app
