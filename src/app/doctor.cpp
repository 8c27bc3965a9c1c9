#include "doctor.hpp"

#include <fmt/format.h>
#include <linux/capability.h>

#include <algorithm>
#include <set>

#include "grouped.hpp"
#include "listening.hpp"

namespace millrace::app {

namespace {

constexpr std::uint64_t kMemlockPerRing = 512 * 1024;  // measured; each worker has a ring, and so has the prober
constexpr std::uint64_t kFewConnections = 4096;        // fewer are worth a word even when nobody asked for more
constexpr std::uint64_t kNoConnections = 16;           // with so few it is of no use
constexpr std::uint64_t kDatagramReceiveBytes = 4 * 1024 * 1024;
constexpr std::uint64_t kStreamBufferBytes = 4 * 1024 * 1024;
constexpr std::uint64_t kPagesPerPipe = 512 * 1024 / 4096;
constexpr std::uint64_t kWidestRange = 65535 - 1024 + 1;
constexpr std::uint64_t kFirstPrivilegedDefault = 1024;

/// "about 28,000": two digits say enough.
std::string about(std::uint64_t number) {
  std::uint64_t unit = 1;
  while (number / unit >= 100) unit *= 10;
  return "about " + grouped((number + unit / 2) / unit * unit);
}

std::string sysctl(std::string_view name, std::uint64_t value) {
  return fmt::format("sysctl -w {}={}", name, value);
}

bool has(const DoctorFacts& facts, unsigned capability) {
  return ((facts.capabilities >> capability) & 1U) != 0;
}

/// Goes through the facts, one subject after the other.
class Doctor {
 public:
  Doctor(const DoctorFacts& facts, const config::Config& config) : facts_(facts), config_(config) {
    for (const config::Listener& listener : config.listeners) {
      const bool udp = listener.protocol == config::Protocol::udp;
      any_udp_ = any_udp_ || udp;
      any_tcp_ = any_tcp_ || !udp;
    }
    any_tcp_ = any_tcp_ || config.listeners.empty();
  }

  Diagnosis examine() {
    derive();
    uring();
    sandbox();
    workers();
    open_files();
    memlock();
    privileged_ports();
    backlog();
    syncookies();
    local_ports();
    conntrack();
    datagram_buffers();
    stream_buffers();
    pipes();
    congestion();
    return std::move(result_);
  }

 private:
  void add(Severity severity, std::string topic, std::string text, std::vector<std::string> fixes = {}) {
    result_.findings.push_back({severity, std::move(topic), std::move(text), std::move(fixes)});
  }

  void derive() {
    result_.open_files = open_files_wanted(facts_.open_files_soft, facts_.open_files_hard);
    result_.capacity = capacity_of(config_, {.cpus = facts_.cpus, .open_files = result_.open_files});
  }

  void uring() {
    const std::string kernel = "kernel " + facts_.kernel_release;
    if (!facts_.uring) return add(Severity::problem, "io_uring", kernel + ": " + facts_.uring_problem);
    const io::UringFeatures& uring = *facts_.uring;
    if (!uring.defer_taskrun || !uring.buffer_ring) {
      add(Severity::warning, "io_uring",
          fmt::format("{} offers: {}. millrace is made for Linux 6.1 and later, where it needs less CPU", kernel,
                      uring.to_string()),
          {"install a kernel of version 6.1 or later"});
    } else {
      add(Severity::good, "io_uring", fmt::format("{} offers: {}", kernel, uring.to_string()));
    }
    if (!uring.multishot_accept) {
      add(Severity::note, "accept",
          "connections are accepted one at a time: this kernel's multishot accept is missing, or is one of 6.6 to "
          "6.8-rc3, which hands out wrong descriptors (liburing #1062). High rates of new connections cost more CPU");
    }
    if (facts_.uring_disabled.value_or(0) == 1) {
      add(Severity::note, "sysctl",
          "kernel.io_uring_disabled is 1: io_uring works here, for who has CAP_SYS_ADMIN or is in "
          "kernel.io_uring_group. Another user, such as that of the service, may not have it",
          {sysctl("kernel.io_uring_disabled", 0), "sysctl -w kernel.io_uring_group=GID"});
    }
  }

