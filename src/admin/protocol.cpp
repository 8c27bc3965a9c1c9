#include "millrace/admin/protocol.hpp"

#include <fmt/format.h>

#include <array>

#include "millrace/admin/json.hpp"
#include "millrace/admin/operator.hpp"

namespace millrace::admin {

namespace {

using nlohmann::json;

/// The arguments of a request: those that are asked for by their types, all others refused.
class Arguments {
 public:
  explicit Arguments(const json& request) : request_(request) {}

  [[nodiscard]] std::string text(const char* key, bool required = false) {
    const auto found = request_.find(key);
    if (found == request_.end()) {
      if (required) problem_ = fmt::format("{} is missing", key);
      return {};
    }
    if (!found->is_string()) {
      problem_ = fmt::format("{} must be a string", key);
      return {};
    }
    return found->get<std::string>();
  }
  [[nodiscard]] std::uint32_t number(const char* key, std::uint32_t otherwise) {
    const auto found = request_.find(key);
    if (found == request_.end()) return otherwise;
    if (!found->is_number_unsigned() || found->get<std::uint64_t>() > 0xffffffffU) {
      problem_ = fmt::format("{} must be a whole number from 0", key);
      return otherwise;
    }
    return found->get<std::uint32_t>();
  }
  [[nodiscard]] bool flag(const char* key) {
    const auto found = request_.find(key);
    if (found == request_.end()) return false;
    if (!found->is_boolean()) {
      problem_ = fmt::format("{} must be true or false", key);
      return false;
    }
    return found->get<bool>();
  }
  [[nodiscard]] bool has(const char* key) const { return request_.contains(key); }
  /// Empty when all were there and right.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  void complain(std::string problem) { problem_ = std::move(problem); }

 private:
  const json& request_;
  std::string problem_;
};

std::string success(json result) {
  return to_line({{"version", kProtocolVersion}, {"ok", true}, {"result", std::move(result)}});
}

template <class T>
std::string answer_of(const Result<T>& result) {
  return result ? success(json(result.value())) : refusal("failed", result.error());
}

std::string on_status(Arguments& /*arguments*/, Operator& desk) {
  return success(json(desk.status()));
}

std::string on_backend(Arguments& arguments, Operator& desk) {
  const std::string pool = arguments.text("pool", true);
  const std::string backend = arguments.text("backend", true);
  const std::string action = arguments.text("action", true);
  BackendChange change;
  if (action == "drain") {
    change.kind = BackendChange::Kind::drain;
  } else if (action == "enable") {
    change.kind = BackendChange::Kind::enable;
  } else if (action == "disable") {
    change.kind = BackendChange::Kind::disable;
  } else if (action == "weight") {
    change.kind = BackendChange::Kind::weight;
    change.weight = arguments.number("weight", 0);
    if (!arguments.has("weight")) arguments.complain("weight is missing");
  } else if (arguments.problem().empty()) {
    arguments.complain("action must be drain, enable, disable or weight");
  }
  if (!arguments.problem().empty()) return refusal("bad_request", arguments.problem());
  return answer_of(desk.change(pool, backend, change));
}

std::string on_connections(Arguments& arguments, Operator& desk) {
  ConnectionQuery query;
  query.listener = arguments.text("listener");
  query.pool = arguments.text("pool");
  query.backend = arguments.text("backend");
  query.after = arguments.text("after");
  query.limit = arguments.number("limit", 1000);
  if (!arguments.problem().empty()) return refusal("bad_request", arguments.problem());
  return answer_of(desk.connections(query));
}

std::string on_kill(Arguments& arguments, Operator& desk) {
  const std::string id = arguments.text("id", true);
  if (!arguments.problem().empty()) return refusal("bad_request", arguments.problem());
  return answer_of(desk.kill(id));
}

std::string on_why(Arguments& arguments, Operator& desk) {
  const std::string client = arguments.text("client", true);
  const std::string listener = arguments.text("listener");
  if (!arguments.problem().empty()) return refusal("bad_request", arguments.problem());
  return answer_of(desk.why(client, listener));
}

std::string on_reload(Arguments& arguments, Operator& desk) {
  const bool plan = arguments.flag("plan");
  if (!arguments.problem().empty()) return refusal("bad_request", arguments.problem());
  return answer_of(desk.reload(plan));
}

struct Command {
  std::string_view name;
  std::string (*run)(Arguments&, Operator&);
};
constexpr std::array kCommands = {
    Command{"status", on_status}, Command{"backend", on_backend}, Command{"connections", on_connections},
    Command{"kill", on_kill},     Command{"why", on_why},         Command{"reload", on_reload}};

}  // namespace

std::string refusal(std::string_view code, std::string_view message) {
  return to_line({{"version", kProtocolVersion}, {"ok", false}, {"error", {{"code", code}, {"message", message}}}});
}

std::string answer(std::string_view request, Operator& desk) {
  const json parsed = json::parse(request, nullptr, false);
  if (!parsed.is_object()) return refusal("bad_request", "a request is a line with one JSON object");
  const auto version = parsed.find("version");
  if (version == parsed.end() || *version != kProtocolVersion) {
    return refusal("bad_version", fmt::format("this balancer speaks version {}; say \"version\":{}", kProtocolVersion,
                                              kProtocolVersion));
  }
  Arguments arguments(parsed);
  const std::string name = arguments.text("command", true);
  for (const Command& command : kCommands) {
    if (command.name == name) return command.run(arguments, desk);
  }
  return refusal("unknown_command", name.empty() ? "command is missing" : "there is no command " + name);
}

}  // namespace millrace::admin
