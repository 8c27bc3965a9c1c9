#include "millrace/admin/http_api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "dashboard.hpp"
#include "http_rules.hpp"
#include "millrace/admin/json.hpp"
#include "millrace/admin/protocol.hpp"

namespace millrace::admin {

using nlohmann::json;

namespace {

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kApi = "/api/";
constexpr std::string_view kMetricsType = "text/plain; version=0.0.4; charset=utf-8";

/// For a person as a line of text; of the API as the error object of the control protocol.
HttpResponse problem(std::string_view path, int status, std::string_view code, std::string_view message) {
  if (!path.starts_with(kApi)) return {.status = status, .body = fmt::format("{}\n", message)};
  return {.status = status,
          .content_type = std::string(kJson),
          .body = to_line({{"error", {{"code", code}, {"message", message}}}})};
}

int status_of(std::string_view code) {
  if (code == "unknown_command") return 501;
  if (code == "failed") return 422;
  return 400;
}

bool is_json(std::string_view content_type) {
  return content_type.substr(0, content_type.find(';')) == kJson;
}

/// As the control protocol has it: numbers are numbers there.
json value_of(const std::string& key, const std::string& text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return key == "limit" && whole ? json(number) : json(text);
}

}  // namespace

struct HttpApi::Route {
  enum class Kind { health, readiness, page, metrics, query, change } kind;
  std::string_view path;
  std::string_view command{};  // of the control protocol

  [[nodiscard]] bool is_public() const { return kind == Kind::health || kind == Kind::readiness || kind == Kind::page; }
};

const HttpApi::Route* HttpApi::find(std::string_view path) {
  using Kind = Route::Kind;
  static constexpr std::array kRoutes = {
      Route{Kind::page, "/"},
      Route{Kind::health, "/healthz"},
      Route{Kind::readiness, "/readyz"},
      Route{Kind::metrics, "/metrics"},
      Route{Kind::query, "/api/v1/status", "status"},
      Route{Kind::query, "/api/v1/connections", "connections"},
      Route{Kind::query, "/api/v1/why", "why"},
      Route{Kind::change, "/api/v1/backend", "backend"},
      Route{Kind::change, "/api/v1/connections/kill", "kill"},
      Route{Kind::change, "/api/v1/reload", "reload"},
  };
  const auto* found = std::find_if(kRoutes.begin(), kRoutes.end(), [&](const Route& r) { return r.path == path; });
  return found == kRoutes.end() ? nullptr : found;
}

std::optional<HttpResponse> HttpApi::at_once(const HttpRequest& request) const {
  const Route* route = find(request.path);
  if (route == nullptr) {
    return problem(request.path, 404, "not_found", fmt::format("there is nothing at {}", request.path));
  }
  if (auto refused = refusal(*route, request)) return refused;
  switch (route->kind) {
    case Route::Kind::health:
      return HttpResponse{.body = "ok\n"};
    case Route::Kind::readiness:
      if (sources_.ready()) return HttpResponse{.body = "ready\n"};
      return HttpResponse{.status = 503, .body = "not ready: starting or stopping\n"};
    case Route::Kind::page:
      return HttpResponse{.content_type = "text/html; charset=utf-8",
                          .body = std::string(dashboard_html()),
                          .content_security_policy =
                              fmt::format("default-src 'none'; {}; connect-src 'self'; img-src data:; base-uri 'none'; "
                                          "form-action 'none'; frame-ancestors 'none'",
                                          dashboard_sources())};
    case Route::Kind::metrics:
    case Route::Kind::query:
    case Route::Kind::change:
      break;
  }
  return std::nullopt;
}

std::optional<HttpResponse> HttpApi::refusal(const Route& route, const HttpRequest& request) const {
  const bool change = route.kind == Route::Kind::change;
  const bool right_method = change ? request.method == "POST" : request.method == "GET" || request.method == "HEAD";
  if (!right_method) {
    HttpResponse response =
        problem(route.path, 405, "bad_method", fmt::format("{} wants {}", route.path, change ? "POST" : "GET"));
    response.fields.emplace_back("Allow", change ? "POST" : "GET, HEAD");
    return response;
  }
  if (route.kind == Route::Kind::health || route.kind == Route::Kind::readiness) return std::nullopt;
  if (access_.loopback && !names_this_machine(request.field("host"))) {
    return problem(route.path, 421, "bad_host",
                   "the Host field names another machine; ask for localhost, or for an address");
  }
  if (change && !same_origin(request)) {
    return problem(route.path, 403, "bad_origin", "a page from elsewhere cannot change anything here");
  }
  if (auto refused = refused_token(route, request)) return refused;
  if (change && !is_json(request.field("content-type"))) {
    return problem(route.path, 415, "bad_request", "the Content-Type of a change is application/json");
  }
  return std::nullopt;
}

std::optional<HttpResponse> HttpApi::refused_token(const Route& route, const HttpRequest& request) const {
  const bool change = route.kind == Route::Kind::change;
  if (route.is_public() || (access_.loopback && !change)) return std::nullopt;
  if (access_.token.empty()) {
    return problem(route.path, 403, "forbidden",
                   "changes over HTTP need a token: set [admin] token, or use the commands (millrace backend, …)");
  }
  if (has_token(request, access_.token)) return std::nullopt;
  HttpResponse response = problem(route.path, 401, "unauthorized",
                                  request.field("authorization").empty()
                                      ? "this needs the token: Authorization: Bearer TOKEN ([admin] token)"
                                      : "this is not the token of [admin]");
  response.fields.emplace_back("WWW-Authenticate", "Bearer realm=\"millrace\"");
  return response;
}

HttpResponse HttpApi::in_turn(const HttpRequest& request) const {
  const Route& route = *find(request.path);
  if (route.kind == Route::Kind::metrics) {
    return {.content_type = std::string(kMetricsType), .body = sources_.metrics()};
  }
  json question = json::object();
  if (route.kind == Route::Kind::change) {
    question = request.body.empty() ? json::object() : json::parse(request.body, nullptr, false);
    if (!question.is_object()) return problem(route.path, 400, "bad_request", "the body is no JSON object");
  } else {
    for (const auto& [key, value] : request.query) question[key] = value_of(key, value);
  }
  question["version"] = kProtocolVersion;
  question["command"] = route.command;
  const json answer = json::parse(sources_.ask(to_line(question)));
  if (answer["ok"].get<bool>()) return {.content_type = std::string(kJson), .body = to_line(answer["result"])};
  const json& error = answer["error"];
  const auto code = error["code"].get<std::string>();
  return problem(route.path, status_of(code), code, error["message"].get<std::string>());
}

}  // namespace millrace::admin