  void sandbox() {
    const std::string where =
        facts_.container.empty() ? "" : fmt::format("this is a container ({}). ", facts_.container);
    if (facts_.seccomp_mode == 2) {
      add(Severity::note, "sandbox",
          where + (facts_.uring ? "A seccomp filter is in force; it lets io_uring through"
                                : "A seccomp filter is in force, and may be what stops io_uring"),
          facts_.uring ? std::vector<std::string>{}
                       : std::vector<std::string>{
                             "docker run --security-opt seccomp=/usr/share/millrace/seccomp.json …",
                             "Kubernetes: securityContext: {seccompProfile: {type: Localhost, localhostProfile: "
                             "millrace.json}}",
                             "unit: SystemCallFilter=@aio (in addition to what is there)"});
    } else if (!where.empty()) {
      add(Severity::note, "sandbox", where + "No seccomp filter is in force");
    }
  }

  void workers() {
    const std::uint32_t count = result_.capacity.workers;
    const std::string text = fmt::format("{} worker{} on {} CPU{} that this process may use", count,
                                         count == 1 ? "" : "s", facts_.cpus, facts_.cpus == 1 ? "" : "s");
    if (count <= facts_.cpus) return add(Severity::good, "workers", text);
    add(Severity::warning, "workers", text + ": some have to take turns, which costs latency",
        {"workers = \"auto\" in [runtime]"});
  }

  /// Descriptors for `connections`: two each, and the share that pipes and the rest take.
  [[nodiscard]] std::uint64_t files_for(std::uint64_t connections) const {
    const std::uint64_t udp = any_udp_ ? 2 : 1;
    const std::uint64_t files = (2 * connections + 1024 + 8 * std::uint64_t{result_.capacity.workers}) * udp * 33 / 32;
    return (files + 1023) / 1024 * 1024;
  }

  /// "about 9,700 connections", "about 18,000 UDP sessions", or both.
  [[nodiscard]] std::string what_descriptors_hold() const {
    std::uint64_t sessions = 0;
    for (const std::uint32_t limit : result_.capacity.max_sessions) sessions += limit;
    std::string text;
    if (any_tcp_) text = about(result_.capacity.affordable_connections) + " connections";
    if (any_udp_) text += (any_tcp_ ? " and " : "") + about(sessions) + " UDP sessions";
    return fmt::format("{} with {} descriptors", text, grouped(result_.open_files));
  }

  void open_files() {
    const std::uint64_t affordable = result_.capacity.affordable_connections;
    const std::uint64_t asked = any_tcp_ ? config_.runtime.max_connections : 0;
    const std::uint64_t enough = asked != 0 ? asked : any_tcp_ ? kFewConnections : kNoConnections;
    const std::uint64_t files = files_for(asked != 0 ? asked : kFewConnections);
    const std::vector<std::string> fixes = {fmt::format("unit: LimitNOFILE={}", std::max<std::uint64_t>(files, 65536)),
                                            fmt::format("shell: ulimit -n {}", files)};
    const std::string text = what_descriptors_hold();
    if (affordable < kNoConnections) {
      add(Severity::problem, "descriptors", text + ": that is not enough to run", fixes);
    } else if (affordable < enough) {
      add(Severity::warning, "descriptors",
          asked != 0 ? fmt::format("{}, but max_connections is {}", text, grouped(asked)) : text + ", which is few",
          fixes);
    } else {
      add(Severity::good, "descriptors", text);
    }
    if (facts_.file_max && *facts_.file_max < result_.open_files) {
      add(Severity::warning, "descriptors",
          fmt::format("the whole system may have {} open files, less than this process alone",
                      grouped(*facts_.file_max)),
          {sysctl("fs.file-max", 4 * result_.open_files)});
    }
  }

  void memlock() {
    if (!facts_.memlock_bytes || has(facts_, CAP_IPC_LOCK)) return;
    const std::uint64_t needed = kMemlockPerRing * (result_.capacity.workers + std::uint64_t{1});
    if (*facts_.memlock_bytes >= needed) {
      return add(Severity::good, "locked memory",
                 fmt::format("{} KiB, and the rings need about {} KiB", grouped(*facts_.memlock_bytes / 1024),
                             grouped(needed / 1024)));
    }
    add(Severity::warning, "locked memory",
        fmt::format("{} KiB, and newer kernels count the rings, about {} KiB, as locked memory; then the start fails",
                    grouped(*facts_.memlock_bytes / 1024), grouped(needed / 1024)),
        {"unit: LimitMEMLOCK=infinity", fmt::format("shell: ulimit -l {}", needed / 1024),
         "docker run --ulimit memlock=-1 …"});
  }

