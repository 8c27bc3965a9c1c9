#include "peer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "oracle.hpp"

namespace millrace::sim {

void Peer::connected(Socket& socket) {
  socket_ = &socket;
  socket.watcher = this;
  socket.holder = static_cast<int>(id_);
  state_ = State::connected;
  connected_at_ = context_.clock.now();
  context_.trace.note(role_ == Role::client ? "client connected" : "backend connected", -1, static_cast<int>(id_),
                      socket.id);
  if (script_.quits_at > Nanos(0)) context_.clock.after(script_.quits_at, [this] { step(); });
  plan_step(Nanos(0));
}

void Peer::finish() {
  finishing_ = true;
  script_.bytes = sent_;
  script_.speaks_after = 0;
  script_.echo = false;
  script_.fin_after_bytes = true;
  script_.write_pause = script_.read_pause = Nanos(0);
  script_.read_chunk = 1U << 16U;
  script_.reads = true;
  script_.quits_after_sent = Script::kNever;
  script_.quits_at = Nanos(0);
  reads_at_ = Instant();
  if (state_ == State::connected) plan_step(Nanos(0));
}

void Peer::socket_changed(Socket&) {
  plan_step(std::chrono::microseconds(1));
}

void Peer::plan_step(Nanos delay) {
  const Instant when = context_.clock.now() + delay;
  if (step_at_ <= when) return;
  step_at_ = when;
  context_.clock.at(when, [this, when] {
    if (step_at_ != when) return;  // an earlier one was planned, and has run
    step_at_ = millrace::kNever;
    step();
  });
}

void Peer::step() {
  if (state_ != State::connected) return;
  bool again = read_some();
  if (state_ == State::connected) again = write_some() || again;
  if (state_ == State::connected) send_fin_when_due();
  if (state_ == State::connected) end_when_due();
  if (state_ == State::connected && again) {
    plan_step(std::max(std::min(reads_at_, writes_at_) - context_.clock.now(), Nanos(1000)));
  }
}

/// True when it is to be called again at reads_at_ or soon.
bool Peer::read_some() {
  if (!script_.reads || fin_seen_) return false;
  if (context_.clock.now() < reads_at_) return plan_step(reads_at_ - context_.clock.now()), false;
  std::array<std::byte, 16384> buffer;
  const std::int64_t count =
      network_.read(*socket_, std::span(buffer).first(std::min<std::size_t>(buffer.size(), script_.read_chunk)));
  if (count == -EAGAIN) return false;
  if (count < 0) return fail(static_cast<int>(-count)), false;
  if (count == 0) {
    fin_seen_ = true;
    oracle_.end_of_stream(*this);
    return false;
  }
  last_read_ = context_.clock.now();
  check(std::span(buffer).first(static_cast<std::size_t>(count)));
  reads_at_ = context_.clock.now() + context_.up_to(script_.read_pause);
  return true;
}

void Peer::check(std::span<const std::byte> bytes) {
  for (std::size_t i = 0; i < bytes.size() && received_ + i < Stream::kHeader; ++i) {
    header_ |= static_cast<std::uint64_t>(bytes[i]) << (received_ + i) * 8;
  }
  const std::uint64_t offset = received_;
  received_ += bytes.size();
  oracle_.received(*this, header_, offset, bytes);
}

std::uint64_t Peer::may_send_up_to() const {
  if (script_.echo) return received_;
  return received_ >= script_.speaks_after || fin_seen_ ? script_.bytes : 0;
}

bool Peer::write_some() {
  const std::uint64_t limit = may_send_up_to();
  if (fin_sent_ || sent_ >= limit) return false;
  if (context_.clock.now() < writes_at_) return plan_step(writes_at_ - context_.clock.now()), false;
  std::array<std::byte, 16384> buffer;
  const std::size_t most = std::min<std::uint64_t>({limit - sent_, script_.write_chunk, buffer.size()});
  const std::span<std::byte> bytes = std::span(buffer).first(context_.between(1, most));
  stream_.fill(sent_, bytes);
  const std::int64_t count = network_.write(*socket_, bytes);
  if (count == -EAGAIN) return false;
  if (count < 0) return fail(static_cast<int>(-count)), false;
  sent_ += static_cast<std::uint64_t>(count);
  writes_at_ = context_.clock.now() + context_.up_to(script_.write_pause);
  return true;
}

void Peer::fail(int error) {
  error_ = error;
  context_.trace.note("peer sees error", -1, static_cast<int>(id_), error);
  oracle_.error(*this);
  end(io::CloseMode::normal);
}

void Peer::send_fin_when_due() {
  if (fin_sent_ || sent_ < may_send_up_to()) return;
  const bool has_spoken = received_ >= script_.speaks_after && !script_.echo && sent_ >= script_.bytes;
  if (!fin_seen_ && !(script_.fin_after_bytes && has_spoken)) return;
  if (const int error = network_.shutdown_write(*socket_); error != 0) return fail(error);
  fin_sent_ = true;
  context_.trace.note("peer sends fin", -1, static_cast<int>(id_), static_cast<std::int64_t>(sent_));
}

void Peer::end_when_due() {
  const bool late = script_.quits_at > Nanos(0) && context_.clock.now() >= connected_at_ + script_.quits_at;
  const bool enough = sent_ >= script_.quits_after_sent && received_ >= script_.quits_after_received;
  if (fin_seen_ && fin_sent_) {
    end(io::CloseMode::normal);
  } else if (late || enough) {
    has_quit_ = true;
    context_.trace.note(script_.quits_by == io::CloseMode::reset ? "peer resets" : "peer quits", -1,
                        static_cast<int>(id_), static_cast<std::int64_t>(sent_), static_cast<std::int64_t>(received_));
    end(script_.quits_by);
  }
}

void Peer::end(io::CloseMode mode) {
  state_ = State::ended;
  network_.close(*socket_, mode);
}

std::string Peer::describe() const {
  return fmt::format("{} {} (socket {}): sent {}{}, received {}{}{}{}{}", role_ == Role::client ? "client" : "backend",
                     id_, socket_ == nullptr ? 0 : socket_->id, sent_, fin_sent_ ? " and FIN" : "", received_,
                     fin_seen_ ? " and FIN" : "", error_ != 0 ? fmt::format(", error {}", error_) : "",
                     has_quit_ ? ", quit" : "", state_ == State::connected ? ", still connected" : "");
}

}  // namespace millrace::sim
