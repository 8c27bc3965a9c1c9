#pragma once
// Reloader: reads the file again and applies what differs, while everything runs. All or nothing: a file with a
// problem, or an address that cannot be listened on, changes nothing.
//
// The order: sockets are opened first (that may fail), then limits and tables grow, then the prober and the workers are
// told. When apply() returns, every worker decides by the new configuration. It is called by one thread at a time,
// which admin::Operator sees to.

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "access_log.hpp"
#include "capacity.hpp"
#include "listening.hpp"
#include "millrace/admin/operator.hpp"
#include "millrace/admin/reload_report.hpp"
#include "millrace/base/log.hpp"
#include "millrace/config/config.hpp"
#include "millrace/pool/backend_table.hpp"
#include "millrace/worker/admission.hpp"
#include "millrace/worker/source_limits.hpp"
#include "threads.hpp"

namespace millrace::app {

/// Limits of a configuration, by listener of a snapshot.
[[nodiscard]] std::vector<std::uint32_t> listener_limits(const config::Config& config, const Capacity& capacity,
                                                         const pool::Snapshot& snapshot);
[[nodiscard]] std::vector<worker::SourceLimits::Rule> source_rules(const config::Config& config,
                                                                   const Capacity& capacity,
                                                                   const pool::Snapshot& snapshot);

[[nodiscard]] log::Level log_level(config::LogLevel level);
[[nodiscard]] log::Format log_format(config::LogFormat format);

class Reloader {
 public:
  /// What it changes; all of it outlives it.
  struct Parts {
    std::string file;  // empty: the balancer was started without one
    Machine machine;
    const Capacity& capacity;  // as it was at the start: what is reserved
    pool::BackendTable& table;
    worker::Admission& admission;
    worker::SourceLimits& source_limits;
    ListeningSockets& sockets;
    ProberThread& prober;
    accesslog::Writer& access_log;
    admin::Operator& desk;
    std::vector<worker::Worker*> workers;
  };

  Reloader(Parts parts, config::Config config) : parts_(std::move(parts)), config_(std::move(config)) {}

  [[nodiscard]] Result<admin::ReloadReport> run(bool plan);
  /// SIGTERM: how long to wait now.
  [[nodiscard]] Nanos shutdown_timeout() const { return Nanos(shutdown_timeout_.load()); }

 private:
  /// A configuration, and what it changes.
  struct Next {
    config::Config config{};
    pool::Directory directory{};
    pool::Directory::Changes changes{};
    admin::ReloadReport report{};
  };
  [[nodiscard]] Result<Next> prepare(config::Config config) const;
  [[nodiscard]] Result<admin::ReloadReport> apply(Next next);
  [[nodiscard]] std::vector<std::vector<io::Fd>> keep_draining(const Bound& bound);
  void set_limits(const config::Config& next, const pool::Snapshot& snapshot);
  void take_back_sockets();

  Parts parts_;
  config::Config config_;
  accesslog::Targets log_targets_ = access_log_targets(config_, parts_.desk.directory(), {});
  std::atomic<std::int64_t> shutdown_timeout_{config_.runtime.shutdown_timeout.count()};
};

}  // namespace millrace::app