  void privileged_ports() {
    const std::uint64_t first = facts_.unprivileged_port.value_or(kFirstPrivilegedDefault);
    std::set<std::uint16_t> refused;
    for (const config::Listener& listener : config_.listeners) {
      for (const net::AddressText& bind : listener.bind) {
        const bool any = bind.kind == net::AddressText::Kind::any;
        const std::uint16_t port = any ? bind.host.port : bind.endpoint.port();
        if (port != 0 && port < first) refused.insert(port);
      }
    }
    if (refused.empty()) return;
    const std::string ports = fmt::format("{}", fmt::join(refused, ", "));
    if (has(facts_, CAP_NET_BIND_SERVICE)) {
      return add(Severity::good, "capabilities", "CAP_NET_BIND_SERVICE is there, for port " + ports);
    }
    add(Severity::problem, "capabilities",
        fmt::format("CAP_NET_BIND_SERVICE is missing, and ports below {} need it: {}", first, ports),
        {"unit: AmbientCapabilities=CAP_NET_BIND_SERVICE", "setcap cap_net_bind_service=+ep /usr/bin/millrace",
         sysctl("net.ipv4.ip_unprivileged_port_start", *refused.begin())});
  }

  void backlog() {
    if (!facts_.somaxconn || !any_tcp_) return;
    std::uint64_t largest = 0;
    for (const config::Listener& listener : config_.listeners) {
      if (listener.protocol == config::Protocol::tcp) largest = std::max<std::uint64_t>(largest, listener.backlog);
    }
    if (config_.listeners.empty()) largest = config::Listener{}.backlog;
    const std::string text = fmt::format("{} connections may wait to be accepted (net.core.somaxconn)",
                                         grouped(std::min(*facts_.somaxconn, largest)));
    if (*facts_.somaxconn >= largest) return add(Severity::good, "backlog", text);
    add(Severity::warning, "backlog", fmt::format("{}, and `backlog` is {}", text, grouped(largest)),
        {sysctl("net.core.somaxconn", largest)});
  }

  void syncookies() {
    if (facts_.syncookies.value_or(1) != 0) return;
    add(Severity::warning, "syn flood", "net.ipv4.tcp_syncookies is 0: a flood of SYN packets locks clients out",
        {sysctl("net.ipv4.tcp_syncookies", 1)});
  }

  [[nodiscard]] bool serves_udp(const config::Pool& pool) const {
    return std::any_of(config_.listeners.begin(), config_.listeners.end(), [&pool](const config::Listener& listener) {
      return listener.pool == pool.name && listener.protocol == config::Protocol::udp;
    });
  }

  /// Of what falls behind max_connections: nobody has asked for so many when the number was derived.
  [[nodiscard]] Severity shortfall() const {
    return config_.runtime.max_connections != 0 ? Severity::warning : Severity::note;
  }

  /// A connection is told from others by its local port only when local address, backend and backend's port are equal.
  void local_ports() {
    if (!facts_.port_low || !facts_.port_high || *facts_.port_high < *facts_.port_low) return;
    const std::uint64_t ports = *facts_.port_high - *facts_.port_low + 1;
    if (config_.pools.empty()) {
      add(Severity::good, "local ports",
          fmt::format("{} connections to one backend from one source address ({} ports)", about(ports),
                      grouped(ports)));
    }
    for (const config::Pool& pool : config_.pools) pool_ports(pool, ports);
  }

