#include "feed.hpp"

#include <fmt/format.h>

#include <chrono>

#include "../control_answer.hpp"
#include "millrace/admin/json.hpp"
#include "millrace/admin/protocol.hpp"

namespace millrace::app::top {

namespace {

using nlohmann::json;

constexpr Nanos kTryAgain = std::chrono::seconds(1);
constexpr Nanos kSilence = std::chrono::seconds(3);  // from then on it is told

json request_of(const Order& order) {
  json request = {{"version", admin::kProtocolVersion},
                  {"command", "backend"},
                  {"pool", order.pool},
                  {"backend", order.backend},
                  {"action", order.action}};
  if (order.action == "weight") request["weight"] = order.weight;
  return request;
}

}  // namespace

Link Feed::link(Instant now) const {
  if (!client_) return {.connected = false, .problem = "not connected, trying again every second: " + problem_};
  if (asked_ == Asked::nothing || now - asked_at_ < kSilence) return {.connected = true, .problem = {}};
  const auto silent = std::chrono::duration_cast<std::chrono::seconds>(now - asked_at_);
  return {.connected = true, .problem = fmt::format("the balancer has not answered for {} s", silent.count())};
}

News Feed::step(Instant now) {
  if (!client_ && now >= due_) connect(now);
  if (!client_) return {};
  News news;
  if (asked_ != Asked::nothing) {
    Result<std::optional<std::string>> answer = client_->take();
    if (!answer) {
      lose(answer.error(), now);
      return {};
    }
    if (answer.value()) news = read(*answer.value(), now);
  }
  if (asked_ == Asked::nothing) ask(now);
  return news;
}

void Feed::ask(Instant now) {
  json request;
  if (!orders_.empty()) {
    asked_ = Asked::order;
    request = request_of(orders_.front());
  } else if (now >= due_) {
    asked_ = Asked::status;
    request = {{"version", admin::kProtocolVersion}, {"command", "status"}};
    // At steady moments, but none is made up for.
    due_ = due_ + interval_ > now ? due_ + interval_ : now + interval_;
  } else {
    return;
  }
  asked_at_ = now;
  client_->send(request.dump(-1, ' ', false, json::error_handler_t::replace));
}

void Feed::connect(Instant now) {
  Result<admin::ControlClient> client = admin::ControlClient::connect(path_);
  if (!client) return lose(client.error(), now);
  client_.emplace(std::move(client).value());
  problem_.clear();
  due_ = now;
}

void Feed::lose(const std::string& why, Instant now) {
  client_.reset();
  orders_.clear();  // they were meant for what was seen then
  asked_ = Asked::nothing;
  problem_ = why;
  due_ = now + kTryAgain;
}

News Feed::read(const std::string& answer, Instant now) {
  const Asked asked = std::exchange(asked_, Asked::nothing);
  const Result<json> result = result_of(answer);
  News news;
  try {
    if (asked == Asked::order) {
      const Order order = orders_.front();
      orders_.pop_front();
      due_ = now;  // to see what it did
      if (!result) {
        news.refused = result.error();
        return news;
      }
      const auto backend = result.value().get<admin::BackendStatus>();
      news.done = fmt::format("{}/{}: {}, weight {}, {} active", order.pool, order.backend, backend.state,
                              backend.weight, backend.active);
      return news;
    }
    if (result) {
      news.status = result.value().get<admin::Status>();
      return news;
    }
    news.refused = result.error();
  } catch (const json::exception&) {
    news.refused = "the balancer's answer is not understood; are its version and this one the same?";
  }
  return news;
}

}  // namespace millrace::app::top
