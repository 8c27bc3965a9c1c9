#include "http.hpp"

#include <utility>

#include "millrace/base/log.hpp"

namespace millrace::app {

std::unique_ptr<HttpService> HttpService::start(const config::Admin& admin, admin::HttpSources sources) {
  if (admin.http.empty()) return nullptr;
  const Result<net::AddressText> address = net::parse_address(admin.http);  // the checker has seen it
  const bool loopback = address && address.value().endpoint.is_loopback();
  std::unique_ptr<HttpService> service(
      new HttpService({.loopback = loopback, .token = admin.token}, std::move(sources)));
  const admin::HttpApi& api = service->api_;
  Result<std::unique_ptr<admin::HttpServer>> started =
      admin::HttpServer::start({.address = address.value()},
                               {.at_once = [&api](const admin::HttpRequest& request) { return api.at_once(request); },
                                .in_turn = [&api](const admin::HttpRequest& request) { return api.in_turn(request); }});
  if (!started) {
    log::warn("http_off", {{"reason", started.error()}, {"remedy", "free it, or set [admin] http to another address"}});
    return nullptr;
  }
  service->server_ = std::move(started).value();
  log::info("http_listening", {{"address", service->server_->address().to_string()}});
  return service;
}

}  // namespace millrace::app
