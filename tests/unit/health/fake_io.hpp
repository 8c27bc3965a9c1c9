#pragma once
// FakeIo: an Io in virtual time with one scripted peer per port, enough for the prober's tests. It records what every
// socket went through, and notes each breach of the Io contract in `violations`. Connected datagram sockets follow the
// same script: each fragment of the answer is a datagram, sent for every one that comes, and an error after the answer
// is what ICMP says.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/io/io.hpp"

namespace millrace::health::test {

/// What a backend does; a socket follows the script that stands when it is opened.
struct Peer {
  int open_error = 0;                    // of open_stream(), open_datagram()
  int connect_error = 0;                 // 0: accepts
  Nanos connect_delay = Nanos(100'000);  // until the connect completes
  bool connect_hangs = false;
  bool connects_when_cancelled = false;  // a cancelled connect succeeds all the same

  std::size_t send_max = std::numeric_limits<std::size_t>::max();  // taken by one send
  bool send_hangs = false;
  int send_error = 0;

  bool answers_request = true;                                     // false: speaks first
  std::size_t request_bytes = std::numeric_limits<size_t>::max();  // the answer starts when so many have come
  std::vector<std::string> answer;                                 // fragments …
  Nanos answer_gap = std::chrono::milliseconds(1);                 // … so far apart
  bool closes_after_answer = false;
  int error_after_answer = 0;
  int no_buffer = 0;  // so many receives end with ENOBUFS first

  bool closes_on_fin = true;
  Nanos fin_delay = std::chrono::milliseconds(1);
  std::string last_words;  // sent between our FIN and its own
};

struct Socket {
  std::uint16_t port = 0;
  Peer peer;
  Instant opened{};
  std::optional<Instant> fin;
  std::optional<Instant> closed;
  io::CloseMode mode = io::CloseMode::normal;
  bool unread_at_close = false;  // the kernel would send RST
  bool connected = false;
  bool eof_read = false;
  bool datagram = false;
  net::Endpoint source;          // datagram sockets only
  std::size_t datagrams = 0;     // sent by us
  std::string request;           // what we sent
  std::deque<std::string> wait;  // what the peer sent and nobody has read
  std::optional<int> end;        // the stream's end: 0 or an errno
  int enobufs_left = 0;
};

class FakeIo final : public io::Io {
 public:
  explicit FakeIo(Instant now) : now_(now) {}

  std::map<std::uint16_t, Peer> peers;
  std::deque<Socket> sockets;
  std::vector<std::string> violations;
  Nanos cancel_delay = Nanos(0);
  Instant limit = kNever;  // turn() waits no longer than this
  std::uint64_t turns = 0;

  [[nodiscard]] std::size_t open_sockets() const {
    return static_cast<std::size_t>(std::count_if(sockets.begin(), sockets.end(), [](auto& s) { return !s.closed; }));
  }
  [[nodiscard]] std::size_t in_flight() const { return operations_.size(); }
  /// At any time so far.
  [[nodiscard]] std::size_t most_open() const { return most_open_; }

  void accept(io::OpTag /*tag*/, io::Fd /*listener*/, io::AcceptMode /*mode*/) override { violate("accept"); }
  void splice(io::OpTag /*tag*/, io::Fd /*from*/, io::Fd /*to*/, std::size_t /*length*/) override { violate("splice"); }
  void poll(io::OpTag /*tag*/, io::Fd /*fd*/, io::PollFor /*what*/) override { violate("poll"); }
  void recv_datagrams(io::OpTag /*tag*/, io::Fd /*fd*/) override { violate("recv_datagrams"); }
  void send_datagrams(io::OpTag /*tag*/, io::Fd /*fd*/, const io::DatagramsToSend& /*message*/) override {
    violate("send_datagrams");
  }
  io::FdResult open_datagram(const io::DatagramSocketOptions& options) override {
    if (options.remote.family() == net::Family::none) violate("an unconnected datagram socket");
    if (options.source.family() != options.remote.family()) violate("a source of another family");
    const io::FdResult opened = open(options.remote);
    if (opened.error != 0) return opened;
    sockets.back().datagram = true;
    sockets.back().connected = true;
    sockets.back().source = options.source;
    return opened;
  }
  io::ReceivedDatagrams received(io::BufferId /*buffer*/) override { return {}; }
  std::optional<io::DatagramError> take_error(io::Fd /*fd*/) override { return {}; }
  int open_pipe(io::Pipe& /*pipe*/) override {
    violate("open_pipe");
    return EMFILE;
  }
  void set_keepalive(io::Fd /*fd*/) override { violate("set_keepalive"); }
  io::FdResult accept_now(io::Fd /*listener*/) override {
    violate("accept_now");
    return {};
  }
  void set_refusing(io::Fd /*listener*/, bool /*refusing*/) override { violate("set_refusing"); }
  io::ReceiveQueue receive_queue(io::Fd /*fd*/) override { return {}; }
  io::TcpInfo tcp_info(io::Fd /*fd*/) override { return {}; }
  std::uint32_t bytes_unsent(io::Fd /*fd*/) override { return 0; }
  net::Endpoint peer(io::Fd /*fd*/) override { return {}; }
  net::Endpoint local(io::Fd /*fd*/) override { return {}; }
  io::BufferGroup& buffers() override { return buffers_; }
  io::BufferGroup& datagram_buffers() override { return buffers_; }
  [[nodiscard]] Instant now() const override { return now_; }
  void wake() override { woken_.store(true); }

