#pragma once
// DatagramClient and DatagramBackend: scripted peers that talk by datagrams.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "context.hpp"
#include "datagram_network.hpp"
#include "datagram_note.hpp"
#include "datagram_oracle.hpp"

namespace millrace::sim {

/// How long the datagrams of one burst are.
enum class Lengths : std::uint8_t {
  same,
  last_shorter,
  any,  // from none to `bytes`
};

/// What a client does: some rounds, each a burst of datagrams to one local address of the proxy.
struct DatagramScript {
  std::vector<net::IpEndpoint> to;  // used in turn, round by round
  std::uint32_t rounds = 1;
  std::uint32_t burst = 1;
  std::uint32_t bytes = 64;
  Lengths lengths = Lengths::same;
  Nanos pause_max{};   // between rounds
  Nanos long_pause{};  // once, in the middle; 0: none
  bool waits = false;  // for a reply, before the pause; if none comes, for half a second
};

class DatagramClient {
 public:
  DatagramClient(Context& context, DatagramNetwork& network, DatagramOracle& oracle, const net::IpEndpoint& address,
                 const DatagramScript& script);

  void start() { speak(); }
  void arrives(const Datagram& datagram);
  void finish() { done_ = true; }
  [[nodiscard]] bool done() const { return done_; }
  [[nodiscard]] std::string describe() const;

 private:
  void speak();
  void send(const net::IpEndpoint& to, std::uint32_t length);
  [[nodiscard]] std::uint32_t draw_length(bool last);
  void plan_next();
  void speak_after(Nanos pause);

  Context& context_;
  DatagramNetwork& network_;
  DatagramOracle& oracle_;
  net::IpEndpoint address_;
  DatagramScript script_;
  std::uint32_t id_;
  std::uint32_t round_ = 0;
  std::uint64_t plan_ = 0;  // counts plans: an older one is void
  bool waiting_ = false;
  bool done_ = false;
};

enum class DatagramManner : std::uint8_t {
  answers,
  silent,
  late,     // answers after seconds, some
  strange,  // some answers come from another address
  refuses,  // nobody listens: ICMP errors
  mortal,   // refuses now and then
};

struct DatagramBackendPlan {
  net::IpEndpoint address;
  DatagramManner manner = DatagramManner::answers;
  std::uint32_t replies = 1;      // to each datagram
  std::uint32_t reply_bytes = 0;  // 0: as long as the request
  Nanos delay_max{};
  std::size_t quote_max = 520;  // of its ICMP errors: so much of the datagram
  int error = 0;                // that they bring
};

class DatagramBackend {
 public:
  DatagramBackend(Context& context, DatagramNetwork& network, DatagramOracle& oracle, const DatagramBackendPlan& plan);

  /// Plans its deaths, if any.
  void start();
  /// A datagram, or a train.
  void arrives(const Datagram& datagram);
  /// From now on it answers, as it should.
  void finish();
  [[nodiscard]] const DatagramBackendPlan& plan() const { return plan_; }
  /// It has died, or come back.
  std::function<void(bool alive)> changed;

 private:
  void change();
  void refuse(const Datagram& datagram);
  void read(const Datagram& datagram);
  void reply(const Datagram& request, const Note& note);

  Context& context_;
  DatagramNetwork& network_;
  DatagramOracle& oracle_;
  DatagramBackendPlan plan_;
  bool alive_;
  bool finishing_ = false;
};

}  // namespace millrace::sim
