#include "driver.hpp"

#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace millrace::io {
namespace {

UringFeatures found_features;

}  // namespace

const UringFeatures& features() {
  return found_features;
}

void set_features(const UringFeatures& features) {
  found_features = features;
}

UringOptions small_options() {
  return {.submission_entries = 64,
          .completion_entries = 256,
          .batch = 64,
          .buffers = {.count = 64, .bytes_per_buffer = 1024}};
}

Driver::Driver(const UringOptions& options, const UringFeatures& used) {
  Result<std::unique_ptr<Io>> made = make_uring_io(options, used);
  if (!made) FAIL(made.error());
  io_ = std::move(made).value();
}

Instant Driver::deadline() {
  return std::chrono::time_point_cast<Nanos>(std::chrono::steady_clock::now()) + std::chrono::seconds(20);
}

void Driver::require_before(Instant limit) {
  REQUIRE_MESSAGE(std::chrono::steady_clock::now() < limit, "nothing came");
}

void Driver::turn(Instant until) {
  const std::span<const Completion> batch = io_->turn(until);
  aside_.insert(aside_.end(), batch.begin(), batch.end());
}

void Driver::settle() {
  for (int i = 0; i < 10; ++i) turn(io_->now());
}

std::optional<Completion> Driver::peek(OpTag tag) {
  const auto found = std::find_if(aside_.begin(), aside_.end(), [tag](const Completion& c) { return c.tag == tag; });
  if (found == aside_.end()) return std::nullopt;
  const Completion completion = *found;
  aside_.erase(found);
  return completion;
}

Completion Driver::wait(OpTag tag) {
  const Instant limit = deadline();
  for (;;) {
    if (const std::optional<Completion> completion = peek(tag)) return *completion;
    require_before(limit);
    turn(limit);
  }
}

Completion Driver::accept_one(Fd listener) {
  const OpTag t = tag(OpKind::accept);
  io_->accept(t, listener, AcceptMode::single);
  return wait(t);
}

std::int32_t Driver::connect(Fd fd, const net::Endpoint& remote) {
  const OpTag t = tag(OpKind::connect);
  io_->connect(t, fd, remote);
  return wait(t).result;
}

std::int32_t Driver::send(Fd fd, std::string_view text) {
  const OpTag t = tag(OpKind::send);
  const std::array slices = {bytes_of(text)};
  io_->send(t, fd, slices);
  return wait(t).result;
}

std::int32_t Driver::splice(Fd from, Fd to, std::size_t length) {
  const OpTag t = tag(OpKind::splice_in);
  io_->splice(t, from, to, length);
  const Completion completion = wait(t);
  CHECK_FALSE(completion.more);
  return completion.result;
}

std::string Driver::take_bytes(const Completion& completion) {
  if (completion.buffer == kNoBuffer) {
    CHECK(completion.result <= 0);
    return {};
  }
  CHECK(completion.result > 0);
  const auto* data = reinterpret_cast<const char*>(io_->buffers().data(completion.buffer));
  std::string text(data, static_cast<std::size_t>(completion.result));
  io_->buffers().give_back(completion.buffer);
  return text;
}

std::string Driver::collect(OpTag tag, std::size_t enough, std::optional<Completion>* last) {
  std::string text;
  while (text.size() < enough) {
    const Completion completion = wait(tag);
    text += take_bytes(completion);
    if (completion.more) continue;
    if (last != nullptr) *last = completion;
    break;
  }
  return text;
}

void Socket::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

void Socket::reset() {
  const linger drop{.l_onoff = 1, .l_linger = 0};
  REQUIRE(::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &drop, sizeof drop) == 0);
  close();
}

void Socket::finish() const {
  REQUIRE(::shutdown(fd_, SHUT_WR) == 0);
}

void Socket::write(std::string_view text) const {
  while (!text.empty()) {
    const ssize_t sent = until_not_interrupted([&] { return ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); });
    REQUIRE(sent > 0);
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string Socket::read(std::size_t bytes_max, int* error) const {
  std::string text(bytes_max, '\0');
  const ssize_t got = until_not_interrupted([&] { return ::recv(fd_, text.data(), text.size(), 0); });
  if (error != nullptr) *error = got < 0 ? errno : 0;
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

std::string Socket::read_now(std::size_t bytes_max) const {
  std::string text(bytes_max, '\0');
  const ssize_t got = ::recv(fd_, text.data(), text.size(), MSG_DONTWAIT);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

std::string Socket::read_all(std::size_t bytes) const {
  std::string text;
  while (text.size() < bytes) {
    const std::string piece = read(bytes - text.size());
    if (piece.empty()) break;
    text += piece;
  }
  return text;
}

int Socket::option(int level, int name) const {
  int value = 0;
  socklen_t length = sizeof value;
  REQUIRE(::getsockopt(fd_, level, name, &value, &length) == 0);
  return value;
}

void give_up_after_a_while(int fd) {
  const timeval limit{.tv_sec = 10, .tv_usec = 0};
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
  REQUIRE(::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
}

net::Endpoint loopback(std::uint16_t port) {
  return net::Endpoint::ipv4(INADDR_LOOPBACK, port);
}

Socket listen_on(const net::Endpoint& address, const ListenOptions& options) {
  const Result<Fd> opened = open_listener(address, options);
  if (!opened) FAIL(opened.error());
  return Socket(opened.value());
}

Socket connect_to(const net::Endpoint& address) {
  Socket socket(::socket(address.sockaddr_ptr()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  give_up_after_a_while(socket.get());
  const int result =
      until_not_interrupted([&] { return ::connect(socket.get(), address.sockaddr_ptr(), address.sockaddr_length()); });
  const int error = result == 0 ? 0 : errno;  // not in INFO, which evaluates after the fact
  INFO("errno ", error);
  REQUIRE(result == 0);
  return socket;
}

Pair tcp_pair() {
  const Socket listener = listen_on(loopback());
  Socket far = connect_to(bound_address(listener.fd()));
  Socket near(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  REQUIRE(near.get() >= 0);
  return {std::move(near), std::move(far)};
}

Pair unix_pair() {
  std::array<int, 2> ends{};
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) == 0);
  return {Socket(ends[0]), Socket(ends[1])};
}

std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

std::span<const std::byte> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TemporaryDirectory::TemporaryDirectory() {
  path_ = (std::filesystem::temp_directory_path() / "millrace-contract-XXXXXX").string();
  REQUIRE(::mkdtemp(path_.data()) != nullptr);
}

TemporaryDirectory::~TemporaryDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

net::Endpoint unix_endpoint(const std::string& path) {
  const Result<net::Endpoint> endpoint = net::Endpoint::unix_socket(path);
  if (!endpoint) FAIL(endpoint.error());
  return endpoint.value();
}

}  // namespace millrace::io