  io::FdResult open_stream(const net::Endpoint& remote, const net::Endpoint& /*source*/) override {
    return open(remote);
  }

  void connect(io::OpTag tag, io::Fd fd, const net::Endpoint& remote) override {
    Socket& socket = begin(tag, io::OpKind::connect, fd);
    if (remote.port() != socket.port) violate("connect to another address than the socket's");
    if (socket.datagram) violate("connect of a datagram socket");
    if (socket.peer.connect_hangs) return;
    after(socket.peer.connect_delay, [this, tag, &socket] {
      if (!pending(tag)) return;
      if (socket.peer.connect_error == 0) become_connected(socket);
      complete(tag, -socket.peer.connect_error);
    });
  }

  void send(io::OpTag tag, io::Fd fd, std::span<const std::span<const std::byte>> slices) override {
    Socket& socket = begin(tag, io::OpKind::send, fd);
    if (!socket.connected) violate("send before the connect");
    if (socket.fin) violate("send after FIN");
    if (socket.peer.send_hangs) return;
    std::string bytes;
    for (const auto slice : slices) bytes.append(reinterpret_cast<const char*>(slice.data()), slice.size());
    if (socket.datagram) return send_datagram(tag, socket, bytes);
    if (bytes.empty()) violate("empty send");
    bytes.resize(std::min(bytes.size(), socket.peer.send_max));
    after(Nanos(0), [this, tag, &socket, bytes] {
      if (!pending(tag)) return;
      if (socket.peer.send_error != 0) return complete(tag, -socket.peer.send_error);
      const bool started = socket.request.size() >= socket.peer.request_bytes;
      socket.request += bytes;
      if (socket.peer.answers_request && !started && socket.request.size() >= socket.peer.request_bytes) speak(socket);
      complete(tag, static_cast<std::int32_t>(bytes.size()));
    });
  }

  void recv(io::OpTag tag, io::Fd fd) override {
    Socket& socket = begin(tag, io::OpKind::recv, fd);
    if (!socket.connected) violate("recv before the connect");
    if (socket.eof_read) violate("recv after the end of the stream");
    after(Nanos(0), [this, &socket] { deliver(socket); });
  }

  void cancel(io::OpTag target) override {
    after(cancel_delay, [this, target] {
      if (!pending(target)) return;
      Socket& socket = socket_of(operations_[target.word()]);
      if (target.kind() == io::OpKind::connect && socket.peer.connects_when_cancelled) {
        become_connected(socket);
        return complete(target, 0);
      }
      complete(target, -ECANCELED);
    });
  }

  int shutdown_write(io::Fd fd) override {
    Socket& socket = socket_of(fd);
    if (socket.datagram) violate("FIN on a datagram socket");
    if (socket.fin) violate("FIN sent twice");
    if (!socket.connected) violate("FIN before the connect");
    for (const auto& [word, at] : operations_) {
      if (at == fd && io::OpTag::from_word(word).kind() == io::OpKind::send) violate("FIN with a send in flight");
    }
    socket.fin = now_;
    if (socket.end && *socket.end != 0) return ENOTCONN;
    if (socket.peer.closes_on_fin && !socket.end) {
      after(socket.peer.fin_delay, [this, &socket] {
        if (!socket.peer.last_words.empty()) socket.wait.push_back(socket.peer.last_words);
        if (!socket.end) socket.end = 0;
        deliver(socket);
      });
    }
    return 0;
  }

  void close(io::Fd fd, io::CloseMode mode) override {
    Socket& socket = socket_of(fd);
    if (socket.closed) violate("closed twice");
    if (socket.datagram && mode == io::CloseMode::reset) violate("reset of a datagram socket");
    for (const auto& [word, at] : operations_) {
      if (at == fd) violate("close with something in flight");
    }
    socket.closed = now_;
    socket.mode = mode;
    socket.unread_at_close = !socket.wait.empty();
  }

  std::span<const io::Completion> turn(Instant deadline) override {
    ++turns;
    batch_.clear();
    if (!woken_.exchange(false) && ready_.empty()) {
      const Instant next = events_.empty() ? kNever : events_.begin()->first;
      const Instant until = std::min({next, deadline, limit});
      if (until == kNever) {
        violate("a wait without end");
      } else {
        now_ = std::max(now_, until);
      }
    }
    while (!events_.empty() && events_.begin()->first <= now_) {
      const auto event = std::move(events_.begin()->second);
      events_.erase(events_.begin());
      event();
    }
    batch_.swap(ready_);
    return batch_;
  }

