#include "millrace/admin/metrics.hpp"

#include <fmt/format.h>

#include <chrono>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "millrace/flow/close_reason.hpp"
#include "millrace/health/cause.hpp"
#include "millrace/worker/counters.hpp"

namespace millrace::admin {

namespace {

struct Label {
  std::string name;
  std::string value;
};
using Labels = std::vector<Label>;

/// Written by hand rather than by prometheus-cpp, of which distributions have no archive for a static build.
class Page {
 public:
  void counter(std::string name, std::string_view help) { begin(std::move(name), help, "counter"); }
  void gauge(std::string name, std::string_view help) { begin(std::move(name), help, "gauge"); }
  void histogram(std::string name, std::string_view help) { begin(std::move(name), help, "histogram"); }

  // All that follow add to the family that was begun last.

  template <class Number>
  void add(const Labels& labels, Number value) {
    add_sample("", labels, value);
  }
  void add(const Labels& labels, const Bytes& both) {
    add(with(labels, "direction", "in"), both.in);
    add(with(labels, "direction", "out"), both.out);
  }
  /// All reasons from 0 (or `from`) on, whether there were any or not.
  template <class Reason>
  void add(const Labels& labels, const Reasons& reasons, unsigned count, unsigned from = 0) {
    for (unsigned i = from; i < count; ++i) {
      const std::string_view reason = name(static_cast<Reason>(i));
      add(with(labels, "reason", reason), count_of(reasons, reason));
    }
  }

  [[nodiscard]] static Labels with(Labels labels, std::string_view name, std::string_view value) {
    labels.push_back({.name = std::string(name), .value = std::string(value)});
    return labels;
  }
  [[nodiscard]] static std::uint64_t count_of(const Reasons& reasons, std::string_view reason) {
    const auto found = reasons.find(std::string(reason));
    return found == reasons.end() ? 0 : found->second;
  }
  void add(const Labels& labels, const ConnectTimes& times) {
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < worker::kConnectTimes.size() && i < times.classes.size(); ++i) {
      below += times.classes[i];
      const double bound = std::chrono::duration<double>(worker::kConnectTimes[i]).count();
      add_sample("_bucket", with(labels, "le", fmt::format("{}", bound)), below);
    }
    add_sample("_bucket", with(labels, "le", "+Inf"), times.count);
    add_sample("_sum", labels, times.total_seconds);
    add_sample("_count", labels, times.count);
  }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  void begin(std::string name, std::string_view help, std::string_view type) {
    name_ = std::move(name);
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name_, help, name_, type);
  }
  template <class Number>
  void add_sample(std::string_view suffix, const Labels& labels, Number value) {
    text_ += name_;
    text_ += suffix;
    char separator = '{';
    for (const Label& label : labels) {
      text_ += separator;
      text_ += label.name;
      text_ += "=\"";
      add_escaped(label.value);
      text_ += '"';
      separator = ',';
    }
    if (!labels.empty()) text_ += '}';
    if constexpr (std::is_same_v<Number, bool>) {
      text_ += value ? " 1\n" : " 0\n";
    } else {
      fmt::format_to(std::back_inserter(text_), " {}\n", value);
    }
  }
  void add_escaped(std::string_view value) {
    for (const char c : value) {
      if (c == '\\' || c == '"') text_ += '\\';
      if (c == '\n') {
        text_ += "\\n";
      } else {
        text_ += c;
      }
    }
  }

  std::string name_;
  std::string text_;
};

void add_process(Page& page, const Status& status) {
  using Clock = std::chrono::system_clock;
  page.gauge("millrace_build_info", "The version, as a label; always 1.");
  page.add({{.name = "version", .value = status.version}}, 1);
  page.gauge("millrace_start_time_seconds", "When it started, in seconds since 1970.");
  page.add({}, std::chrono::duration<double>(Clock::now().time_since_epoch()).count() - status.uptime_seconds);
  page.gauge("millrace_config_generation", "Counts the configurations that were applied, the first one included.");
  page.add({}, status.generation);
  page.gauge("millrace_config_last_reload_success", "0 when the last reload was refused, else 1.");
  page.add({}, status.last_reload.ok ? 1 : 0);
}

template <class Add>
void for_listeners(const Status& status, Add add) {
  for (const ListenerStatus& listener : status.listeners) {
    add(Labels{{.name = "listener", .value = listener.name}}, listener);
  }
}

