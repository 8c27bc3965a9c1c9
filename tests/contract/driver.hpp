#pragma once
// Driver: one Io under test, with the completions that were not asked for yet kept aside; and Socket, a plain peer that
// talks to it by ordinary system calls. Waits end by a generous deadline, so that a broken behaviour fails, not hangs.

#include <cerrno>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/io/io.hpp"
#include "millrace/io/sockets.hpp"
#include "millrace/io/uring_io.hpp"

namespace millrace::io {

/// Found once by main; every test uses the same.
[[nodiscard]] const UringFeatures& features();
void set_features(const UringFeatures& features);

/// Small rings, 64 buffers of 1 KiB.
[[nodiscard]] UringOptions small_options();

class Driver {
 public:
  explicit Driver(const UringOptions& options = small_options(), const UringFeatures& used = features());

  Io& operator*() { return *io_; }
  Io* operator->() { return io_.get(); }

  /// A tag that no other operation of this driver has.
  [[nodiscard]] OpTag tag(OpKind kind) { return OpTag(kind, 0, 1, next_slot_++); }

  /// The next completion of `tag`; fails the test when none comes.
  Completion wait(OpTag tag);
  /// A completion of `tag` that is there without waiting.
  std::optional<Completion> peek(OpTag tag);
  /// Turns until `done` says so; fails the test when that does not happen.
  template <class Done>
  void turn_until(Done&& done) {
    const Instant limit = deadline();
    while (!done()) {
      turn(std::min(limit, io_->now() + std::chrono::milliseconds(5)));
      require_before(limit);
    }
  }
  /// Turns without waiting, often enough for whatever is due to appear.
  void settle();
  void turn(Instant until);

  // Single operations, waited for.
  Completion accept_one(Fd listener);
  std::int32_t connect(Fd fd, const net::Endpoint& remote);
  std::int32_t send(Fd fd, std::string_view text);
  std::int32_t splice(Fd from, Fd to, std::size_t length);

  /// The bytes of a receive's completion; gives the buffer back.
  std::string take_bytes(const Completion& completion);
  /// Everything a receive brings from now on: until it ends (then `last` is set) or `enough` bytes are there.
  std::string collect(OpTag tag, std::size_t enough, std::optional<Completion>* last = nullptr);

 private:
  static Instant deadline();
  static void require_before(Instant limit);

  std::unique_ptr<Io> io_;
  std::deque<Completion> aside_;
  std::uint32_t next_slot_ = 1;
};

/// A descriptor that is closed at the end of its scope.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  explicit Socket(Fd fd) : fd_(raw(fd)) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() { close(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] Fd fd() const { return static_cast<Fd>(fd_); }
  /// For a descriptor that Io closes.
  Fd release() { return static_cast<Fd>(std::exchange(fd_, -1)); }
  void close();
  void reset();  // RST
  void finish() const;

  void write(std::string_view text) const;
  /// Waits for the next bytes: "" at the end of the stream; `error` is errno, or 0.
  std::string read(std::size_t bytes_max, int* error = nullptr) const;
  /// What is there without waiting.
  std::string read_now(std::size_t bytes_max) const;
  std::string read_all(std::size_t bytes) const;
  [[nodiscard]] int option(int level, int name) const;

 private:
  int fd_ = -1;
};

/// Reads and writes of a blocking socket fail after a generous while.
void give_up_after_a_while(int fd);
/// Repeats a system call that a signal has interrupted. With a time limit the kernel does not do so itself, and a ring
/// interrupts like a signal, even one that is gone already.
template <class Call>
auto until_not_interrupted(Call&& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

struct Pair {
  Socket near;  // non-blocking, for Io
  Socket far;   // the peer: blocking, its reads give up after a while
};

[[nodiscard]] net::Endpoint loopback(std::uint16_t port = 0);
[[nodiscard]] Socket listen_on(const net::Endpoint& address, const ListenOptions& options = {});
/// A blocking TCP connection to `address` (a peer).
[[nodiscard]] Socket connect_to(const net::Endpoint& address);
[[nodiscard]] Pair tcp_pair();
[[nodiscard]] Pair unix_pair();
/// Text in which every position is recognisable.
[[nodiscard]] std::string pattern(std::size_t bytes);
[[nodiscard]] std::span<const std::byte> bytes_of(std::string_view text);

/// A directory of its own, removed at the end of the scope.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

[[nodiscard]] net::Endpoint unix_endpoint(const std::string& path);

}  // namespace millrace::io
