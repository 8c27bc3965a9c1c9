#include "probe.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "millrace/base/assert.hpp"

namespace millrace::health {

using io::OpKind;

namespace {

constexpr std::array kKinds = {OpKind::connect, OpKind::send, OpKind::recv};

std::string describe(int error) {
  return std::generic_category().message(error);
}

/// Errors that say nothing about the backend: this machine is short of something, or an operation was interrupted.
bool is_local_fault(int error, const net::Endpoint& remote) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL:  // no free port left
    case EADDRINUSE:
    case EINTR:
    case ECANCELED:  // not by us: the ring's own doing
      return true;
    case EAGAIN:  // TCP: no port or route entry left. A unix socket's accept queue is full: that is the backend's.
      return !remote.is_unix();
    default:
      return false;
  }
}

/// The source address that leaves the choice to the kernel.
net::Endpoint wildcard(net::Family family) {
  return family == net::Family::ipv6 ? net::Endpoint::ipv6({}, 0) : net::Endpoint::ipv4(0, 0);
}

std::string udp_failure_reason(int error) {
  switch (error) {
    case ECONNREFUSED:
      return "refused";
    case EHOSTUNREACH:
      return "host unreachable";
    case ENETUNREACH:
      return "network unreachable";
    default:
      return "probe failed: " + describe(error);
  }
}

std::string failure_reason(int error, bool established) {
  switch (error) {
    case ECONNREFUSED:
      return "connect refused";
    case ETIMEDOUT:
      return established ? "connection timed out" : "connect timed out";
    case EHOSTUNREACH:
      return "host unreachable";
    case ENETUNREACH:
      return "network unreachable";
    case ECONNRESET:
    case EPIPE:
      return "connection reset";
    default:
      return (established ? "connection failed: " : "connect failed: ") + describe(error);
  }
}

}  // namespace

void Probe::start(std::uint32_t slot, std::uint32_t generation) {
  slot_ = slot;
  generation_ = generation;
  const io::FdResult opened = open();
  if (opened.fd == io::Fd::none) {
    settle_error(opened.error);
    return;
  }
  fd_ = opened.fd;
  deadline_ = io_.now() + target_.settings.timeout;
  if (is_udp()) {
    established_ = true;
    advance();
  } else {
    io_.connect(arm(OpKind::connect), fd_, target_.endpoint);
  }
}

io::FdResult Probe::open() {
  const net::Endpoint& remote = target_.endpoint;
  if (!is_udp()) return io_.open_stream(remote, target_.source);
  const bool any_source = target_.source.family() == net::Family::none;
  return io_.open_datagram({.source = any_source ? wildcard(remote.family()) : target_.source, .remote = remote});
}

void Probe::completed(const io::Completion& completion) {
  const OpKind kind = completion.tag.kind();
  MILLRACE_ASSERT(in_flight(kind), "completion of an operation that is not in flight");
  if (!completion.more) ended(kind);
  if (kind == OpKind::connect) {
    connected(completion.result);
  } else if (kind == OpKind::send) {
    sent(completion.result);
  } else {
    received(completion);
  }
  advance();
}

void Probe::timer_fired() {
  deadline_ = kNever;
  if (settled_) {
    hurry_ = true;
  } else {
    settle(Verdict::Kind::failure, Cause::timeout, established_ ? "no answer" : "connect timed out");
  }
  advance();
}

void Probe::abandon() {
  settled_ = true;
  hurry_ = true;
  deadline_ = kNever;
  advance();
}

std::optional<Verdict> Probe::take_verdict() {
  return std::exchange(verdict_, std::nullopt);
}

io::OpTag Probe::arm(OpKind kind) {
  MILLRACE_ASSERT(!in_flight(kind), "operation armed twice");
  in_flight_ = static_cast<std::uint16_t>(in_flight_ | bit(kind));
  return tag(kind);
}

void Probe::ended(OpKind kind) {
  in_flight_ = static_cast<std::uint16_t>(in_flight_ & ~bit(kind));
  cancelling_ = static_cast<std::uint16_t>(cancelling_ & ~bit(kind));
}

void Probe::cancel(OpKind kind) {
  if (!in_flight(kind) || (cancelling_ & bit(kind)) != 0) return;
  cancelling_ = static_cast<std::uint16_t>(cancelling_ | bit(kind));
  io_.cancel(tag(kind));
}

void Probe::connected(std::int32_t result) {
  if (result == 0) {
    established_ = true;  // perhaps after the timeout: the verdict stands, but the connection wants its close
  } else {
    settle_error(-result);
  }
}

void Probe::sent(std::int32_t result) {
  if (result < 0) {
    settle_error(-result);
    return;
  }
  sent_ += static_cast<std::size_t>(result);
}

