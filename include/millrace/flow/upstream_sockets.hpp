#pragma once
// UpstreamSockets: the sockets of one worker from which datagrams go to backends.
//
// They are not connected, so that one socket serves one session of each backend: what tells the sessions of a backend
// apart is the local port alone. So the number of sockets is the largest number of sessions that one backend has, and
// not the number of sessions; and a session that begins costs no system call when a socket is at hand.
//
// A group is what may share sockets: the backends of one pool, reached from one source address. A *place* is a socket
// as one target (a backend's address) of a group sees it. A place that is given back rests before it is taken again, so
// that a late reply to its last session does not reach the next one; it rests shorter only when no other socket can be
// opened. Sockets that nobody uses are closed after a while; places last.
//
// Every open socket has a multishot receive in flight. Close is a join: the receive is cancelled, and the socket is
// closed when it has ended and no send is in flight. One thread. Allocates when a new place or socket is needed that
// has never been there before; not while places are taken and given back.

#include <cstdint>
#include <vector>

#include "millrace/base/ring_queue.hpp"
#include "millrace/base/time.hpp"
#include "millrace/io/io.hpp"

namespace millrace::flow {

class UpstreamSockets {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffU;
  static constexpr Nanos kRest = std::chrono::seconds(2);         // of a place, between two sessions
  static constexpr Nanos kCloseAfter = std::chrono::seconds(15);  // of a socket that no session uses

  /// `side` goes into the tags of the receives; at most `open_max` sockets are open at a time.
  UpstreamSockets(io::Io& io, unsigned side, std::uint32_t open_max) : io_(io), side_(side), open_max_(open_max) {}
  UpstreamSockets(const UpstreamSockets&) = delete;
  UpstreamSockets& operator=(const UpstreamSockets&) = delete;

  /// `source`: an IP address, may be the wildcard; targets are numbered 0 … `targets` - 1.
  [[nodiscard]] std::uint32_t add_group(const net::Endpoint& source, std::uint32_t targets);

  /// One more target, numbered after those that are there.
  void add_target(std::uint32_t group) { groups_[group].targets.emplace_back(); }
  /// Whether nobody has a place of this target: its number may be given to another address.
  [[nodiscard]] bool unused(std::uint32_t group, std::uint32_t target) const {
    const Target& of = groups_[group].targets[target];
    return of.resting.size() == of.touched;
  }

  struct Taken {
    std::uint32_t socket = kNone;  // its number, as in the tags
    std::uint32_t place = 0;       // to be given back
    int error = 0;                 // when there is none: EMFILE and the like; also when open_max is reached
  };
  [[nodiscard]] Taken take(std::uint32_t group, std::uint32_t target, Instant now);
  void give_back(std::uint32_t group, std::uint32_t target, std::uint32_t place, Instant now);

  [[nodiscard]] io::Fd fd(std::uint32_t socket) const { return sockets_[socket].fd; }
  void send_begun(std::uint32_t socket) { ++sockets_[socket].sends; }
  void send_ended(std::uint32_t socket);
  /// The receive has had its final completion: it is armed again unless the socket is to be closed or, after ENOBUFS,
  /// until resume().
  void receive_ended(std::uint32_t socket, bool no_buffer);
  /// Arms the receives that wait for buffers.
  void resume();

  /// Closes some sockets that are not needed any more; returns when it wants to be called again (kNever: not needed).
  [[nodiscard]] Instant trim(Instant now);
  /// Closes all; every place has been given back. Goes on while operations end.
  void close_all();

  [[nodiscard]] std::uint32_t open() const { return open_; }

 private:
  struct Socket {
    io::Fd fd = io::Fd::none;  // none while it is closed
    std::uint32_t group = 0;
    std::uint32_t sessions = 0;
    std::uint32_t sends = 0;  // in flight
    bool receiving = false;   // a receive is in flight
    bool cancelling = false;  // … and was asked to end
    bool closing = false;     // close it when nothing is in flight
    bool starved = false;     // it is in starved_
    Instant unused_since{};
  };
  struct Rest {
    std::uint32_t place = 0;
    Instant since{};
  };
  struct Target {
    std::uint32_t touched = 0;  // places below this have been taken at least once
    RingQueue<Rest> resting;    // the longest first
  };
  struct Group {
    net::Endpoint source;
    std::vector<std::uint32_t> sockets;  // by place
    std::vector<Target> targets;
  };

  [[nodiscard]] int open_socket(Socket& socket, std::uint32_t number);
  [[nodiscard]] int use(std::uint32_t number);
  void arm(Socket& socket, std::uint32_t number);
  void begin_close(Socket& socket, std::uint32_t number);
  void close_when_idle(Socket& socket);
  [[nodiscard]] Taken take_fresh(std::uint32_t group_number, Target& target);
  [[nodiscard]] Taken take_place(Group& group, std::uint32_t place);

  io::Io& io_;
  unsigned side_;
  std::uint32_t open_max_;
  std::uint32_t open_ = 0;
  std::uint32_t unused_ = 0;  // of the open ones, those without a session
  std::vector<Group> groups_;
  std::vector<Socket> sockets_;
  std::vector<std::uint32_t> starved_;
  std::uint32_t trim_next_ = 0;  // where the next trim() begins
  Instant trim_at_ = Instant::min();
};

}  // namespace millrace::flow