void add_listeners(Page& page, const Status& status) {
  page.counter("millrace_connections_total", "Connections that were accepted, refused ones included; UDP: sessions.");
  for_listeners(status, [&](const Labels& labels, const ListenerStatus& l) { page.add(labels, l.connections); });
  page.gauge("millrace_connections_active", "Connections that were taken on and have not ended; UDP: sessions.");
  for_listeners(status, [&](const Labels& labels, const ListenerStatus& l) { page.add(labels, l.active); });
  page.counter("millrace_connections_refused_total",
               "Connections that were closed before they had a backend; UDP: messages of clients without a session.");
  for_listeners(status, [&](const Labels& labels, const ListenerStatus& l) {
    page.add<worker::Refusal>(labels, l.refused, worker::kRefusals);
  });
  page.counter("millrace_bytes_total", "Bytes that came from clients (in) and went to them (out).");
  for_listeners(status, [&](const Labels& labels, const ListenerStatus& l) { page.add(labels, l.bytes); });
}

template <class Add>
void for_backends(const Status& status, Add add) {
  for (const PoolStatus& pool : status.pools) {
    for (const BackendStatus& backend : pool.backends) {
      add(Labels{{.name = "pool", .value = pool.name}, {.name = "backend", .value = backend.name}}, backend);
    }
  }
}

void add_backend_state(Page& page, const Status& status) {
  page.gauge("millrace_backend_up", "1 when its health is up, whatever an operator said.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.health == "up"); });
  page.gauge("millrace_backend_state", "1 for the state that it is in, 0 for the others.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) {
    for (const std::string_view state : {"up", "down", "ejected", "draining", "disabled", "removed"}) {
      page.add(Page::with(labels, "state", state), b.state == state);
    }
  });
  page.gauge("millrace_backend_weight", "Its weight now.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.weight); });
  page.counter("millrace_backend_health_transitions_total", "Changes of its health, by what they led to and why.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) {
    for (unsigned i = 0; i < health::kCauses; ++i) {
      const auto cause = static_cast<health::Cause>(i);
      page.add(Page::with(Page::with(labels, "to", name(outcome(cause))), "reason", name(cause)),
               Page::count_of(b.health_changes, name(cause)));
    }
  });
  page.gauge("millrace_pool_fail_open", "1 while none of its backends is up and all are tried.");
  for (const PoolStatus& pool : status.pools) {
    page.add({{.name = "pool", .value = pool.name}}, pool.failing_open);
  }
}

void add_backend_traffic(Page& page, const Status& status) {
  page.counter("millrace_backend_connections_total", "Connections that were established; UDP: sessions led to it.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.connections); });
  page.gauge("millrace_backend_active", "Connections that chose it and have not ended, connecting ones included.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.active); });
  page.counter("millrace_backend_bytes_total", "Bytes that went to it from clients (in) and came from it (out).");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.bytes); });
  page.counter("millrace_backend_connect_failures_total", "Connects that failed by its fault.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) {
    page.add<worker::ConnectFailure>(labels, b.connect_failures, worker::kConnectFailures);
  });
  page.histogram("millrace_backend_connect_seconds", "How long connects took that succeeded.");
  for_backends(status, [&](const Labels& labels, const BackendStatus& b) { page.add(labels, b.connect_times); });
}

void add_totals(Page& page, const Status& status) {
  page.counter("millrace_closes_total", "Connections and UDP sessions that ended, by what ended them.");
  page.add<flow::CloseReason>({}, status.closes, flow::kCloseReasons, 1);  // 0 is none
  page.counter("millrace_forwarded_bytes_total", "TCP bytes that were forwarded, both ways, by how.");
  page.add({{.name = "path", .value = "copy"}}, status.forwarded_bytes.copy);
  page.add({{.name = "path", .value = "splice"}}, status.forwarded_bytes.splice);
  page.gauge("millrace_udp_sessions_active", "UDP sessions that are open.");
  page.add({}, status.udp.sessions);
  page.counter("millrace_udp_datagrams_total", "Datagrams that came from clients (in) and were sent to them (out).");
  page.add({}, status.udp.datagrams);
  page.counter("millrace_udp_dropped_total", "Datagrams of either side that were not forwarded.");
  page.add<worker::Drop>({}, status.udp.dropped, worker::kDrops);
  page.counter("millrace_worker_busy_seconds_total", "How long the thread of the worker has been running on a CPU.");
  for (const WorkerStatus& worker : status.workers) {
    page.add({{.name = "worker", .value = std::to_string(worker.index)}}, worker.busy_seconds);
  }
}

}  // namespace

std::string metrics_text(const Status& status) {
  Page page;
  add_process(page, status);
  add_listeners(page, status);
  add_backend_state(page, status);
  add_backend_traffic(page, status);
  add_totals(page, status);
  return page.take();
}

}  // namespace millrace::admin