void Probe::received(const io::Completion& completion) {
  if (completion.result > 0) {
    const auto length = static_cast<std::size_t>(completion.result);
    received_bytes({io_.buffers().data(completion.buffer), length});
    io_.buffers().give_back(completion.buffer);
    return;
  }
  // No buffer was free; they all come back within a pass, so arming again is enough.
  if (completion.result == -ENOBUFS) return;
  peer_done_ = true;
  if (completion.result < 0) {
    settle_error(-completion.result);
  } else if (is_udp()) {
    received_bytes({});  // an empty datagram looks like the end of a stream
  } else if (matched_ < target_.settings.expect.size()) {
    settle(Verdict::Kind::failure, Cause::unexpected, "closed before it answered");
  }
}

void Probe::received_bytes(std::span<const std::byte> bytes) {
  if (settled_) return;
  if (is_udp()) {
    judge_answer(bytes);
  } else {
    compare(bytes);
  }
}

/// A part of the answer of a stream.
void Probe::compare(std::span<const std::byte> bytes) {
  const std::string& expect = target_.settings.expect;
  const std::size_t length = std::min(bytes.size(), expect.size() - matched_);
  if (length != 0 && std::memcmp(bytes.data(), expect.data() + matched_, length) != 0) {
    settle(Verdict::Kind::failure, Cause::unexpected, "unexpected answer");
    return;
  }
  matched_ += length;
}

/// The answer is one datagram: what it lacks does not come with another one.
void Probe::judge_answer(std::span<const std::byte> datagram) {
  const std::string_view answer(reinterpret_cast<const char*>(datagram.data()), datagram.size());
  if (answer.starts_with(target_.settings.expect)) {
    settle(Verdict::Kind::success, Cause::succeeded, "probe succeeded");
  } else {
    settle(Verdict::Kind::failure, Cause::unexpected, "unexpected answer");
  }
}

void Probe::advance() {
  if (!settled_) talk();
  if (settled_) wind_up();
}

void Probe::talk() {
  if (!established_) return;
  if (is_udp()) {
    ask();
    return;
  }
  const std::string& send = target_.settings.send;
  const std::string& expect = target_.settings.expect;
  if (sent_ == send.size() && matched_ == expect.size()) {
    settle(Verdict::Kind::success, Cause::succeeded, "probe succeeded");
    return;
  }
  if (sent_ < send.size() && !in_flight(OpKind::send)) {
    const auto rest = std::as_bytes(std::span(send).subspan(sent_));
    io_.send(arm(OpKind::send), fd_, std::span(&rest, 1));
  }
  // Beside the send, not after it: many servers greet first, and the greeting is part of what is compared.
  if (matched_ < expect.size() && !in_flight(OpKind::recv)) io_.recv(arm(OpKind::recv), fd_);
}

void Probe::ask() {
  if (!std::exchange(asked_, true)) {
    const auto datagram = std::as_bytes(std::span(target_.settings.send));
    io_.send(arm(OpKind::send), fd_, std::span(&datagram, 1));
  }
  if (!in_flight(OpKind::recv)) io_.recv(arm(OpKind::recv), fd_);
}

void Probe::wind_up() {
  if (fd_ == io::Fd::none) return;
  if (lingers()) linger();
  if (lingers()) return;
  for (const OpKind kind : kKinds) cancel(kind);
  if (in_flight_ != 0) return;
  const bool reset = established_ && !is_udp() && target_.settings.close_with_reset;
  io_.close(fd_, reset ? io::CloseMode::reset : io::CloseMode::normal);
  fd_ = io::Fd::none;
  deadline_ = kNever;
}

bool Probe::lingers() const {
  return established_ && !is_udp() && !peer_done_ && !hurry_ && !target_.settings.close_with_reset;
}

/// Sends FIN and reads until the backend's FIN. What it says meanwhile is read and dropped: close(2) with unread bytes
/// would be a reset.
void Probe::linger() {
  cancel(OpKind::send);
  if (in_flight(OpKind::send)) return;
  if (!fin_sent_) {
    fin_sent_ = true;
    deadline_ = io_.now() + kLinger;
    if (io_.shutdown_write(fd_) != 0) {
      peer_done_ = true;  // reset in the meantime
      return;
    }
  }
  if (!in_flight(OpKind::recv)) io_.recv(arm(OpKind::recv), fd_);
}

void Probe::settle(Verdict::Kind kind, Cause cause, std::string reason) {
  if (settled_) return;
  settled_ = true;
  deadline_ = kNever;
  verdict_ = Verdict{.kind = kind, .cause = cause, .reason = std::move(reason)};
}

void Probe::settle_error(int error) {
  if (settled_) return;
  if (is_local_fault(error, target_.endpoint)) {
    settle(Verdict::Kind::local_fault, Cause::other, describe(error));
  } else {
    settle(Verdict::Kind::failure, cause_of(error),
           is_udp() ? udp_failure_reason(error) : failure_reason(error, established_));
  }
}

}  // namespace millrace::health
