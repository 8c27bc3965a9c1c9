#include <fmt/format.h>
#include <netinet/udp.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <thread>
#include <vector>

#include "modes.hpp"
#include "sockets.hpp"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace udp_load {
namespace {

constexpr std::uint32_t kLoopback = 0x7f000001;

/// Every datagram begins with the mark and its number.
constexpr std::uint64_t kMark = 0x6d696c6c72616365;
constexpr std::size_t kHeaderBytes = 16;

/// What arrives later than this after the last one is lost.
constexpr std::chrono::milliseconds kQuiet{150};

/// A message of the kernel: a train, or one datagram.
constexpr std::size_t kMessageBytes = 65536;
constexpr std::size_t kMessages = 32;

/// Datagrams that are sent one by one leave in as many calls as trains would: the pace is the same, and so is the
/// burst.
constexpr unsigned kBurst = 32;

class Sender {
 public:
  explicit Sender(const TrainsOptions& options)
      : options_(options),
        per_call_(options.segments > 1 ? options.segments : kBurst),
        data_(std::size_t{per_call_} * options.bytes),
        socket_(open_connected(address(kLoopback, options.to))) {
    if (options.segments > 1) {
      set_option(socket_, IPPROTO_UDP, UDP_SEGMENT, static_cast<int>(options.bytes), "UDP_SEGMENT");
    }
    for (unsigned i = 0; i < kBurst; ++i) {
      const std::size_t bytes = options.segments > 1 ? data_.size() : options.bytes;
      vectors_[i] = {.iov_base = data_.data() + (options.segments > 1 ? 0 : i * bytes), .iov_len = bytes};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  void run() {
    // Pacing in steps of some tens of microseconds; by default the kernel may add 50 to each.
    ::prctl(PR_SET_TIMERSLACK, 1UL);
    const auto started = Clock::now();
    const auto end =
        started + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    const std::chrono::duration<double> step(options_.rate > 0 ? per_call_ / options_.rate : 0.0);
    std::uint64_t calls = 0;
    for (auto now = started; now < end; now = Clock::now()) {
      const auto due = started + std::chrono::duration_cast<Clock::duration>(step * static_cast<double>(calls));
      if (due > now) {
        std::this_thread::sleep_until(due);
        continue;
      }
      send_once();
      ++calls;
    }
    seconds_ = std::chrono::duration<double>(Clock::now() - started).count();
  }

  std::uint64_t sent() const { return sent_; }
  std::uint64_t refused() const { return refused_; }
  double seconds() const { return seconds_; }

 private:
  void send_once() {
    for (unsigned i = 0; i < per_call_; ++i) {
      const std::array<std::uint64_t, 2> header{kMark, sent_ + i};
      std::memcpy(data_.data() + std::size_t{i} * options_.bytes, header.data(), kHeaderBytes);
    }
    const unsigned calls = options_.segments > 1 ? 1 : kBurst;
    const int done = ::sendmmsg(socket_, messages_.data(), calls, 0);
    if (done < 0 && errno != ECONNREFUSED && errno != ENOBUFS && errno != EINTR) fail("sendmmsg");
    if (done > 0) sent_ += static_cast<unsigned>(done) * (per_call_ / calls);
    if (done < 0) ++refused_;
  }

  TrainsOptions options_;
  unsigned per_call_;
  std::vector<std::byte> data_;
  int socket_;
  std::array<iovec, kBurst> vectors_{};
  std::array<mmsghdr, kBurst> messages_{};
  std::uint64_t sent_ = 0;
  std::uint64_t refused_ = 0;
  double seconds_ = 0;
};

class Receiver {
 public:
  explicit Receiver(const TrainsOptions& options)
      : bytes_(options.bytes),
        buffers_(kMessages * kMessageBytes),
        socket_(open_bound(address(kLoopback, options.listen))) {
    set_option(socket_, IPPROTO_UDP, UDP_GRO, 1, "UDP_GRO");
    set_receive_timeout(socket_, kQuiet);
    for (std::size_t i = 0; i < kMessages; ++i) {
      vectors_[i] = {.iov_base = buffers_.data() + i * kMessageBytes, .iov_len = kMessageBytes};
      messages_[i].msg_hdr.msg_iov = &vectors_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
      messages_[i].msg_hdr.msg_control = controls_[i].bytes.data();
    }
  }

  /// Until the sender has ended and nothing comes any more.
  void run(const std::atomic<bool>& sender_done) {
    for (;;) {
      for (mmsghdr& message : messages_) message.msg_hdr.msg_controllen = sizeof(Control);
      const bool last = sender_done.load(std::memory_order_acquire);
      const int count = ::recvmmsg(socket_, messages_.data(), kMessages, MSG_WAITFORONE, nullptr);
      if (count < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
      if (count <= 0 && last) return;
      for (int i = 0; i < count; ++i) take(static_cast<std::size_t>(i));
    }
  }

  std::uint64_t received() const { return received_; }
  std::uint64_t messages() const { return messages_seen_; }
  std::uint64_t bad() const { return bad_; }

 private:
  struct alignas(cmsghdr) Control {
    std::array<std::byte, CMSG_SPACE(sizeof(int))> bytes;
  };

  void take(std::size_t i) {
    ++messages_seen_;
    const std::size_t length = messages_[i].msg_len;
    const std::size_t segment = segment_bytes(messages_[i].msg_hdr, length);
    if (segment == 0) ++bad_;
    for (std::size_t at = 0; at < length && segment != 0; at += segment) {
      check(buffers_.data() + i * kMessageBytes + at, std::min(segment, length - at));
    }
  }

  static std::size_t segment_bytes(msghdr& header, std::size_t otherwise) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != UDP_GRO) continue;
      int bytes = 0;
      std::memcpy(&bytes, CMSG_DATA(c), sizeof bytes);
      return static_cast<std::size_t>(bytes);
    }
    return otherwise;
  }

  /// One session arrives in the order in which it was sent; gaps are losses.
  void check(const std::byte* data, std::size_t length) {
    std::array<std::uint64_t, 2> header{};
    if (length == bytes_) std::memcpy(header.data(), data, kHeaderBytes);
    if (header[0] != kMark || header[1] < expected_) {
      ++bad_;
      return;
    }
    expected_ = header[1] + 1;
    ++received_;
  }

  std::size_t bytes_;
  std::vector<std::byte> buffers_;
  int socket_;
  std::array<iovec, kMessages> vectors_{};
  std::array<Control, kMessages> controls_{};
  std::array<mmsghdr, kMessages> messages_{};
  std::uint64_t expected_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t messages_seen_ = 0;
  std::uint64_t bad_ = 0;
};

}  // namespace

void trains(const TrainsOptions& options) {
  Receiver receiver(options);
  Sender sender(options);
  std::atomic<bool> done{false};
  std::thread receiving([&] { receiver.run(done); });
  sender.run();
  done.store(true, std::memory_order_release);
  receiving.join();
  fmt::print(
      "{{\"sent\": {}, \"received\": {}, \"messages\": {}, \"bad\": {}, \"refused\": {}, \"seconds\": {:.6f}}}\n",
      sender.sent(), receiver.received(), receiver.messages(), receiver.bad(), sender.refused(), sender.seconds());
}

}  // namespace udp_load
