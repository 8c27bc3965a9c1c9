#pragma once
// The HTTP side of a running balancer: the server and what it serves.

#include <memory>

#include "millrace/admin/http_api.hpp"
#include "millrace/admin/http_server.hpp"
#include "millrace/config/config.hpp"

namespace millrace::app {

class HttpService {
 public:
  /// Null when [admin] http is off, or when something is in the way; the log says which. What `sources` calls must
  /// outlive it.
  [[nodiscard]] static std::unique_ptr<HttpService> start(const config::Admin& admin, admin::HttpSources sources);

 private:
  HttpService(admin::HttpAccess access, admin::HttpSources sources) : api_(std::move(access), std::move(sources)) {}

  admin::HttpApi api_;
  std::unique_ptr<admin::HttpServer> server_;  // last: it calls the other
};

}  // namespace millrace::app
