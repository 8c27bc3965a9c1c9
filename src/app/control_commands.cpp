#include "control_commands.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <thread>

#include "control_answer.hpp"
#include "millrace/admin/control_client.hpp"
#include "millrace/admin/json.hpp"
#include "millrace/admin/protocol.hpp"
#include "millrace/admin/text.hpp"

namespace millrace::app {

namespace {

using nlohmann::json;

constexpr int kDone = 0;
constexpr int kFailed = 1;
constexpr int kWrongUsage = 2;
constexpr auto kLookAgain = std::chrono::milliseconds(200);  // of a drain that is waited for

int fail(std::string_view message, int status = kFailed) {
  fmt::print(stderr, "millrace: error: {}\n", message);
  return status;
}

bool use_colours() {
  return ::isatty(STDOUT_FILENO) == 1 &&
         std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe): one thread
}

/// The result of a command; empty after its problem has been printed.
std::optional<json> ask(admin::ControlClient& client, json request) {
  request["version"] = admin::kProtocolVersion;
  const Result<std::string> line = client.ask(request.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (!line) {
    fail(line.error());
    return std::nullopt;
  }
  Result<json> result = result_of(line.value());
  if (result) return std::move(result).value();
  fail(result.error());
  return std::nullopt;
}

std::optional<admin::ControlClient> connect(const ControlTarget& target) {
  Result<admin::ControlClient> client = admin::ControlClient::connect(target.socket);
  if (client) return std::move(client).value();
  fail(client.error());
  return std::nullopt;
}

std::optional<json> ask(const ControlTarget& target, json request) {
  std::optional<admin::ControlClient> client = connect(target);
  return client ? ask(*client, std::move(request)) : std::nullopt;
}

void print(const json& value) {
  fmt::print("{}", admin::to_line(value));
}

/// Prints it as JSON or as what `text` makes of it.
template <class T, class Text>
int show(const ControlTarget& target, const std::optional<json>& result, Text&& text) {
  if (!result) return kFailed;
  if (target.json) {
    print(*result);
    return kDone;
  }
  try {
    fmt::print("{}", text(result->get<T>()));
  } catch (const json::exception&) {
    return fail("the balancer's answer is not understood; are its version and this one the same?");
  }
  return kDone;
}

std::string line_of(const std::string& name, const admin::BackendStatus& backend) {
  return fmt::format("{}: {}, weight {}, {} active\n", admin::printable(name), backend.state, backend.weight,
                     backend.active);
}

/// All pages of a list of connections; empty after its problem has been printed.
std::optional<json> ask_for_all(admin::ControlClient& client, json request) {
  json all = json::array();
  for (;;) {
    const std::optional<json> page = ask(client, request);
    if (!page) return std::nullopt;
    for (const json& connection : (*page)["connections"]) all.push_back(connection);
    const std::string next = page->value("next", "");
    if (next.empty()) return all;
    request["after"] = next;
  }
}

std::optional<admin::BackendStatus> find_backend(const admin::Status& status, const json& request) {
  for (const admin::PoolStatus& pool : status.pools) {
    if (pool.name != request["pool"]) continue;
    for (const admin::BackendStatus& backend : pool.backends) {
      if (backend.name == request["backend"]) return backend;
    }
  }
  return std::nullopt;
}

/// Drains, and says how many are left each time that it changes, until there are none.
int drain_to_the_end(const ControlTarget& target, admin::ControlClient& client, const json& request,
                     const std::string& name) {
  if (!ask(client, request)) return kFailed;
  std::optional<std::uint32_t> last;
  for (;;) {
    const std::optional<json> status = ask(client, {{"command", "status"}});
    if (!status) return kFailed;
    const std::optional<admin::BackendStatus> backend = find_backend(status->get<admin::Status>(), request);
    if (!backend || backend->state != "draining") return fail(name + " is not draining any more; who enabled it?");
    if (backend->active == 0) {
      if (target.json) print(json(*backend));
      if (!target.json) fmt::print("{}: drained\n", admin::printable(name));
      return kDone;
    }
    if (!target.json && last != backend->active) {
      fmt::print("{}", line_of(name, *backend));
      std::fflush(stdout);
    }
    last = backend->active;
    std::this_thread::sleep_for(kLookAgain);
  }
}

/// Drains, and ends what is left: the oldest first, at a steady rate. Whoever interrupts it leaves the rest in peace.
int drain_over(const ControlTarget& target, admin::ControlClient& client, const json& request,
               const BackendOrder& order) {
  if (!ask(client, request)) return kFailed;
  const std::optional<json> listed =
      ask_for_all(client, {{"command", "connections"}, {"pool", request["pool"]}, {"backend", request["backend"]}});
  if (!listed) return kFailed;
  auto left = listed->get<std::vector<admin::ConnectionStatus>>();
  std::stable_sort(left.begin(), left.end(),
                   [](const auto& a, const auto& b) { return a.age_seconds > b.age_seconds; });
  if (!target.json) {
    fmt::print("{}: ends {} connections over {}\n", admin::printable(order.backend), left.size(),
               admin::time_text(order.over_seconds));
    std::fflush(stdout);
  }
  const auto begun = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < left.size(); ++i) {
    const double part = static_cast<double>(i + 1) / static_cast<double>(left.size());
    const std::chrono::duration<double> due(order.over_seconds * part);
    std::this_thread::sleep_until(begun + std::chrono::duration_cast<std::chrono::nanoseconds>(due));
    const json kill = {{"version", admin::kProtocolVersion}, {"command", "kill"}, {"id", left[i].id}};
    const Result<std::string> answer = client.ask(kill.dump());  // that it is not there is no failure: it has ended
    if (!answer) return fail(answer.error());
  }
  return drain_to_the_end(target, client, request, order.backend);
}

}  // namespace

