#pragma once
// HttpServer: serves HTTP on one address, for people, browsers, Prometheus and probes.
//
// One thread has all connections in a poll(2) loop and waits for none of them; what takes longer is done by two
// further threads. Nobody can hold it up: a request has a bounded size and a bounded time from its first byte, an
// answer a bounded time to be taken, and when there are too many clients the one that has asked nothing for longest
// goes. Nothing is shared with workers.

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "millrace/admin/http_message.hpp"
#include "millrace/base/result.hpp"
#include "millrace/base/time.hpp"
#include "millrace/io/op.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::admin {

class JobThreads;

struct HttpOptions {
  net::AddressText address;  // Kind::endpoint, an IP one, or Kind::any
  HttpLimits limits{};
  std::size_t clients_max = 24;                  // within what derive_capacity() keeps for the process itself
  Nanos idle_time = std::chrono::seconds(90);    // until a client begins a request; Prometheus asks once a minute
  Nanos request_time = std::chrono::seconds(5);  // from its first byte to its last
  Nanos answer_time = std::chrono::seconds(10);  // to take an answer
  Nanos goodbye_time = std::chrono::seconds(1);  // to see the last answer before the connection is closed
};

struct HttpHandlers {
  /// On the thread of the connections: what is decided without waiting; nothing when it is for `in_turn`.
  std::function<std::optional<HttpResponse>(const HttpRequest&)> at_once;
  /// On another thread; may be called by two at the same time.
  std::function<HttpResponse(const HttpRequest&)> in_turn;
};

class HttpServer {
 public:
  /// Listens and starts to serve; the error names what is in the way, and the remedy.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(HttpOptions options, HttpHandlers handlers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Where it listens, with the port that the kernel chose.
  [[nodiscard]] const net::Endpoint& address() const { return address_; }

 private:
  struct Client;

  HttpServer(HttpOptions options, HttpHandlers handlers, io::Fd listener, int wake);
  void serve();
  void accept_clients();
  void progress(Client& client, short events, Instant now);
  void receive(Client& client, Instant now);
  void look_for_request(Client& client, Instant now);
  void hand_over(Client& client, HttpRequest request);
  void answer(Client& client, const HttpResponse& response);
  void send(Client& client);
  void say_goodbye(Client& client);
  void take_answers();

  HttpOptions options_;
  HttpHandlers handlers_;
  io::Fd listener_;
  int wake_;  // an eventfd
  net::Endpoint address_;
  std::atomic<bool> stop_{false};
  std::vector<std::unique_ptr<Client>> clients_;
  std::uint64_t clients_seen_ = 0;
  std::mutex mutex_;  // of what follows
  std::vector<std::pair<std::uint64_t, HttpResponse>> answers_;
  std::unique_ptr<JobThreads> jobs_;
  std::thread thread_;
};

}  // namespace millrace::admin
