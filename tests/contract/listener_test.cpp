#include <doctest/doctest.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "driver.hpp"

namespace millrace::io {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

std::string failure(const net::Endpoint& address, const ListenOptions& options = {}) {
  const Result<Fd> opened = open_listener(address, options);
  if (opened.ok()) {
    close_now(opened.value());
    return {};
  }
  return opened.error();
}

net::Endpoint loopback_v6() {
  return net::Endpoint::ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 0);
}

}  // namespace

TEST_CASE("a listener on port 0 gets a port") {
  const Socket listener = listen_on(loopback());
  CHECK(bound_address(listener.fd()).port() != 0);
  CHECK((::fcntl(listener.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(listener.get(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("two listeners share an address with reuse_port, and not without") {
  const Socket first = listen_on(loopback());
  const net::Endpoint address = bound_address(first.fd());
  const Socket second = listen_on(address);
  const std::string error = failure(address, {.reuse_port = false});
  CHECK(contains(error, address.to_string()));
  CHECK(contains(error, "ss -lntup"));
}

TEST_CASE("an address of another machine is refused with the remedy") {
  const std::string error = failure(net::Endpoint::ipv4(0xc0000201, 0));  // TEST-NET-1
  CHECK(contains(error, "192.0.2.1"));
  CHECK(contains(error, "ip_nonlocal_bind"));
}

TEST_CASE("an IPv6 listener says explicitly whether it takes IPv4") {
  const net::Endpoint any_v6 = net::Endpoint::ipv6({}, 0);
  if (!failure(loopback_v6()).empty()) return;  // a machine without IPv6
  const Socket only(listen_on(any_v6, {.v6_only = true}));
  CHECK(only.option(IPPROTO_IPV6, IPV6_V6ONLY) == 1);
  const Socket both(listen_on(any_v6, {.v6_only = false}));
  CHECK(both.option(IPPROTO_IPV6, IPV6_V6ONLY) == 0);
  Driver driver;
  const Socket peer = connect_to(loopback(bound_address(both.fd()).port()));
  const Socket accepted(driver.accept_one(both.fd()).result);
  CHECK(driver->peer(accepted.fd()).family() == net::Family::ipv4);
  CHECK(driver->local(accepted.fd()).family() == net::Family::ipv4);
}

TEST_CASE("a stale unix socket file is replaced, a live one is not") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("listen.sock");
  const net::Endpoint address = unix_endpoint(path);
  Socket first = listen_on(address);
  CHECK(bound_address(first.fd()) == address);
  const std::string error = failure(address);
  CHECK(contains(error, path));
  CHECK(contains(error, "in use"));
  const Socket peer = connect_to(address);  // the live one still answers
  first.close();
  const Socket second = listen_on(address);
  const Socket next_peer = connect_to(address);
}

TEST_CASE("a unix socket whose queue is full counts as live") {
  const TemporaryDirectory directory;
  const net::Endpoint address = unix_endpoint(directory.file("busy.sock"));
  const Socket listener = listen_on(address, {.backlog = 0});
  const Socket queued = connect_to(address);
  CHECK(contains(failure(address), "in use"));
}

TEST_CASE("a file that is no socket is never removed") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("precious");
  std::ofstream(path) << "data";
  CHECK(contains(failure(unix_endpoint(path)), "not a socket"));
  CHECK(std::filesystem::file_size(path) == 4);
}

TEST_CASE("a unix socket in a directory that does not exist") {
  const TemporaryDirectory directory;
  CHECK(contains(failure(unix_endpoint(directory.file("no/such.sock"))), "does not exist"));
}

TEST_CASE("the mode of a unix socket is left to the umask") {
  const TemporaryDirectory directory;
  const std::string path = directory.file("mode.sock");
  const mode_t before = ::umask(0027);
  const Socket listener = listen_on(unix_endpoint(path));
  ::umask(before);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0750U);
}

TEST_CASE("abstract unix sockets") {
  const net::Endpoint address = unix_endpoint("@millrace-contract-" + std::to_string(::getpid()));
  Socket listener = listen_on(address);
  CHECK(contains(failure(address), "in use"));
  listener.close();
  CHECK(failure(address).empty());
}

TEST_CASE("no address is an error, not a crash") {
  CHECK_FALSE(failure(net::Endpoint{}).empty());
}

}  // namespace millrace::io
