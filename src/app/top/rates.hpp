#pragma once
// What a status alone does not say: how fast things go. Made from one status after another; knows neither terminal nor
// socket.

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "millrace/admin/status.hpp"

namespace millrace::app::top {

/// Of one thing, a second.
struct Rates {
  double connections = 0;  // new ones
  double in = 0;           // bytes
  double out = 0;
  double failures = 0;  // of a listener: connections it refused; of a backend: connects that failed
};

/// The last samples of a rate. They are numbered from the first one on, so that a picture of them can move steadily.
class History {
 public:
  void add(double value, std::size_t kept);
  /// The last `samples` in `width` columns, each the mean of its samples; nothing where there are none yet.
  [[nodiscard]] std::vector<std::optional<double>> columns(std::size_t samples, std::size_t width) const;
  [[nodiscard]] double max() const;

 private:
  std::deque<double> values_;
  std::size_t first_ = 0;  // number of the oldest
};

struct ListenerView {
  std::string name;
  std::string address;
  std::string pool;
  std::uint64_t active = 0;
  Rates rates;
};

struct BackendView {
  std::string name;
  std::string address;
  std::string state;
  std::string health;
  std::uint32_t weight = 1;
  bool backup = false;
  std::uint32_t active = 0;
  Rates rates;
  std::optional<double> p50_ms;  // of the last minute's connects
  std::optional<double> p99_ms;
  History connections;
};

struct PoolView {
  std::string name;
  std::string balance;
  std::vector<BackendView> backends;
  std::size_t up = 0;
  std::uint64_t active = 0;
  Rates rates;
  History connections;
};

struct Picture {
  std::string version;
  std::int64_t pid = 0;
  double uptime_seconds = 0;
  std::size_t workers = 0;
  std::uint64_t generation = 1;  // of the configuration
  bool reload_failed = false;    // the last one
  std::uint64_t active = 0;
  Rates rates;          // of all listeners
  double failures = 0;  // connects to backends that failed, a second
  History connections;
  History bytes;  // both ways
  std::vector<ListenerView> listeners;
  std::vector<PoolView> pools;
};

class Gauge {
 public:
  /// Keeps so many samples of each rate: what makes a minute.
  explicit Gauge(std::size_t samples) : samples_(samples) {}

  /// Another pid, or less time than before, is another balancer: everything begins anew.
  void add(const admin::Status& status);
  [[nodiscard]] const Picture& picture() const { return picture_; }
  [[nodiscard]] std::size_t samples() const { return samples_; }

 private:
  /// What is kept of a backend or a pool between two looks.
  struct Track {
    History connections;
    std::deque<std::vector<std::uint64_t>> classes;  // of connect times
    bool seen = false;
  };

  void add_listeners(const admin::Status& status);
  void add_pools(const admin::Status& status);
  [[nodiscard]] BackendView backend_view(const admin::BackendStatus& now, const admin::BackendStatus* before,
                                         Track& track);
  /// By how much a count grew, a second. A count that shrank is another's.
  [[nodiscard]] double rate(std::uint64_t now, std::uint64_t before) const;

  std::size_t samples_;
  Picture picture_;
  std::optional<admin::Status> last_;
  double seconds_ = 0;  // between the last two looks, by the balancer's clock; 0: there is only one
  std::map<std::pair<std::string, std::string>, Track> tracks_;
};

}  // namespace millrace::app::top