 private:
  static constexpr int kFirstFd = 100;

  void violate(std::string what) { violations.push_back(std::move(what)); }
  Socket& socket_of(io::Fd fd) { return sockets.at(static_cast<std::size_t>(io::raw(fd) - kFirstFd)); }
  bool pending(io::OpTag tag) const { return operations_.contains(tag.word()); }
  void after(Nanos delay, std::function<void()> event) { events_.emplace(now_ + delay, std::move(event)); }

  io::FdResult open(const net::Endpoint& remote) {
    const Peer& script = peers[remote.port()];
    if (script.open_error != 0) return {.error = script.open_error};
    Socket& socket = sockets.emplace_back();
    socket.port = remote.port();
    socket.peer = script;
    socket.opened = now_;
    socket.enobufs_left = script.no_buffer;
    most_open_ = std::max(most_open_, open_sockets());
    return {.fd = static_cast<io::Fd>(kFirstFd + static_cast<int>(sockets.size()) - 1)};
  }

  Socket& begin(io::OpTag tag, io::OpKind kind, io::Fd fd) {
    Socket& socket = socket_of(fd);
    if (tag.kind() != kind) violate("tag of another kind");
    if (socket.closed) violate("operation on a closed descriptor");
    for (const auto& [word, at] : operations_) {
      if (word == tag.word()) violate("tag in flight twice");
      if (at == fd && io::OpTag::from_word(word).kind() == kind) violate("two operations of a kind on a descriptor");
    }
    operations_[tag.word()] = fd;
    return socket;
  }

  void complete(io::OpTag tag, std::int32_t result) {
    operations_.erase(tag.word());
    ready_.push_back({.tag = tag, .result = result});
  }

  void send_datagram(io::OpTag tag, Socket& socket, const std::string& bytes) {
    after(Nanos(0), [this, tag, &socket, bytes] {
      if (!pending(tag)) return;
      if (socket.peer.send_error != 0) return complete(tag, -socket.peer.send_error);
      socket.request += bytes;
      ++socket.datagrams;
      speak(socket);
      complete(tag, static_cast<std::int32_t>(bytes.size()));
    });
  }

  void become_connected(Socket& socket) {
    socket.connected = true;
    if (!socket.peer.answers_request) speak(socket);
  }

  /// Sends the answer's fragments one by one, and then ends the stream if the script says so.
  void speak(Socket& socket) {
    Nanos delay = socket.peer.answer_gap;
    for (const std::string& fragment : socket.peer.answer) {
      after(delay, [this, &socket, fragment] {
        if (!socket.end) socket.wait.push_back(fragment);
        deliver(socket);
      });
      delay += socket.peer.answer_gap;
    }
    if (!socket.peer.closes_after_answer && socket.peer.error_after_answer == 0) return;
    after(delay, [this, &socket] {
      socket.end = socket.peer.error_after_answer;
      deliver(socket);
    });
  }

  std::optional<io::OpTag> armed_recv(const Socket& socket) const {
    for (const auto& [word, at] : operations_) {
      const io::OpTag tag = io::OpTag::from_word(word);
      const auto index = static_cast<std::size_t>(io::raw(at) - kFirstFd);
      if (tag.kind() == io::OpKind::recv && &sockets[index] == &socket) return tag;
    }
    return std::nullopt;
  }

  void deliver(Socket& socket) {
    const auto tag = armed_recv(socket);
    if (!tag) return;
    while (!socket.wait.empty()) {
      const io::BufferId buffer = socket.enobufs_left > 0 ? io::kNoBuffer : buffers_.take();
      if (buffer == io::kNoBuffer) {
        --socket.enobufs_left;
        return complete(*tag, -ENOBUFS);
      }
      const std::string bytes = std::move(socket.wait.front());
      socket.wait.pop_front();
      if (bytes.empty()) {  // a datagram; no byte, no buffer, and the receive ends as at the end of a stream
        buffers_.give_back(buffer);
        return complete(*tag, 0);
      }
      std::memcpy(buffers_.data(buffer), bytes.data(), bytes.size());
      ready_.push_back(
          {.tag = *tag, .result = static_cast<std::int32_t>(bytes.size()), .buffer = buffer, .more = true});
    }
    if (!socket.end) return;
    socket.eof_read = !socket.datagram;
    complete(*tag, -*socket.end);
  }

  Instant now_;
  io::BufferGroup buffers_{{.count = 16, .bytes_per_buffer = 256}};
  std::multimap<Instant, std::function<void()>> events_;
  std::map<std::uint64_t, io::Fd> operations_;  // in flight
  std::vector<io::Completion> ready_;
  std::vector<io::Completion> batch_;
  std::atomic<bool> woken_{false};
  std::size_t most_open_ = 0;
};

}  // namespace millrace::health::test
