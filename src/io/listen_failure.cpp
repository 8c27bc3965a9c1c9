#include "listen_failure.hpp"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace millrace::io {
namespace {

std::string explain_ip(const net::Endpoint& address, int error) {
  const unsigned port = address.port();
  switch (error) {
    case EADDRINUSE:
      return fmt::format(
          "the address is in use. Another program, or another millrace, listens there; `ss -lntup 'sport = :{}'` shows "
          "which one. A socket bound to every address of the machine also takes this port",
          port);
    case EACCES:
    case EPERM:
      return fmt::format(
          "no permission for port {}. Give the program CAP_NET_BIND_SERVICE (systemd: "
          "AmbientCapabilities=CAP_NET_BIND_SERVICE), or lower the first unprivileged port: `sysctl -w "
          "net.ipv4.ip_unprivileged_port_start={}`",
          port, port);
    case EADDRNOTAVAIL:
      return "this machine does not have that address; `ip address` lists those it has. To listen on an address that "
             "arrives later, such as a virtual one, set `sysctl -w net.ipv4.ip_nonlocal_bind=1` "
             "(net.ipv6.ip_nonlocal_bind for IPv6)";
    case EAFNOSUPPORT:
      return "the kernel does not offer this address family; IPv6 may be turned off (ipv6.disable=1 on the kernel's "
             "command line)";
    default:
      return {};
  }
}

std::string explain_unix(int error) {
  switch (error) {
    case EADDRINUSE:
      return "the socket is in use. Another program listens there; `ss -lxp` shows which one";
    case EACCES:
    case EPERM:
      return "no permission to create the socket file. The directory must be writable for the user that millrace runs "
             "as (systemd: RuntimeDirectory=)";
    case ENOENT:
      return "the directory of the socket does not exist. Create it first (systemd: RuntimeDirectory=)";
    case ENOTSOCK:
      return "a file that is not a socket is in the way. Remove it or choose another path";
    case EROFS:
      return "the file system is read-only (systemd: ReadWritePaths= or RuntimeDirectory=)";
    default:
      return {};
  }
}

std::string explain_any(int error) {
  switch (error) {
    case EMFILE:
      return "this process has too many open files. Raise the limit (systemd: LimitNOFILE=, shell: `ulimit -n`)";
    case ENFILE:
      return "the system has too many open files. Raise it: `sysctl -w fs.file-max=…`";
    default:
      return {};
  }
}

}  // namespace

std::string explain_listen_failure(const net::Endpoint& address, std::string_view step, int error) {
  std::string cause = address.is_unix() ? explain_unix(error) : explain_ip(address, error);
  if (cause.empty()) cause = explain_any(error);
  const std::string text = std::generic_category().message(error);
  if (cause.empty()) return fmt::format("cannot listen on {}: {}: {}", address.to_string(), step, text);
  return fmt::format("cannot listen on {}: {} ({}: {})", address.to_string(), cause, step, text);
}

}  // namespace millrace::io
