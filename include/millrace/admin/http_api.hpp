#pragma once
// HttpApi: what is served over HTTP, and who may have it (docs/http.md). Requests of /api/v1 are those of the control
// protocol; this turns the one into the other. Called by the threads of an HttpServer.

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "millrace/admin/http_message.hpp"

namespace millrace::admin {

struct HttpAccess {
  bool loopback = true;  // only this machine can reach the address
  std::string token;     // empty: none
};

struct HttpSources {
  std::function<bool()> ready;                               // whether new connections are welcome
  std::function<std::string(std::string_view request)> ask;  // of the control protocol
  std::function<std::string()> metrics;                      // the text format of Prometheus
};

class HttpApi {
 public:
  HttpApi(HttpAccess access, HttpSources sources) : access_(std::move(access)), sources_(std::move(sources)) {}

  /// See HttpHandlers.
  [[nodiscard]] std::optional<HttpResponse> at_once(const HttpRequest& request) const;
  [[nodiscard]] HttpResponse in_turn(const HttpRequest& request) const;

 private:
  struct Route;
  [[nodiscard]] static const Route* find(std::string_view path);
  [[nodiscard]] std::optional<HttpResponse> refusal(const Route& route, const HttpRequest& request) const;
  [[nodiscard]] std::optional<HttpResponse> refused_token(const Route& route, const HttpRequest& request) const;

  HttpAccess access_;
  HttpSources sources_;
};

}  // namespace millrace::admin
