#pragma once
// Peer: one scripted end of a proxied connection, a client or one connection of a backend.
//
// A step reads what it may, writes what it may, and ends the connection when its script says so. Steps are caused by
// changes of the socket and by the pauses of the script.

#include <cstdint>
#include <string>
#include <vector>

#include "context.hpp"
#include "network.hpp"
#include "stream.hpp"

namespace millrace::sim {

enum class Role : std::uint8_t { client, backend };

/// What a peer does. A graceful one sends all it has, then FIN; reads until it sees a FIN; then closes.
struct Script {
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  std::uint64_t bytes = 0;         // to be sent in all
  std::uint64_t speaks_after = 0;  // bytes that must have been received first (a banner, a request)
  bool echo = false;               // sends as much as it has received, instead of `bytes`
  bool fin_after_bytes = true;     // FIN once all is sent; otherwise only after the other's FIN
  std::uint32_t write_chunk = 1024;
  std::uint32_t read_chunk = 4096;
  Nanos write_pause{};  // at most, after each chunk
  Nanos read_pause{};
  bool reads = true;  // false: accepts and does nothing, until the end of the run

  // Not graceful: once so much is sent and received, or at a time after the connection stood.
  std::uint64_t quits_after_sent = kNever;
  std::uint64_t quits_after_received = 0;
  Nanos quits_at{};  // 0: never
  io::CloseMode quits_by = io::CloseMode::normal;
};

class Oracle;

class Peer final : public Watcher {
 public:
  enum class State : std::uint8_t { idle, connected, ended };

  Peer(Context& context, Network& network, Oracle& oracle, PeerId id, Role role, const Script& script)
      : context_(context), network_(network), oracle_(oracle), id_(id), role_(role), script_(script), stream_(id) {}

  void connected(Socket& socket);
  /// The run comes to its end: no more pauses, nothing new to say, an orderly close.
  void finish();
  /// It never got a connection.
  void give_up() { state_ = State::ended; }
  void socket_changed(Socket& socket) override;

  [[nodiscard]] PeerId id() const { return id_; }
  [[nodiscard]] Role role() const { return role_; }
  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const Socket* socket() const { return socket_; }
  [[nodiscard]] std::uint64_t sent() const { return sent_; }
  [[nodiscard]] std::uint64_t received() const { return received_; }
  [[nodiscard]] bool fin_sent() const { return fin_sent_; }
  [[nodiscard]] bool fin_seen() const { return fin_seen_; }
  [[nodiscard]] int error() const { return error_; }
  /// It left before the other had finished, or by a reset.
  [[nodiscard]] bool has_quit() const { return has_quit_; }
  /// It wants to read, and has had nothing to read since `since`.
  [[nodiscard]] bool has_waited_since(Instant since) const {
    return state_ == State::connected && script_.reads && !fin_seen_ && last_read_ < since && connected_at_ < since;
  }
  [[nodiscard]] std::string describe() const;

 private:
  void plan_step(Nanos delay);
  void step();
  bool read_some();
  bool write_some();
  [[nodiscard]] std::uint64_t may_send_up_to() const;
  void check(std::span<const std::byte> bytes);
  void fail(int error);
  void send_fin_when_due();
  void end_when_due();
  void end(io::CloseMode mode);

  Context& context_;
  Network& network_;
  Oracle& oracle_;
  PeerId id_;
  Role role_;
  Script script_;
  Stream stream_;
  State state_ = State::idle;
  Socket* socket_ = nullptr;
  Instant connected_at_;

  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t header_ = 0;  // the first bytes of what it receives
  Instant last_read_;
  Instant reads_at_;
  Instant writes_at_;
  Instant step_at_ = millrace::kNever;  // when a step is planned
  bool fin_sent_ = false;
  bool fin_seen_ = false;
  bool has_quit_ = false;
  bool finishing_ = false;
  int error_ = 0;
};

}  // namespace millrace::sim
