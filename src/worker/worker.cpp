// The pass of a worker and its listeners. What happens to one connection is in connection.cpp.

#include "millrace/worker/worker.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "access.hpp"
#include "access_records.hpp"
#include "connection.hpp"
#include "gathering.hpp"
#include "millrace/base/assert.hpp"
#include "millrace/base/log.hpp"
#include "udp_limits.hpp"
#include "udp_relay.hpp"

namespace millrace::worker {

using flow::CloseReason;
using io::AcceptMode;
using io::OpKind;

namespace {

constexpr Nanos kAcceptPause = std::chrono::milliseconds(100);
/// With less room than this, connections are accepted one at a time, so that a limit is hardly ever overrun.
constexpr std::uint32_t kSingleBelow = 512;
constexpr std::uint32_t kPipesKept = 64;

flow::Forwarding forwarding_of(pool::Forwarding forwarding) {
  switch (forwarding) {
    case pool::Forwarding::automatic:
      return flow::Forwarding::automatic;
    case pool::Forwarding::copy:
      return flow::Forwarding::copy;
    case pool::Forwarding::splice:
      return flow::Forwarding::splice;
  }
  return flow::Forwarding::automatic;
}

}  // namespace

Worker::Worker(io::Io& io, const pool::Snapshot& snapshot, pool::BackendTable& table, Admission& admission,
               std::span<const ListenerSocket> sockets, const WorkerOptions& options, ProbeRequests* probes,
               SourceLimits* source_limits)
    : io_(io),
      snapshot_(snapshot),
      table_(table),
      admission_(admission),
      probes_(probes),
      index_(options.index),
      counters_(snapshot.listeners.size(), table.rows()),
      rng_(options.seed),
      timers_(io.now()),
      pipes_(io, options.pipes, std::min(options.pipes, kPipesKept)),
      coalescer_(options.coalesce),
      context_{
          .io = io, .timers = timers_, .pipes = pipes_, .coalescer = coalescer_, .totals = totals_, .now = io.now()},
      pools_(snapshot, table),
      access_(std::make_unique<Access>(snapshot, source_limits)),
      records_(std::make_unique<AccessRecords>(options.access_log, options.index, options.slots)),
      gathering_(std::make_unique<Gathering>()),
      connections_(options.slots) {
  for (std::size_t i = 0; i < snapshot.listeners.size(); ++i) {
    const pool::Listener& listener = snapshot.listeners[i];
    flow_options_.push_back({.idle_timeout = listener.idle_timeout,
                             .half_close_timeout = listener.half_close_timeout,
                             .max_duration = listener.max_connection_duration,
                             .keepalive = listener.keepalive,
                             .forwarding = forwarding_of(listener.forwarding),
                             .traffic = &counters_.listeners[i].traffic,
                             .tcp_info = listener.access_log});
  }
  next_source_.resize(snapshot.pools.size());
  begin_out_of_step();
  std::vector<ListenerSocket> datagram_sockets;
  for (const ListenerSocket& socket : sockets) {
    if (snapshot.listeners[socket.listener].protocol == pool::Protocol::udp) {
      datagram_sockets.push_back(socket);
    } else {
      const auto number = static_cast<std::uint32_t>(listeners_.size());
      listeners_.push_back({.fd = socket.fd, .listener = socket.listener, .socket = number});
    }
  }
  if (!datagram_sockets.empty()) {
    udp_ = std::make_unique<UdpRelay>(UdpRelay::Shared{.io = io_,
                                                       .snapshot = snapshot_,
                                                       .table = table_,
                                                       .admission = admission_,
                                                       .access = *access_,
                                                       .records = *records_,
                                                       .pools = pools_,
                                                       .probes = probes_,
                                                       .counters = counters_,
                                                       .rng = rng_},
                                      datagram_sockets, options);
  }
  admission_.set_waker(index_, &io_);
}

/// Every worker's cursors would begin at the same backend; with many workers and few connections it would get them all.
void Worker::begin_out_of_step() {
  for (std::uint32_t i = 0; i < pools_.size(); ++i) {
    for (std::uint32_t skipped = 0; skipped < index_; ++skipped) {
      const pool::Pick pick = pools_.picker(i).pick({});
      if (pick.outcome == pool::PickOutcome::picked) table_.release(pools_.at(i).backends[pick.index].id);
    }
  }
}

Worker::~Worker() {
  // Flows that are still there (a test that ends early) must leave the wheel before it goes.
  connections_.for_each([this](Connection& connection) { connection.flow.disarm(timers_); });
}

std::uint32_t Worker::sessions() const {
  return udp_ == nullptr ? 0 : udp_->sessions();
}

std::uint32_t Worker::upstream_sockets() const {
  return udp_ == nullptr ? 0 : udp_->upstream_sockets();
}

std::size_t Worker::connection_bytes() {
  return Slab<Connection>::slot_bytes();
}

void Worker::start() {
  context_.now = io_.now();
  for (ListenerState& listener : listeners_) reconcile(listener);
  if (udp_ != nullptr) udp_->start();
}

bool Worker::pass(Instant wait_until) {
  const std::span<const io::Completion> completions = io_.turn(next_wake(wait_until));
  context_.now = io_.now();
  for (const io::Completion& completion : completions) dispatch(completion);
  run_rested();
  run_timers();
  run_stop();
  run_tasks();
  rearm_starved();
  for (ListenerState& listener : listeners_) {
    admit_parked(listener);
    reconcile(listener);
  }
  if (udp_ != nullptr) udp_->end_of_pass(context_.now);
  adapt_gathering();
  records_->end_of_pass();
  if (!finished()) return true;
  mailbox_.close();
  pipes_.trim();
  static_cast<void>(io_.turn(io_.now()));  // the last closes
  return false;
}

Instant Worker::next_wake(Instant wait_until) const {
  if (mailbox_.busy()) return context_.now;
  Instant wake = std::min({wait_until, timers_.next_deadline(), coalescer_.due()});
  for (const ListenerState& listener : listeners_) {
    if (!listener.armed && listener.paused_until > context_.now) wake = std::min(wake, listener.paused_until);
  }
  if (stopping_ && !aborted_) {
    wake = std::min(wake, Instant(Nanos(drain_deadline_.load(std::memory_order_relaxed))));
  }
  if (udp_ != nullptr) wake = std::min(wake, udp_->next_wake());
  return wake;
}

void Worker::dispatch(const io::Completion& completion) {
  switch (completion.tag.kind()) {
    case OpKind::accept:
      return on_accept(listeners_[completion.tag.slot()], completion);
    case OpKind::recv_datagrams:
    case OpKind::send_datagrams:
      return udp_->on_completion(completion, context_.now);
    default:
      break;
  }
  Connection* connection = connections_.find(completion.tag.slot(), completion.tag.generation());
  if (connection == nullptr) {
    counters_.late_completions.add();
    if (completion.buffer != io::kNoBuffer) io_.buffers().give_back(completion.buffer);
    return;
  }
  gathering_->note_completion(connection->gather_stamp);
  handle(*connection, connection->flow.on_completion(context_, completion));
}

void Worker::post(std::shared_ptr<Task> task) {
  mailbox_.post(std::move(task));
  io_.wake();
}

void Worker::run_tasks() {
  mailbox_.work(*this);
}

void Worker::adapt_gathering() {
  const Nanos tcp = gathering_->pays(context_.now) ? Gathering::kGatherTime : Nanos(0);
  const Nanos udp = udp_ != nullptr && udp_->gathering() ? kDatagramGatherTime : Nanos(0);
  io_.set_gather_time(std::max(tcp, udp));
}

void Worker::run_rested() {
  for (const flow::Coalescer::Direction& direction : coalescer_.wake(context_.now)) {
    Connection* connection = connections_.find(direction.flow.index, direction.flow.generation);
    if (connection == nullptr) continue;  // it has ended meanwhile
    handle(*connection, connection->flow.on_rested(context_, static_cast<flow::Side>(direction.side)));
  }
}

void Worker::run_timers() {
  while (TimerNode* node = timers_.expire(context_.now)) {
    flow::TcpFlow& flow = flow::TcpFlow::from_timer(*node);
    Connection* connection = connections_.find(flow.slot(), flow.generation());
    MILLRACE_ASSERT(connection != nullptr, "a timer outlived its flow");
    handle(*connection, connection->flow.on_timer(context_));
  }
}

/// Once buffers are back: all who wait try again. Each takes at most what the kernel has been lent, so a shortage that
/// goes on only means that some wait again.
void Worker::rearm_starved() {
  if (starved_.empty() || io_.buffers().free_count() == 0) return;
  const std::size_t count = starved_.size();
  for (std::size_t i = 0; i < count; ++i) {
    Connection* connection = connections_.find(starved_[i].index, starved_[i].generation);
    if (connection == nullptr) continue;
    connection->queued_for_buffers = false;
    connection->flow.on_buffers_available(context_);
    handle(*connection, flow::Verdict::ongoing);  // it may have to wait again
  }
  starved_.erase(starved_.begin(), starved_.begin() + static_cast<std::ptrdiff_t>(count));
}

// ---- listeners ----

void Worker::on_accept(ListenerState& listener, const io::Completion& completion) {
  if (!completion.more) {
    listener.armed = false;
    listener.cancelling = false;
  }
  if (completion.result < 0) return on_accept_error(listener, -completion.result);
  begin_connection(listener, io::Fd{completion.result});
}

void Worker::on_accept_error(ListenerState& listener, int error) {
  switch (error) {
    case ECANCELED:
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:  // the client went away in the queue
    case EPROTO:
      return;
    default:
      break;
  }
  // Out of descriptors or memory: whoever waits in the kernel's queue stays there, nobody is reset.
  counters_.accept_errors.add();
  listener.paused_until = context_.now + kAcceptPause;
  if (accept_error_logged_ && context_.now - *accept_error_logged_ < std::chrono::seconds(1)) return;
  accept_error_logged_ = context_.now;
  log::error("accept_paused", {{"listener", snapshot_.listeners[listener.listener].name},
                               {"reason", ::strerrordesc_np(error)},
                               {"pause_ms", 100},
                               {"connections", connections_.in_use()}});
}

void Worker::reconcile(ListenerState& listener) {
  if (listener.fd == io::Fd::none) return;
  if (stopping_) {
    if (listener.armed) return disarm(listener);
    io_.close(listener.fd, io::CloseMode::normal);
    listener.fd = io::Fd::none;
    return;
  }
  std::uint32_t room = listener.parked.empty() ? admission_.room(listener.listener) : 0;
  if (room == 0) {
    admission_.wait_for_room(index_);
    room = listener.parked.empty() ? admission_.room(listener.listener) : 0;
  }
  const AcceptMode mode = room < kSingleBelow ? AcceptMode::single : AcceptMode::multishot;
  if (listener.armed) {
    if (room == 0 || (listener.mode == AcceptMode::multishot && mode == AcceptMode::single)) disarm(listener);
  } else if (room > 0 && context_.now >= listener.paused_until) {
    arm(listener, mode);
  }
}

void Worker::arm(ListenerState& listener, AcceptMode mode) {
  listener.armed = true;
  listener.mode = mode;
  io_.accept(io::OpTag(OpKind::accept, 0, 0, listener.socket), listener.fd, mode);
}

void Worker::disarm(ListenerState& listener) {
  if (listener.cancelling) return;
  listener.cancelling = true;
  io_.cancel(io::OpTag(OpKind::accept, 0, 0, listener.socket));
}

void Worker::admit_parked(ListenerState& listener) {
  while (!listener.parked.empty()) {
    Connection* connection = connections_.find(listener.parked.front().index, listener.parked.front().generation);
    const bool waits = connection != nullptr && connection->flow.stage() == flow::TcpFlow::Stage::waiting;
    if (waits) {  // otherwise it ended, or is about to, while it was parked
      if (!admission_.admit(connection->listener)) {
        admission_.wait_for_room(index_);
        if (!admission_.admit(connection->listener)) return;  // looked once more: a connection may just have ended
      }
      connection->admitted = true;
      connect(*connection);
    }
    listener.parked.pop_front();
  }
}

// ---- stopping ----

void Worker::request_stop(Instant drain_deadline) {
  drain_deadline_.store(drain_deadline.time_since_epoch().count(), std::memory_order_relaxed);
  StopRequest expected = StopRequest::none;
  stop_request_.compare_exchange_strong(expected, StopRequest::drain, std::memory_order_release);
  io_.wake();
}

void Worker::request_stop_now() {
  stop_request_.store(StopRequest::now, std::memory_order_release);
  io_.wake();
}

void Worker::run_stop() {
  const StopRequest request = stop_request_.load(std::memory_order_acquire);
  if (request == StopRequest::none) return;
  stopping_ = true;
  const Instant deadline{Nanos(drain_deadline_.load(std::memory_order_relaxed))};
  if (udp_ != nullptr) udp_->stop(context_.now, request == StopRequest::now ? context_.now : deadline);
  if (request == StopRequest::now) return abort_all(CloseReason::killed);
  if (context_.now >= deadline) abort_all(CloseReason::drain);
}

void Worker::abort_all(CloseReason reason) {
  aborted_ = true;
  connections_.for_each([&](Connection& connection) { handle(connection, connection.flow.abort(context_, reason)); });
  if (udp_ != nullptr) udp_->abort(reason);
}

bool Worker::finished() const {
  return stopping_ && connections_.in_use() == 0 && (udp_ == nullptr || udp_->finished()) &&
         std::all_of(listeners_.begin(), listeners_.end(), [](const ListenerState& l) { return l.fd == io::Fd::none; });
}

}  // namespace millrace::worker
