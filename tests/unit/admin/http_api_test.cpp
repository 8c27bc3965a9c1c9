#include "millrace/admin/http_api.hpp"

#include <doctest/doctest.h>

#include "http_rules.hpp"
#include "millrace/admin/json.hpp"

namespace millrace::admin {

namespace {

using nlohmann::json;

HttpRequest get(const std::string& path) {
  return {.method = "GET", .path = path, .fields = {{"host", "127.0.0.1:9900"}}};
}

HttpRequest post(const std::string& path, const std::string& token = "secret") {
  return {.method = "POST",
          .path = path,
          .fields = {{"host", "127.0.0.1:9900"},
                     {"authorization", "Bearer " + token},
                     {"content-type", "application/json"}},
          .body = "{}"};
}

constexpr const char* kPublic[] = {"/", "/healthz", "/readyz"};
constexpr const char* kQueries[] = {"/metrics", "/api/v1/status", "/api/v1/connections", "/api/v1/why"};
constexpr const char* kChanges[] = {"/api/v1/backend", "/api/v1/connections/kill", "/api/v1/reload"};

/// Remembers what it was asked.
struct Desk {
  HttpApi api(bool loopback, std::string token) {
    return HttpApi({.loopback = loopback, .token = std::move(token)}, {.ready = [this] { return ready; },
                                                                       .ask =
                                                                           [this](std::string_view request) {
                                                                             asked = json::parse(request);
                                                                             return answer;
                                                                           },
                                                                       .metrics = [] { return "metrics"; }});
  }
  bool ready = true;
  json asked;
  std::string answer = R"({"version":1,"ok":true,"result":{"x":1}})";
};

/// 0: it would be answered.
int refusal_of(const HttpApi& api, const HttpRequest& request) {
  const auto response = api.at_once(request);
  return !response || response->status == 200 ? 0 : response->status;
}

}  // namespace

TEST_CASE("on a loopback address everything may be read, and changes need the token") {
  Desk desk;
  const HttpApi api = desk.api(true, "secret");
  for (const char* path : kPublic) CHECK(refusal_of(api, get(path)) == 0);
  for (const char* path : kQueries) CHECK(refusal_of(api, get(path)) == 0);
  for (const char* path : kChanges) {
    CHECK(refusal_of(api, post(path)) == 0);
    CHECK(refusal_of(api, post(path, "wrong")) == 401);
    HttpRequest without = post(path);
    without.fields.erase("authorization");
    CHECK(refusal_of(api, without) == 401);
  }
}

TEST_CASE("without a token nothing can be changed, with whatever is sent") {
  Desk desk;
  const HttpApi api = desk.api(true, "");
  for (const char* path : kChanges) {
    CHECK(refusal_of(api, post(path, "")) == 403);
    CHECK(refusal_of(api, post(path, "x")) == 403);
  }
}

TEST_CASE("on another address all but health and the page needs the token, and the name does not matter") {
  Desk desk;
  const HttpApi api = desk.api(false, "secret");
  for (const char* path : kPublic) CHECK(refusal_of(api, get(path)) == 0);
  for (const char* path : kQueries) {
    HttpRequest request = get(path);
    CHECK(refusal_of(api, request) == 401);
    CHECK(api.at_once(request)->fields.front().first == "WWW-Authenticate");
    request.fields["authorization"] = "bearer secret";
    request.fields["host"] = "lb.example.com";
    CHECK(refusal_of(api, request) == 0);
  }
}

TEST_CASE("pages from elsewhere reach nothing") {
  Desk desk;
  const HttpApi api = desk.api(true, "secret");
  HttpRequest rebound = get("/api/v1/status");
  rebound.fields["host"] = "evil.example:9900";
  CHECK(refusal_of(api, rebound) == 421);
  rebound.path = "/";
  CHECK(refusal_of(api, rebound) == 421);
  rebound.path = "/healthz";  // probes ask for whatever they were given
  CHECK(refusal_of(api, rebound) == 0);
  HttpRequest change = post("/api/v1/backend");
  change.fields["origin"] = "http://127.0.0.1:9900";
  CHECK(refusal_of(api, change) == 0);
  for (const char* origin : {"http://evil.example", "null", "http://127.0.0.1:9901", "http://127.0.0.1"}) {
    change.fields["origin"] = origin;
    CHECK(refusal_of(api, change) == 403);
  }
  change.fields.erase("origin");
  for (const char* site : {"cross-site", "same-site"}) {
    change.fields["sec-fetch-site"] = site;
    CHECK(refusal_of(api, change) == 403);
  }
  change.fields["sec-fetch-site"] = "same-origin";
  CHECK(refusal_of(api, change) == 0);
}

TEST_CASE("methods, types and paths") {
  Desk desk;
  const HttpApi api = desk.api(true, "secret");
  for (const char* path : kQueries) CHECK(refusal_of(api, post(path)) == 405);
  for (const char* path : kChanges) {
    CHECK(refusal_of(api, get(path)) == 405);
    HttpRequest form = post(path);
    form.fields["content-type"] = "application/x-www-form-urlencoded";
    CHECK(refusal_of(api, form) == 415);
    form.fields["content-type"] = "application/json; charset=utf-8";
    CHECK(refusal_of(api, form) == 0);
  }
  HttpRequest options = get("/");
  options.method = "OPTIONS";
  CHECK(refusal_of(api, options) == 405);
  for (const char* path : {"/x", "/api/v1", "/api/v1/status/", "//", "/healthz/", "/../etc/passwd", "/STATUS"}) {
    CHECK(refusal_of(api, get(path)) == 404);
  }
}

TEST_CASE("readiness") {
  Desk desk;
  const HttpApi api = desk.api(true, "");
  CHECK(api.at_once(get("/readyz"))->status == 200);
  desk.ready = false;
  CHECK(api.at_once(get("/readyz"))->status == 503);
  CHECK(api.at_once(get("/healthz"))->status == 200);
}

TEST_CASE("the page may run what is in it and nothing else") {
  Desk desk;
  const auto page = desk.api(true, "").at_once(get("/"));
  CHECK(page->content_type == "text/html; charset=utf-8");
  CHECK(page->body.find("<title>millrace") != std::string::npos);
  const std::string& policy = page->content_security_policy;
  CHECK(policy.find("script-src 'sha256-") != std::string::npos);
  CHECK(policy.find("style-src 'sha256-") != std::string::npos);
  CHECK(policy.find("default-src 'none'") != std::string::npos);
  CHECK(policy.find("frame-ancestors 'none'") != std::string::npos);
  CHECK(policy.find("unsafe") == std::string::npos);
}

TEST_CASE("a query becomes a request of the control protocol") {
  Desk desk;
  HttpRequest request = get("/api/v1/connections");
  request.query = {{"limit", "7"}, {"listener", "7"}, {"command", "kill"}, {"version", "9"}};
  const HttpResponse response = desk.api(true, "").in_turn(request);
  CHECK(response.status == 200);
  CHECK(response.content_type == "application/json");
  CHECK(response.body == "{\"x\":1}\n");
  CHECK(desk.asked == json{{"version", 1}, {"command", "connections"}, {"limit", 7}, {"listener", "7"}});
}

TEST_CASE("a change becomes a request of the control protocol, and its error a status") {
  Desk desk;
  const HttpApi api = desk.api(true, "secret");
  HttpRequest request = post("/api/v1/backend");
  request.body = R"({"pool":"web","weight":3,"command":"status"})";
  desk.answer = R"({"version":1,"ok":false,"error":{"code":"failed","message":"no"}})";
  const HttpResponse response = api.in_turn(request);
  CHECK(response.status == 422);
  CHECK(json::parse(response.body) == json{{"error", {{"code", "failed"}, {"message", "no"}}}});
  CHECK(desk.asked == json{{"version", 1}, {"command", "backend"}, {"pool", "web"}, {"weight", 3}});
  for (const char* body : {"[]", "1", "{", "{}{}", "null"}) {
    request.body = body;
    CHECK(api.in_turn(request).status == 400);
  }
  request.body = "";
  CHECK(api.in_turn(request).status == 422);
}

TEST_CASE("names of this machine") {
  for (const char* host :
       {"localhost", "LocalHost:80", "127.0.0.1", "127.0.0.1:9900", "[::1]", "[::1]:9900", "10.0.0.1:1"}) {
    CHECK(names_this_machine(host));
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "*", "*:80",
                           "unix:/x", "evil.example:127.0.0.1", "0x7f.1", "[::1", "127.0.0.1:80:80"}) {
    CHECK_FALSE(names_this_machine(host));
  }
}

TEST_CASE("the token, all of it and nothing more") {
  const auto with = [](const char* field) {
    HttpRequest request = get("/");
    request.fields["authorization"] = field;
    return request;
  };
  CHECK(has_token(with("Bearer abc"), "abc"));
  CHECK(has_token(with("BEARER abc"), "abc"));
  for (const char* field : {"", "abc", "Bearer", "Bearer ", "Bearer ab", "Bearer abcd", "Bearer abd", "Bearer  abc",
                            "Basic abc", "Bearer abcabc", "Bearer abc "}) {
    CHECK_FALSE(has_token(with(field), "abc"));
  }
  CHECK_FALSE(has_token(with("Bearer "), ""));
}

}  // namespace millrace::admin