int show_status(const ControlTarget& target) {
  return show<admin::Status>(target, ask(target, {{"command", "status"}}),
                             [](const admin::Status& status) { return admin::to_text(status, use_colours()); });
}

int change_backend(const ControlTarget& target, const BackendOrder& order) {
  const std::size_t slash = order.backend.find('/');
  if (slash == std::string::npos) {
    return fail(fmt::format("{}: write POOL/NAME, as `millrace status` shows them", order.backend), kWrongUsage);
  }
  json request = {{"command", "backend"},
                  {"pool", order.backend.substr(0, slash)},
                  {"backend", order.backend.substr(slash + 1)},
                  {"action", order.action}};
  if (order.action == "weight") {
    std::uint32_t weight = 0;
    const char* const end = order.weight.data() + order.weight.size();
    const auto [rest, error] = std::from_chars(order.weight.data(), end, weight);
    if (error != std::errc() || rest != end || weight > admin::kWeightMax) {
      return fail("weight needs a number from 0 to 1000: millrace backend POOL/NAME weight 5", kWrongUsage);
    }
    request["weight"] = weight;
  } else if (!order.weight.empty()) {
    return fail(fmt::format("{} takes no number", order.action), kWrongUsage);
  }
  if (order.wait && order.action != "drain") return fail("--wait goes with drain", kWrongUsage);
  if (order.over_seconds > 0 && order.action != "drain") return fail("--over goes with drain", kWrongUsage);
  std::optional<admin::ControlClient> client = connect(target);
  if (!client) return kFailed;
  if (order.over_seconds > 0) return drain_over(target, *client, request, order);
  if (order.wait) return drain_to_the_end(target, *client, request, order.backend);
  return show<admin::BackendStatus>(target, ask(*client, request), [&](const admin::BackendStatus& backend) {
    return line_of(order.backend, backend);
  });
}

int list_connections(const ControlTarget& target, const ConnectionsWanted& wanted) {
  json request = {{"command", "connections"}};
  if (!wanted.listener.empty()) request["listener"] = wanted.listener;
  std::string pool = wanted.pool;
  std::string backend = wanted.backend;
  if (const std::size_t slash = backend.find('/'); pool.empty() && slash != std::string::npos) {
    pool = backend.substr(0, slash);
    backend.erase(0, slash + 1);
  }
  if (!pool.empty()) request["pool"] = pool;
  if (!backend.empty()) request["backend"] = backend;
  std::optional<admin::ControlClient> client = connect(target);
  if (!client) return kFailed;
  const std::optional<json> all = ask_for_all(*client, request);
  return show<std::vector<admin::ConnectionStatus>>(
      target, all, [](const std::vector<admin::ConnectionStatus>& found) { return admin::to_text(found); });
}

int kill_connection(const ControlTarget& target, const std::string& id) {
  return show<std::string>(target, ask(target, {{"command", "kill"}, {"id", id}}),
                           [](const std::string& killed) { return admin::printable(killed) + ": killed\n"; });
}

int reload(const ControlTarget& target, bool plan) {
  return show<admin::ReloadReport>(target, ask(target, {{"command", "reload"}, {"plan", plan}}),
                                   [](const admin::ReloadReport& report) { return admin::to_text(report); });
}

int explain_choice(const ControlTarget& target, const std::string& client, const std::string& listener) {
  json request = {{"command", "why"}, {"client", client}};
  if (!listener.empty()) request["listener"] = listener;
  return show<std::vector<admin::Explanation>>(
      target, ask(target, std::move(request)),
      [](const std::vector<admin::Explanation>& explanations) { return admin::to_text(explanations); });
}

}  // namespace millrace::app
