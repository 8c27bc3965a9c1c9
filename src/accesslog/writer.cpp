#include "millrace/accesslog/writer.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cstring>

#include "millrace/base/log.hpp"
#include "sink.hpp"

namespace millrace::accesslog {
namespace {

/// Between two looks while there is something to do: what comes meanwhile is written together.
constexpr int kNapMs = 10;
/// While nothing is taken of what is pending.
constexpr int kStuckNapMs = 50;
constexpr std::chrono::seconds kReportEvery(1);
constexpr std::chrono::seconds kAdoptionMax(1);

std::string_view name_at(const std::vector<std::string>& names, std::uint32_t index) {
  return index < names.size() ? std::string_view(names[index]) : std::string_view();
}

}  // namespace

/// Targets with what they lead to. Listeners with the same path share one sink.
struct Writer::Open {
  Targets targets;
  std::vector<std::shared_ptr<Sink>> sinks;  // all different
  std::vector<Sink*> by_listener;            // null: not logged

  [[nodiscard]] std::shared_ptr<Sink> find(const std::string& path) const {
    const auto found = std::find_if(sinks.begin(), sinks.end(), [&](const auto& sink) { return sink->path() == path; });
    return found == sinks.end() ? nullptr : *found;
  }
};

Writer::Writer(std::uint32_t workers, std::uint32_t queue_records)
    : ordered_(std::make_shared<Open>()), open_(ordered_) {
  for (std::uint32_t i = 0; i < workers; ++i) queues_.push_back(std::make_unique<Queue>(queue_records, bell_));
}

Writer::~Writer() {
  stop();
}

// ---- orders ----

std::string Writer::set_targets(const Targets& targets) {
  auto open = std::make_shared<Open>();
  open->targets = targets;
  std::unique_lock lock(mutex_);
  for (const Target& target : targets.listeners) {
    std::shared_ptr<Sink> sink;
    if (!target.path.empty()) sink = open->find(target.path);
    if (!target.path.empty() && sink == nullptr) {
      sink = ordered_->find(target.path);
      if (sink == nullptr) {
        Result<std::shared_ptr<Sink>> opened = Sink::open(target.path, lost_);
        if (!opened) return "listener " + target.listener + ": " + opened.error();
        sink = std::move(opened).value();
      }
      open->sinks.push_back(sink);
    }
    open->by_listener.push_back(sink.get());
  }
  ordered_ = std::move(open);
  if (!thread_.joinable()) {
    open_ = ordered_;
    if (!open_->sinks.empty()) thread_ = std::thread([this] { run(); });
    return {};
  }
  bell_.ring();
  // What is queued from now on is for the new targets. A thread that a disk holds up has the old ones a little longer.
  static_cast<void>(adopted_.wait_for(lock, kAdoptionMax, [this] { return open_ == ordered_; }));
  return {};
}

void Writer::reopen() {
  const std::lock_guard lock(mutex_);
  reopen_ordered_ = true;
  bell_.ring();
}

void Writer::stop(std::chrono::milliseconds patience) {
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) return;
    stop_at_ = SteadyClock::now() + patience;
    bell_.ring();
  }
  thread_.join();
}

std::uint64_t Writer::dropped() const {
  std::uint64_t sum = 0;
  for (const auto& queue : queues_) sum += queue->dropped();
  return sum;
}

// ---- the thread ----

void Writer::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ::pthread_setname_np(::pthread_self(), "access-log");
  for (;;) {
    const Orders orders = take_orders();
    const bool taken = take_records();  // all that was queued before the orders came
    const bool wrote = write_sinks();
    carry_out(orders);
    report();
    if (stopping_at_ && !queued()) {
      const auto pending = [](const auto& sink) { return sink->pending(); };
      const bool all_written = std::none_of(open_->sinks.begin(), open_->sinks.end(), pending);
      if (all_written || SteadyClock::now() >= *stopping_at_) break;
    }
    rest(taken || wrote);
  }
  for (const auto& sink : open_->sinks) sink->give_up();
  reported_at_ = {};
  report();
}

