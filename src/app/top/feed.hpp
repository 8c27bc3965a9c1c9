#pragma once
// Feed: asks a balancer for its status again and again over the control socket, and gives it orders in between. Never
// waits: the caller waits for `descriptor` to be readable or `due` to come, and then calls `step`. A lost connection is
// made anew, for as long as it takes.

#include <deque>
#include <optional>
#include <string>

#include "millrace/admin/control_client.hpp"
#include "millrace/admin/status.hpp"
#include "millrace/base/time.hpp"
#include "view.hpp"

namespace millrace::app::top {

struct News {
  std::optional<admin::Status> status;
  std::optional<std::string> done;     // what became of an order
  std::optional<std::string> refused;  // why it was not done
};

class Feed {
 public:
  Feed(std::string path, admin::ControlClient client, Nanos interval)
      : path_(std::move(path)), client_(std::move(client)), interval_(interval) {}

  /// -1: there is no connection.
  [[nodiscard]] int descriptor() const { return client_ ? client_->descriptor() : -1; }
  [[nodiscard]] Instant due() const { return due_; }
  [[nodiscard]] Link link(Instant now) const;
  void give(const Order& order) { orders_.push_back(order); }
  [[nodiscard]] News step(Instant now);

 private:
  enum class Asked : std::uint8_t { nothing, status, order };

  void ask(Instant now);
  void connect(Instant now);
  void lose(const std::string& why, Instant now);
  [[nodiscard]] News read(const std::string& answer, Instant now);

  std::string path_;
  std::optional<admin::ControlClient> client_;
  Nanos interval_;
  Asked asked_ = Asked::nothing;
  Instant asked_at_{};
  Instant due_{};  // of the next status, or the next attempt to connect
  std::deque<Order> orders_;
  std::string problem_;
};

}  // namespace millrace::app::top
