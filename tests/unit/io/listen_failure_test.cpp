#include "io/listen_failure.hpp"

#include <doctest/doctest.h>

#include <cerrno>

namespace millrace::io {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

const net::Endpoint kWeb = net::Endpoint::ipv4(0x0a000001, 80);

net::Endpoint app_socket() {
  return net::Endpoint::unix_socket("/run/app.sock").value();
}

}  // namespace

TEST_CASE("an address in use names the tool that shows the owner") {
  const std::string text = explain_listen_failure(kWeb, "bind", EADDRINUSE);
  CHECK(contains(text, "cannot listen on 10.0.0.1:80: "));
  CHECK(contains(text, "ss -lntup 'sport = :80'"));
  CHECK(contains(explain_listen_failure(app_socket(), "bind", EADDRINUSE), "ss -lxp"));
}

TEST_CASE("a privileged port names both remedies") {
  const std::string text = explain_listen_failure(kWeb, "bind", EACCES);
  CHECK(contains(text, "CAP_NET_BIND_SERVICE"));
  CHECK(contains(text, "net.ipv4.ip_unprivileged_port_start=80"));
}

TEST_CASE("a foreign address names the sysctl for virtual addresses") {
  CHECK(contains(explain_listen_failure(kWeb, "bind", EADDRNOTAVAIL), "ip_nonlocal_bind"));
}

TEST_CASE("trouble with the file of a unix socket") {
  CHECK(contains(explain_listen_failure(app_socket(), "bind", EACCES), "directory"));
  CHECK(contains(explain_listen_failure(app_socket(), "bind", ENOENT), "does not exist"));
  CHECK(contains(explain_listen_failure(app_socket(), "bind", ENOTSOCK), "not a socket"));
  CHECK(contains(explain_listen_failure(app_socket(), "bind", EROFS), "read-only"));
  CHECK_FALSE(contains(explain_listen_failure(app_socket(), "bind", EACCES), "CAP_NET_BIND_SERVICE"));
}

TEST_CASE("limits count for every family") {
  CHECK(contains(explain_listen_failure(kWeb, "socket", EMFILE), "LimitNOFILE"));
  CHECK(contains(explain_listen_failure(app_socket(), "socket", ENFILE), "fs.file-max"));
}

TEST_CASE("anything else still names the address, the step and the error") {
  const std::string text = explain_listen_failure(kWeb, "SO_REUSEPORT", ENOPROTOOPT);
  CHECK(contains(text, "10.0.0.1:80"));
  CHECK(contains(text, "SO_REUSEPORT"));
  CHECK(contains(text, "Protocol not available"));
}

}  // namespace millrace::io
