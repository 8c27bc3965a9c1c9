#include "rates.hpp"

#include <algorithm>

namespace millrace::app::top {

namespace {

std::uint64_t total(const admin::Reasons& reasons) {
  std::uint64_t sum = 0;
  for (const auto& [reason, count] : reasons) sum += count;
  return sum;
}

template <class T>
const T* find(const std::vector<T>& things, const std::string& name) {
  const auto found = std::find_if(things.begin(), things.end(), [&](const T& thing) { return thing.name == name; });
  return found == things.end() ? nullptr : &*found;
}

void add(Rates& sum, const Rates& part) {
  sum.connections += part.connections;
  sum.in += part.in;
  sum.out += part.out;
  sum.failures += part.failures;
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

/// The counts since `before`; empty when they are not of the same balancer's backend.
std::vector<std::uint64_t> difference(const std::vector<std::uint64_t>& now, const std::vector<std::uint64_t>& before) {
  if (now.size() != before.size()) return {};
  std::vector<std::uint64_t> grown(now.size());
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (now[i] < before[i]) return {};
    grown[i] = now[i] - before[i];
  }
  return grown;
}

}  // namespace

void History::add(double value, std::size_t kept) {
  values_.push_back(value);
  while (values_.size() > kept) {
    values_.pop_front();
    ++first_;
  }
}

std::vector<std::optional<double>> History::columns(std::size_t samples, std::size_t width) const {
  std::vector<std::optional<double>> columns(width);
  if (values_.empty() || width == 0) return columns;
  const std::size_t each = std::max<std::size_t>((samples + width - 1) / width, 1);
  const std::size_t end = first_ + values_.size();
  const std::size_t last = (end - 1) / each;
  for (std::size_t i = 0; i < width && i <= last; ++i) {
    const std::size_t from = std::max((last - i) * each, first_);
    const std::size_t to = std::min((last - i + 1) * each, end);
    if (from >= to) break;
    double sum = 0;
    for (std::size_t n = from; n < to; ++n) sum += values_[n - first_];
    columns[width - 1 - i] = sum / static_cast<double>(to - from);
  }
  return columns;
}

double History::max() const {
  return values_.empty() ? 0 : *std::max_element(values_.begin(), values_.end());
}

double Gauge::rate(std::uint64_t now, std::uint64_t before) const {
  return seconds_ > 0 && now > before ? static_cast<double>(now - before) / seconds_ : 0;
}

void Gauge::add(const admin::Status& status) {
  if (last_ && (last_->pid != status.pid || last_->uptime_seconds > status.uptime_seconds)) {
    last_.reset();
    tracks_.clear();
    picture_ = {};
  }
  seconds_ = last_ ? status.uptime_seconds - last_->uptime_seconds : 0;
  picture_.version = status.version;
  picture_.pid = status.pid;
  picture_.uptime_seconds = status.uptime_seconds;
  picture_.workers = status.workers.size();
  picture_.generation = status.generation;
  picture_.reload_failed = !status.last_reload.ok;
  add_listeners(status);
  add_pools(status);
  if (seconds_ > 0) {
    picture_.connections.add(picture_.rates.connections, samples_);
    picture_.bytes.add(picture_.rates.in + picture_.rates.out, samples_);
  }
  last_ = status;
}

void Gauge::add_listeners(const admin::Status& status) {
  picture_.listeners.clear();
  picture_.rates = {};
  picture_.active = 0;
  for (const admin::ListenerStatus& now : status.listeners) {
    ListenerView& view = picture_.listeners.emplace_back();
    view.name = now.name;
    view.address = now.protocol + " " + joined(now.addresses);
    view.pool = now.pool;
    view.active = now.active;
    const admin::ListenerStatus* before = last_ ? find(last_->listeners, now.name) : nullptr;
    if (before != nullptr) {
      view.rates = {.connections = rate(now.connections, before->connections),
                    .in = rate(now.bytes.in, before->bytes.in),
                    .out = rate(now.bytes.out, before->bytes.out),
                    .failures = rate(total(now.refused), total(before->refused))};
    }
    picture_.active += view.active;
    top::add(picture_.rates, view.rates);
  }
}

void Gauge::add_pools(const admin::Status& status) {
  picture_.pools.clear();
  picture_.failures = 0;
  for (auto& [name, track] : tracks_) track.seen = false;
  for (const admin::PoolStatus& now : status.pools) {
    PoolView& view = picture_.pools.emplace_back();
    view.name = now.name;
    view.balance = now.balance;
    const admin::PoolStatus* before = last_ ? find(last_->pools, now.name) : nullptr;
    for (const admin::BackendStatus& backend : now.backends) {
      const admin::BackendStatus* same = before != nullptr ? find(before->backends, backend.name) : nullptr;
      view.backends.push_back(backend_view(backend, same, tracks_[{now.name, backend.name}]));
      view.active += backend.active;
      if (backend.state == "up") ++view.up;
      top::add(view.rates, view.backends.back().rates);
    }
    Track& track = tracks_[{now.name, ""}];
    track.seen = true;
    if (seconds_ > 0) track.connections.add(view.rates.connections, samples_);
    view.connections = track.connections;
    picture_.failures += view.rates.failures;
  }
  std::erase_if(tracks_, [](const auto& entry) { return !entry.second.seen; });
}

BackendView Gauge::backend_view(const admin::BackendStatus& now, const admin::BackendStatus* before, Track& track) {
  BackendView view;
  view.name = now.name;
  view.address = now.address;
  view.state = now.state;
  view.health = now.health;
  view.weight = now.weight;
  view.backup = now.backup;
  view.active = now.active;
  if (before != nullptr) {
    view.rates = {.connections = rate(now.connections, before->connections),
                  .in = rate(now.bytes.in, before->bytes.in),
                  .out = rate(now.bytes.out, before->bytes.out),
                  .failures = rate(total(now.connect_failures), total(before->connect_failures))};
  }
  track.seen = true;
  if (before != nullptr && seconds_ > 0) track.connections.add(view.rates.connections, samples_);
  view.connections = track.connections;
  track.classes.push_back(now.connect_times.classes);
  while (track.classes.size() > samples_ + 1) track.classes.pop_front();
  const std::vector<std::uint64_t> recent = difference(now.connect_times.classes, track.classes.front());
  if (std::any_of(recent.begin(), recent.end(), [](std::uint64_t count) { return count > 0; })) {
    view.p50_ms = admin::quantile_ms(recent, 0.5);
    view.p99_ms = admin::quantile_ms(recent, 0.99);
  }
  return view;
}

}  // namespace millrace::app::top
