#include "millrace/admin/metrics.hpp"

#include <doctest/doctest.h>

namespace millrace::admin {

namespace {

Status example() {
  Status status;
  status.version = "1.2.3";
  status.listeners.push_back({.name = "web",
                              .protocol = "tcp",
                              .addresses = {},
                              .pool = "web",
                              .connections = 9'007'199'254'740'991,  // the most that a double has exactly
                              .refused = {{"denied", 2}},
                              .bytes = {.in = 3, .out = 4}});
  BackendStatus backend{.name = "a", .address = "10.0.0.1:80", .state = "draining", .health = "up"};
  backend.connect_times.count = 6;
  backend.connect_times.total_seconds = 0.5;
  backend.connect_times.classes.assign(worker::kConnectTimes.size() + 1, 0);
  backend.connect_times.classes[0] = 1;
  backend.connect_times.classes[4] = 2;
  backend.connect_times.classes.back() = 3;
  status.pools.push_back({.name = "web", .balance = "first", .failing_open = true, .backends = {backend}});
  return status;
}

bool has_line(const std::string& text, const std::string& line) {
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics_text: values, and zeros for what has not happened") {
  const std::string text = metrics_text(example());
  for (const char* line :
       {R"(millrace_build_info{version="1.2.3"} 1)", R"(millrace_config_generation 1)",
        R"(millrace_connections_total{listener="web"} 9007199254740991)",
        R"(millrace_connections_refused_total{listener="web",reason="denied"} 2)",
        R"(millrace_connections_refused_total{listener="web",reason="rate_limit"} 0)",
        R"(millrace_bytes_total{listener="web",direction="in"} 3)",
        R"(millrace_bytes_total{listener="web",direction="out"} 4)", R"(millrace_backend_up{pool="web",backend="a"} 1)",
        R"(millrace_backend_state{pool="web",backend="a",state="draining"} 1)",
        R"(millrace_backend_state{pool="web",backend="a",state="up"} 0)", R"(millrace_pool_fail_open{pool="web"} 1)",
        R"(millrace_closes_total{reason="client_fin"} 0)", R"(# TYPE millrace_closes_total counter)"}) {
    CHECK_MESSAGE(has_line(text, line), line);
  }
  CHECK(text.find("reason=\"none\"") == std::string::npos);
}

TEST_CASE("metrics_text: the buckets of a histogram count all below them") {
  const std::string text = metrics_text(example());
  const std::string name = R"(millrace_backend_connect_seconds)";
  const std::string labels = R"(pool="web",backend="a")";
  for (const std::string& line :
       {name + "_count{" + labels + "} 6", name + "_sum{" + labels + "} 0.5",
        name + "_bucket{" + labels + R"(,le="5"} 3)", name + "_bucket{" + labels + R"(,le="+Inf"} 6)"}) {
    CHECK_MESSAGE(has_line(text, line), line);
  }
}

}  // namespace millrace::admin