bool Writer::queued() const {
  return std::any_of(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->front() != nullptr; });
}

bool Writer::take_records() {
  using std::chrono::nanoseconds;
  unix_offset_ns_ = nanoseconds(std::chrono::system_clock::now().time_since_epoch()).count() -
                    nanoseconds(SteadyClock::now().time_since_epoch()).count();
  bool taken = false;
  for (const auto& queue : queues_) {
    // No more than it holds: a worker that adds all the time must not keep the others waiting.
    for (std::uint32_t i = 0; i < queue->capacity(); ++i) {
      const Record* record = queue->front();
      if (record == nullptr) break;
      write_record(*record);
      queue->pop();
      taken = true;
    }
  }
  return taken;
}

void Writer::write_record(const Record& record) {
  if (record.listener >= open_->by_listener.size()) return;
  Sink* sink = open_->by_listener[record.listener];
  if (sink == nullptr) return;
  const Targets& targets = open_->targets;
  const Target& target = targets.listeners[record.listener];
  const RecordNames names{.listener = target.listener,
                          .pool = name_at(targets.pools, record.pool),
                          .backend = name_at(targets.backends, record.backend)};
  line_.clear();
  append_line(line_, target.format, record, names,
              (Nanos(record.ended.time_since_epoch()).count() + unix_offset_ns_) / 1'000'000);
  sink->add(line_);
  lines_.add();
}

bool Writer::write_sinks() {
  bool wrote = false;
  for (const auto& sink : open_->sinks) wrote = sink->write() || wrote;
  return wrote;
}

Writer::Orders Writer::take_orders() {
  const std::lock_guard lock(mutex_);
  stopping_at_ = stop_at_;
  return {.open = ordered_, .reopen = std::exchange(reopen_ordered_, false)};
}

void Writer::carry_out(const Orders& orders) {
  if (open_ != orders.open) {
    std::shared_ptr<const Open> before;
    {
      const std::lock_guard lock(mutex_);
      before = std::exchange(open_, orders.open);
    }
    adopted_.notify_all();
    for (const auto& sink : before->sinks) {
      if (open_->find(sink->path()) == nullptr) sink->give_up();  // what has not been taken by now
      overrun_ += sink->take_overrun();
    }
  }
  if (orders.reopen) reopen_sinks();
}

void Writer::reopen_sinks() {
  for (const auto& sink : open_->sinks) {
    const std::string problem = sink->reopen();
    if (problem.empty()) continue;
    log::error("access_log_not_reopened", {{"path", sink->path()}, {"reason", problem}});
  }
  log::info("access_logs_reopened", {{"files", open_->sinks.size()}});
}

void Writer::report() {
  const SteadyClock::time_point now = SteadyClock::now();
  for (const auto& sink : open_->sinks) {
    overrun_ += sink->take_overrun();
    if (!sink->failure_due(now)) continue;
    const Sink::Failure failure = sink->take_failure(now);
    log::error("access_log_failed",
               {{"path", sink->path()}, {"reason", ::strerrordesc_np(failure.error)}, {"lines_lost", failure.lines}});
  }
  const std::uint64_t dropped_now = dropped();
  if ((dropped_now == dropped_reported_ && overrun_ == 0) || now - reported_at_ < kReportEvery) return;
  log::warn("access_log_dropped", {{"count", dropped_now - dropped_reported_ + overrun_}});
  reported_at_ = now;
  dropped_reported_ = dropped_now;
  overrun_ = 0;
}

void Writer::rest(bool busy) {
  const auto pending = [](const auto& sink) { return sink->pending(); };
  const bool waits =
      std::any_of(open_->sinks.begin(), open_->sinks.end(), pending) || overrun_ != 0 || dropped() != dropped_reported_;
  if (busy || waits || stopping_at_) return bell_.rest(busy ? kNapMs : kStuckNapMs);
  bell_.fall_asleep();
  if (queued()) return bell_.stay_awake();
  bell_.rest(-1);
  bell_.stay_awake();
}

}  // namespace millrace::accesslog
