#include "millrace/admin/http_server.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "client_sockets.hpp"
#include "job_threads.hpp"
#include "millrace/base/log.hpp"
#include "millrace/io/sockets.hpp"

namespace millrace::admin {

namespace {

constexpr std::size_t kJobThreads = 2;
constexpr std::size_t kJobsWaiting = 32;
constexpr int kBacklog = 64;
constexpr std::size_t kIgnoredMax = 65'536;  // of what a client goes on sending after its last answer

Result<io::Fd> open(const net::Endpoint& address, bool v6_only = true) {
  return io::open_listener(address, {.backlog = kBacklog, .reuse_port = false, .keepalive = true, .v6_only = v6_only});
}

/// `*` is one socket for both families; where the kernel has no IPv6, for IPv4 alone.
Result<io::Fd> open(const net::AddressText& address) {
  if (address.kind != net::AddressText::Kind::any) return open(address.endpoint);
  Result<io::Fd> both = open(net::Endpoint::ipv6({}, address.host.port), false);
  if (both) return both;
  Result<io::Fd> v4 = open(net::Endpoint::ipv4(INADDR_ANY, address.host.port));
  return v4 ? std::move(v4) : std::move(both);
}

}  // namespace

struct HttpServer::Client {
  enum class Stage { reading, working, answering, leaving };

  Client(int of, std::uint64_t number) : fd(of), serial(number) {}
  ~Client() { ::close(fd); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] short wanted_events() const {
    return stage == Stage::answering ? POLLOUT : stage == Stage::working ? 0 : POLLIN;
  }

  int fd;
  std::uint64_t serial;
  Stage stage = Stage::reading;
  std::string received;
  std::string answer;
  std::size_t sent = 0;
  std::size_t ignored = 0;
  Instant deadline{};
  Instant last_heard{};    // of a whole request; of its beginning until it has had one
  bool head_only = false;  // what the request that is being answered wants
  bool last_answer = false;
  bool gone = false;
};

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpOptions options, HttpHandlers handlers) {
  const Result<io::Fd> listener = open(options.address);
  if (!listener) return Error{listener.error()};
  const int wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) {
    io::close_now(listener.value());
    return Error{fmt::format("no descriptor: {}", ::strerrordesc_np(errno))};
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(options), std::move(handlers), listener.value(), wake));
}

HttpServer::HttpServer(HttpOptions options, HttpHandlers handlers, io::Fd listener, int wake)
    : options_(std::move(options)),
      handlers_(std::move(handlers)),
      listener_(listener),
      wake_(wake),
      address_(io::bound_address(listener)),
      jobs_(std::make_unique<JobThreads>("http-job", kJobThreads, kJobsWaiting)),
      thread_([this] { serve(); }) {}

HttpServer::~HttpServer() {
  stop_.store(true, std::memory_order_relaxed);
  ::eventfd_write(wake_, 1);
  thread_.join();
  jobs_.reset();
  io::close_now(listener_);
  ::close(wake_);
}

void HttpServer::serve() {
  ::pthread_setname_np(::pthread_self(), "http");
  std::vector<pollfd> polled;
  while (!stop_.load(std::memory_order_relaxed)) {
    polled.assign(
        {{.fd = wake_, .events = POLLIN, .revents = 0}, {.fd = io::raw(listener_), .events = POLLIN, .revents = 0}});
    Instant wake = kNever;
    for (const auto& client : clients_) {
      polled.push_back({.fd = client->fd, .events = client->wanted_events(), .revents = 0});
      if (client->stage != Client::Stage::working) wake = std::min(wake, client->deadline);
    }
    if (::poll(polled.data(), polled.size(), poll_timeout(wake)) < 0 && errno != EINTR) {
      return log::error("http_failed", {{"reason", ::strerrordesc_np(errno)}});
    }
    const Instant now = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < clients_.size(); ++i) progress(*clients_[i], polled[i + 2].revents, now);
    if (polled[0].revents != 0) take_answers();
    std::erase_if(clients_, [](const auto& client) { return client->gone; });
    if (polled[1].revents != 0) accept_clients();
  }
  clients_.clear();
}

