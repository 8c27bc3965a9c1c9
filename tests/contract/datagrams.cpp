#include "datagrams.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <span>
#include <utility>
#include <vector>

namespace millrace::io {
namespace {

constexpr int kUdpSegment = 103;  // UDP_SEGMENT and UDP_GRO, which some libc headers lack
constexpr int kUdpGro = 104;

/// Room for one control message with a value of up to 8 bytes.
struct Control {
  alignas(cmsghdr) std::array<char, CMSG_SPACE(8)> bytes{};
};

/// in6_ifreq of linux/ipv6.h, which does not go together with netinet/in.h.
struct Ipv6InterfaceRequest {
  in6_addr address;
  std::uint32_t prefix_bits;
  int interface;
};

/// How /proc/net/if_inet6 writes it.
std::string in_interface_file(const net::IpEndpoint& address) {
  std::string text;
  for (const std::uint8_t byte : address.address()) text += fmt::format("{:02x}", byte);
  return text;
}

/// Whether the kernel has not taken an IPv6 address into use yet. It does that in the background.
bool is_tentative(const std::string& address) {
  constexpr unsigned kTentative = 0x40;  // IFA_F_TENTATIVE
  std::ifstream file("/proc/thread-self/net/if_inet6");
  std::string name;
  unsigned interface = 0;
  unsigned prefix_bits = 0;
  unsigned scope = 0;
  unsigned flags = 0;
  std::string device;
  file >> std::hex;
  while (file >> name >> interface >> prefix_bits >> scope >> flags >> device) {
    if (name == address) return (flags & kTentative) != 0;
  }
  return true;
}

msghdr header_of(sockaddr_in6& name, iovec& piece) {
  msghdr header{};
  header.msg_name = &name;
  header.msg_namelen = sizeof name;
  header.msg_iov = &piece;
  header.msg_iovlen = 1;
  return header;
}

}  // namespace

UringOptions datagram_options(std::uint32_t buffers) {
  UringOptions options = small_options();
  options.datagram_buffers = buffers;
  return options;
}

Peer::Peer(const net::Endpoint& address)
    : socket_(::socket(address.sockaddr_ptr()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  give_up_after_a_while(socket_.get());
  REQUIRE(::bind(socket_.get(), address.sockaddr_ptr(), address.sockaddr_length()) == 0);
}

net::IpEndpoint Peer::address() const {
  return address_of(socket_);
}

void Peer::refuse() const {
  // A connected socket takes datagrams of its peer only; this one's is itself.
  const net::Endpoint self = bound_address(socket_.fd());
  REQUIRE(::connect(socket_.get(), self.sockaddr_ptr(), self.sockaddr_length()) == 0);
}

void Peer::take_trains() const {
  const int on = 1;
  REQUIRE(::setsockopt(socket_.get(), SOL_UDP, kUdpGro, &on, sizeof on) == 0);
}

void Peer::send(std::string_view text, const net::IpEndpoint& to) const {
  sockaddr_in6 name{};
  const socklen_t length = to.to_sockaddr(name);
  const ssize_t sent =
      ::sendto(socket_.get(), text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&name), length);
  REQUIRE(sent == static_cast<ssize_t>(text.size()));
}

ssize_t Peer::send_train(std::string_view text, const net::IpEndpoint& to, std::uint16_t segment_bytes) const {
  sockaddr_in6 name{};
  std::string bytes(text);
  iovec piece{.iov_base = bytes.data(), .iov_len = bytes.size()};
  msghdr header = header_of(name, piece);
  header.msg_namelen = to.to_sockaddr(name);
  Control control;
  header.msg_control = control.bytes.data();
  header.msg_controllen = CMSG_SPACE(sizeof segment_bytes);
  cmsghdr* segment = CMSG_FIRSTHDR(&header);
  segment->cmsg_level = SOL_UDP;
  segment->cmsg_type = kUdpSegment;
  segment->cmsg_len = CMSG_LEN(sizeof segment_bytes);
  std::memcpy(CMSG_DATA(segment), &segment_bytes, sizeof segment_bytes);
  const ssize_t sent = ::sendmsg(socket_.get(), &header, 0);
  return sent >= 0 ? sent : -errno;
}

Message Peer::receive() const {
  sockaddr_in6 name{};
  std::string payload(65'535, '\0');
  iovec piece{.iov_base = payload.data(), .iov_len = payload.size()};
  msghdr header = header_of(name, piece);
  Control control;
  header.msg_control = control.bytes.data();
  header.msg_controllen = control.bytes.size();
  const ssize_t got = until_not_interrupted([&] { return ::recvmsg(socket_.get(), &header, 0); });
  const int error = got >= 0 ? 0 : errno;  // not in INFO, which evaluates after the fact
  INFO("errno ", error);
  REQUIRE(got >= 0);
  payload.resize(static_cast<std::size_t>(got));
  Message message;
  message.payload = std::move(payload);
  message.from = net::IpEndpoint::from_sockaddr(std::as_bytes(std::span(&name, 1)).first(header.msg_namelen));
  message.truncated = (header.msg_flags & MSG_TRUNC) != 0;
  const cmsghdr* told = CMSG_FIRSTHDR(&header);
  if (told != nullptr && told->cmsg_level == SOL_UDP && told->cmsg_type == kUdpGro) {
    std::memcpy(&message.segment_bytes, CMSG_DATA(told), sizeof message.segment_bytes);
  }
  return message;
}

bool Peer::nothing_waits() const {
  char byte = 0;
  const bool nothing = ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
  return nothing && errno == EAGAIN;
}

net::Endpoint loopback_v6(std::uint16_t port) {
  return net::Endpoint::ipv6({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, port);
}

net::Endpoint either_loopback() {
  net::Endpoint address;
  SUBCASE("IPv4") {
    address = loopback();
  }
  SUBCASE("IPv6") {
    const Socket probe(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const net::Endpoint local = loopback_v6();
    if (::bind(probe.get(), local.sockaddr_ptr(), local.sockaddr_length()) == 0) address = local;
  }
  return address;
}

net::Endpoint wildcard_like(const net::Endpoint& address, std::uint16_t port) {
  return address.family() == net::Family::ipv4 ? net::Endpoint::ipv4(0, port) : net::Endpoint::ipv6({}, port);
}

Socket datagram_listener(const net::Endpoint& address, const DatagramListenOptions& options) {
  const Result<Fd> opened = open_datagram_listener(address, options);
  if (!opened) FAIL(opened.error());
  return Socket(opened.value());
}

net::IpEndpoint address_of(const Socket& socket) {
  return net::IpEndpoint::from(bound_address(socket.fd()));
}

Socket upstream_socket(Driver& driver, const net::Endpoint& source) {
  const FdResult opened = driver->open_datagram({.source = source, .remote = {}});
  REQUIRE(opened.error == 0);
  return Socket(opened.fd);
}

OpTag receive_on(Driver& driver, const Socket& socket) {
  const OpTag tag = driver.tag(OpKind::recv_datagrams);
  driver->recv_datagrams(tag, socket.fd());
  return tag;
}

Message take_message(Driver& driver, const Completion& completion) {
  REQUIRE(completion.result >= 0);
  REQUIRE(completion.buffer != kNoBuffer);
  const ReceivedDatagrams received = driver->received(completion.buffer);
  CHECK(received.payload.size() == static_cast<std::size_t>(completion.result));
  const auto* data = reinterpret_cast<const char*>(received.payload.data());
  Message message{.payload = std::string(data, received.payload.size()),
                  .from = received.from,
                  .to = received.to,
                  .segment_bytes = received.segment_bytes,
                  .truncated = received.truncated};
  driver->datagram_buffers().give_back(completion.buffer);
  return message;
}

OpTag submit(Driver& driver, const Socket& socket, std::string_view text, const net::IpEndpoint& to,
             std::uint32_t segment_bytes, const net::IpEndpoint& from) {
  const OpTag tag = driver.tag(OpKind::send_datagrams);
  const std::array slices = {bytes_of(text)};
  driver->send_datagrams(tag, socket.fd(), {.to = to, .from = from, .slices = slices, .segment_bytes = segment_bytes});
  return tag;
}

std::int32_t send_to(Driver& driver, const Socket& socket, std::string_view text, const net::IpEndpoint& to,
                     std::uint32_t segment_bytes, const net::IpEndpoint& from) {
  const Completion completion = driver.wait(submit(driver, socket, text, to, segment_bytes, from));
  CHECK_FALSE(completion.more);
  CHECK(completion.buffer == kNoBuffer);
  return completion.result;
}

NetworkOfItsOwn::NetworkOfItsOwn(int loopback_mtu) : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  if (before_.get() < 0 || ::unshare(CLONE_NEWNET) != 0) {
    const int error = errno;
    MESSAGE("left out: a network namespace cannot be made, errno ", error);
    return;
  }
  const Socket control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", sizeof "lo");
  request.ifr_mtu = loopback_mtu;
  REQUIRE(::ioctl(control.get(), SIOCSIFMTU, &request) == 0);
  request.ifr_flags = IFF_UP;
  REQUIRE(::ioctl(control.get(), SIOCSIFFLAGS, &request) == 0);
  ok_ = true;
}

NetworkOfItsOwn::~NetworkOfItsOwn() {
  if (ok_) CHECK(::setns(before_.get(), CLONE_NEWNET) == 0);
}

bool NetworkOfItsOwn::add_address(const net::IpEndpoint& address, std::uint32_t prefix_bits) const {
  const Socket control(::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (control.get() < 0) return false;
  Ipv6InterfaceRequest request{.address = {}, .prefix_bits = prefix_bits, .interface = 1};
  std::memcpy(&request.address, address.address().data(), sizeof request.address);
  if (::ioctl(control.get(), SIOCSIFADDR, &request) != 0) return false;
  const std::string name = in_interface_file(address);
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (is_tentative(name)) {
    REQUIRE(std::chrono::steady_clock::now() < limit);
    ::sched_yield();
  }
  return true;
}

bool NetworkOfItsOwn::run(std::initializer_list<std::string> command) const {
  std::vector<std::string> words(command);
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  if (::posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) return false;
  int status = 0;
  const pid_t ended = until_not_interrupted([&] { return ::waitpid(child, &status, 0); });
  return ended == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace millrace::io
