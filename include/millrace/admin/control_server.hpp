#pragma once
// ControlServer: the control socket and its thread. It reads requests, a line each, and writes back what a handler
// answers; who may, is decided by the credentials of the peer, which the kernel vouches for.
//
// One thread, a poll(2) loop, nothing shared with workers. Nobody can hold it up: a client has a bounded time for a
// line and for taking its answer, a line has a bounded length, one request is answered at a time, and when there are
// too many clients the one that has been silent for longest goes.

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "millrace/base/result.hpp"
#include "millrace/base/time.hpp"

namespace millrace::admin {

/// Who is at the other end of a unix socket.
struct PeerCredentials {
  uid_t uid = 0;
  std::vector<gid_t> groups;  // all that it is in
};
/// root, the balancer's own user, and the group of the socket's file.
[[nodiscard]] bool may_control(const PeerCredentials& peer, uid_t own_uid, gid_t socket_group);

struct ControlOptions {
  std::string path;
  std::size_t request_bytes_max = 16'384;
  std::size_t clients_max = 16;                   // within what derive_capacity() keeps for the process itself
  Nanos request_time = std::chrono::seconds(10);  // from one answer to the end of the next request; to take an answer
};

class ControlServer {
 public:
  using Handler = std::function<std::string(std::string_view request)>;
  using Refusal = std::function<std::string(std::string_view code, std::string_view message)>;

  /// Binds the socket and starts to serve. A socket file that nobody listens on is replaced; the error says what is in
  /// the way, and the remedy. `handle` runs on the server's thread.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> start(ControlOptions options, Handler handle,
                                                                    Refusal refuse);
  /// Stops, and removes the socket's file.
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

 private:
  struct Client;

  ControlServer(ControlOptions options, Handler handle, Refusal refuse, int listener, int stop);
  void serve();
  void accept_clients();
  void add_client(int fd);
  void progress(Client& client, short events, Instant now);
  void receive(Client& client);
  void answer_request(Client& client, Instant now);
  void send(Client& client);

  ControlOptions options_;
  Handler handle_;
  Refusal refuse_;
  int listener_;
  int stop_;          // an eventfd
  dev_t device_ = 0;  // of the socket's file, to remove no other one
  ino_t inode_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
  std::thread thread_;
};

}  // namespace millrace::admin