void HttpServer::accept_clients() {
  const Instant now = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < options_.clients_max; ++i) {  // then the clients that are there have their turn
    const int fd = accept_client(io::raw(listener_));
    if (fd < 0) return;
    if (clients_.size() >= options_.clients_max) drop_quietest(clients_);
    auto client = std::make_unique<Client>(fd, ++clients_seen_);
    client->last_heard = now;
    client->deadline = now + options_.idle_time;
    clients_.push_back(std::move(client));
  }
}

void HttpServer::progress(Client& client, short events, Instant now) {
  switch (client.stage) {
    case Client::Stage::reading:
      if (events != 0) receive(client, now);
      break;
    case Client::Stage::working:
      if ((events & (POLLERR | POLLHUP)) != 0) client.gone = true;
      return;  // its time is that of the job
    case Client::Stage::answering:
      if (events != 0) send(client);
      break;
    case Client::Stage::leaving:
      if (events != 0) say_goodbye(client);
      break;
  }
  if (now >= client.deadline) client.gone = true;
}

void HttpServer::receive(Client& client, Instant now) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(client.fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) {
    if (got == 0 || (errno != EAGAIN && errno != EINTR)) client.gone = true;
    return;
  }
  if (client.received.empty()) client.deadline = now + options_.request_time;
  client.received.append(buffer.data(), static_cast<std::size_t>(got));
  look_for_request(client, now);
}

void HttpServer::look_for_request(Client& client, Instant now) {
  HttpParsed parsed = parse_http(client.received, options_.limits);
  if (parsed.state == HttpParsed::State::incomplete) return;
  client.last_heard = now;
  if (parsed.state == HttpParsed::State::refused) {
    client.head_only = false;
    client.last_answer = true;
    return answer(client, parsed.refusal);
  }
  client.received.erase(0, parsed.length);
  client.head_only = parsed.request.method == "HEAD";
  client.last_answer = !parsed.request.keep_alive;
  if (const auto response = handlers_.at_once(parsed.request)) return answer(client, *response);
  hand_over(client, std::move(parsed.request));
}

void HttpServer::hand_over(Client& client, HttpRequest request) {
  client.stage = Client::Stage::working;
  const bool taken = jobs_->add([this, serial = client.serial, request = std::move(request)] {
    HttpResponse response = handlers_.in_turn(request);
    const std::lock_guard lock(mutex_);
    answers_.emplace_back(serial, std::move(response));
    ::eventfd_write(wake_, 1);
  });
  if (!taken) answer(client, {.status = 503, .body = "too many requests wait for their answers; try again\n"});
}

void HttpServer::take_answers() {
  eventfd_t count = 0;
  ::eventfd_read(wake_, &count);
  std::vector<std::pair<std::uint64_t, HttpResponse>> answers;
  {
    const std::lock_guard lock(mutex_);
    answers.swap(answers_);
  }
  for (const auto& [serial, response] : answers) {
    const auto found = std::find_if(clients_.begin(), clients_.end(),
                                    [&, wanted = serial](const auto& client) { return client->serial == wanted; });
    if (found != clients_.end() && !(*found)->gone) answer(**found, response);
  }
}

void HttpServer::answer(Client& client, const HttpResponse& response) {
  client.stage = Client::Stage::answering;
  client.answer = to_wire(response, client.head_only, !client.last_answer);
  client.sent = 0;
  client.deadline = std::chrono::steady_clock::now() + options_.answer_time;
  send(client);
}

void HttpServer::send(Client& client) {
  client.gone = !send_more(client.fd, client.answer, client.sent);
  if (client.gone || client.sent < client.answer.size()) return;
  std::string().swap(client.answer);
  const Instant now = std::chrono::steady_clock::now();
  if (client.last_answer) {
    // Closing with unread bytes would reset the connection, and the client might never see its answer.
    ::shutdown(client.fd, SHUT_WR);
    client.stage = Client::Stage::leaving;
    client.deadline = now + options_.goodbye_time;
    return;
  }
  client.stage = Client::Stage::reading;
  client.deadline = now + (client.received.empty() ? options_.idle_time : options_.request_time);
  if (!client.received.empty()) look_for_request(client, now);
}

void HttpServer::say_goodbye(Client& client) {
  std::array<char, 4096> buffer{};
  const ssize_t got = ::recv(client.fd, buffer.data(), buffer.size(), 0);
  if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) client.gone = true;
  if (got > 0) client.ignored += static_cast<std::size_t>(got);
  if (client.ignored > kIgnoredMax) client.gone = true;
}

}  // namespace millrace::admin