  void pool_ports(const config::Pool& pool, std::uint64_t ports) {
    std::uint64_t routes = 0;  // pairs of source address and backend
    std::uint64_t backends = 0;
    std::uint64_t fewest_sources = ~std::uint64_t{0};
    for (const config::Backend& backend : pool.backends) {
      if (backend.address.is_unix()) continue;
      const auto sources = static_cast<std::uint64_t>(std::count_if(
          pool.source.begin(), pool.source.end(),
          [&backend](const net::Endpoint& source) { return source.family() == backend.address.family(); }));
      ++backends;
      routes += std::max<std::uint64_t>(sources, 1);
      fewest_sources = std::min(fewest_sources, std::max<std::uint64_t>(sources, 1));
    }
    if (backends == 0) return;
    const std::uint64_t connections = ports * routes;
    result_.pools.push_back({pool.name, connections});
    const char* what = serves_udp(pool) ? "connections or sessions" : "connections";
    const std::string from =
        fewest_sources == 1 ? "one source address" : fmt::format("{} source addresses", fewest_sources);
    std::string text = fmt::format("{} {} to pool {} from {}", about(connections), what, pool.name, from);
    if (backends > 1) text += fmt::format(", {} to each of {} backends", about(connections / backends), backends);
    const std::uint64_t wanted = result_.capacity.max_connections;
    if (wanted <= connections) return add(Severity::good, "local ports", text);
    std::vector<std::string> fixes;
    if (ports < kWidestRange * 9 / 10) fixes.emplace_back("sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"");
    const std::uint64_t sources = (wanted + kWidestRange * backends - 1) / (kWidestRange * backends);
    fixes.push_back(fmt::format("{} addresses in `source` of [pools.{}], or more backends",
                                std::max<std::uint64_t>(sources, 2), pool.name));
    add(shortfall(), "local ports", fmt::format("{}, of up to {} altogether", text, grouped(wanted)), std::move(fixes));
  }

  /// Each connection has two entries, one on either side.
  void conntrack() {
    if (!facts_.conntrack_max) return;
    const std::uint64_t tracked = *facts_.conntrack_max / 2;
    const std::uint64_t wanted = result_.capacity.max_connections;
    const std::string text = fmt::format(
        "the firewall tracks {} connections, two entries each (net.netfilter.nf_conntrack_max)", about(tracked));
    if (tracked >= wanted) return add(Severity::good, "conntrack", text);
    add(shortfall(), "conntrack",
        fmt::format("{}; at up to {} connections it drops packets when the table is full", text, grouped(wanted)),
        {sysctl("net.netfilter.nf_conntrack_max", (wanted * 2 + 65535) / 65536 * 65536),
         "nftables: `notrack` for the ports of the listeners and the backends"});
  }

  void datagram_buffers() {
    if (!any_udp_ || !facts_.rmem_max) return;
    const std::string text = fmt::format("{} KiB for bursts of datagrams (net.core.rmem_max)",
                                         grouped(std::min(*facts_.rmem_max, kDatagramReceiveBytes) / 1024));
    if (*facts_.rmem_max >= kDatagramReceiveBytes) return add(Severity::good, "UDP buffers", text);
    add(Severity::warning, "UDP buffers", text + "; millrace asks for 4,096 KiB, and what does not fit is lost",
        {sysctl("net.core.rmem_max", kDatagramReceiveBytes)});
  }

  void stream_buffers() {
    if (!any_tcp_ || !facts_.tcp_rmem_max || !facts_.tcp_wmem_max) return;
    const std::uint64_t smaller = std::min(*facts_.tcp_rmem_max, *facts_.tcp_wmem_max);
    if (smaller >= kStreamBufferBytes) return;
    const std::uint64_t mbit = smaller * 8 * 10 / 1'000'000;  // in 100 ms, ten times a second
    add(Severity::note, "TCP buffers",
        fmt::format("at most {} KiB: over 100 ms of distance one connection gets no more than about {} Mbit/s",
                    grouped(smaller / 1024), grouped(mbit)),
        {"sysctl -w net.ipv4.tcp_rmem=\"4096 131072 6291456\" net.ipv4.tcp_wmem=\"4096 16384 4194304\""});
  }

  void pipes() {
    if (!any_tcp_ || !facts_.pipe_user_pages || *facts_.pipe_user_pages == 0) return;
    if (has(facts_, CAP_SYS_RESOURCE) || has(facts_, CAP_SYS_ADMIN)) return;
    const std::uint64_t pipes = std::uint64_t{result_.capacity.pipes} * result_.capacity.workers;
    if (pipes * kPagesPerPipe <= *facts_.pipe_user_pages) return;
    add(Severity::note, "pipes",
        fmt::format("{} of up to {} pipes for splicing get their full size (fs.pipe-user-pages-soft); the others are "
                    "small, and bulk transfers cost a little more CPU once so many run at a time",
                    grouped(*facts_.pipe_user_pages / kPagesPerPipe), grouped(pipes)),
        {sysctl("fs.pipe-user-pages-soft", pipes * kPagesPerPipe)});
  }

  void congestion() {
    if (!any_tcp_ || facts_.congestion_control.rfind("bbr", 0) != 0) return;
    add(Severity::note, "congestion control",
        "net.ipv4.tcp_congestion_control is " + facts_.congestion_control +
            ": it paces, over loopback and in a rack as well, where cubic would be faster. Good for distant clients");
  }

  const DoctorFacts& facts_;
  const config::Config& config_;
  bool any_tcp_ = false;
  bool any_udp_ = false;
  Diagnosis result_;
};

}  // namespace

bool Diagnosis::can_run() const {
  return std::none_of(findings.begin(), findings.end(),
                      [](const Finding& finding) { return finding.severity == Severity::problem; });
}

Diagnosis diagnose(const DoctorFacts& facts, const config::Config& config) {
  return Doctor(facts, config).examine();
}

}  // namespace millrace::app
