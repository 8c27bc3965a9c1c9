#pragma once
// Probe: one connection to one backend, from connect to close, on an Io; or one datagram to it, and the answer.
//
// Handlers note what happened; advance() then asks for what is still missing, or closes. The verdict is given once, as
// soon as it is known; the close is a join: it happens when nothing is in flight any more, and only then is the probe
// finished and its slot free. Owns its descriptor. It reads no clock but Io::now(), and its owner calls timer_fired()
// at deadline().

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "millrace/base/time.hpp"
#include "millrace/health/cause.hpp"
#include "millrace/health/target.hpp"
#include "millrace/io/io.hpp"

namespace millrace::health {

struct Verdict {
  enum class Kind : std::uint8_t {
    success,
    failure,      // the backend's fault
    local_fault,  // this machine is short of something: no word about the backend
  } kind = Kind::success;
  Cause cause = Cause::succeeded;
  std::string reason;
};

class Probe {
 public:
  static constexpr Nanos kLinger = std::chrono::milliseconds(100);

  /// `target` must outlive the probe. `slot` and `generation` name it in the tags of its operations.
  Probe(io::Io& io, const Target& target) : io_(io), target_(target) {}

  /// Once, before anything else.
  void start(std::uint32_t slot, std::uint32_t generation);
  void completed(const io::Completion& completion);
  void timer_fired();
  /// Closes as soon as possible, without a verdict if there was none yet.
  void abandon();

  /// The verdict, the first time that this is called after it is known.
  [[nodiscard]] std::optional<Verdict> take_verdict();
  /// No verdict is to come any more.
  [[nodiscard]] bool settled() const { return settled_; }
  /// When timer_fired() is wanted.
  [[nodiscard]] Instant deadline() const { return deadline_; }
  /// Closed, and nothing is in flight.
  [[nodiscard]] bool finished() const { return settled_ && fd_ == io::Fd::none; }

 private:
  [[nodiscard]] io::OpTag tag(io::OpKind kind) const { return io::OpTag(kind, 0, generation_, slot_); }
  [[nodiscard]] static std::uint16_t bit(io::OpKind kind) {
    return static_cast<std::uint16_t>(1U << static_cast<unsigned>(kind));
  }
  [[nodiscard]] bool in_flight(io::OpKind kind) const { return (in_flight_ & bit(kind)) != 0; }
  [[nodiscard]] io::OpTag arm(io::OpKind kind);
  void ended(io::OpKind kind);
  void cancel(io::OpKind kind);

  [[nodiscard]] bool is_udp() const { return target_.settings.type == ProbeType::udp; }
  [[nodiscard]] io::FdResult open();

  void connected(std::int32_t result);
  void sent(std::int32_t result);
  void received(const io::Completion& completion);
  void received_bytes(std::span<const std::byte> bytes);
  void compare(std::span<const std::byte> bytes);
  void judge_answer(std::span<const std::byte> datagram);

  void advance();
  void talk();
  void ask();
  void wind_up();
  [[nodiscard]] bool lingers() const;
  void linger();
  void settle(Verdict::Kind kind, Cause cause, std::string reason);
  void settle_error(int error);

  io::Io& io_;
  const Target& target_;
  std::uint32_t slot_ = 0;
  std::uint32_t generation_ = 0;
  io::Fd fd_ = io::Fd::none;
  Instant deadline_ = kNever;
  std::optional<Verdict> verdict_;  // known and not yet taken
  std::size_t sent_ = 0;            // bytes of settings.send
  std::size_t matched_ = 0;         // bytes of settings.expect
  std::uint16_t in_flight_ = 0;     // bits of OpKind: set from the submission to the final completion
  std::uint16_t cancelling_ = 0;    // a subset of in_flight_: its end was asked for
  bool established_ = false;        // the connect succeeded, in time or not; udp: from the start
  bool asked_ = false;              // udp: the datagram was given to the kernel
  bool settled_ = false;            // there was a verdict, or none is wanted any more
  bool fin_sent_ = false;
  bool peer_done_ = false;  // the stream ended, in order or not
  bool hurry_ = false;      // do not wait for the peer's end
};

}  // namespace millrace::health
