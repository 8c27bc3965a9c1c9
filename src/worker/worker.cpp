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
/// A listening socket that is given up takes connections for so long: who is shaking hands comes in, new ones do not.
constexpr Nanos kDrainTime = std::chrono::seconds(1);
constexpr std::uint32_t kDrainedPerPass = 256;
constexpr std::uint32_t kEvictedPerPass = 256;  // slots that are looked at
constexpr std::size_t kRearmedPerPass = 32;

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

std::size_t rows_of(const pool::Snapshot& snapshot) {
  std::size_t rows = 0;
  for (const auto& pool : snapshot.pools) {
    for (const pool::Backend& backend : pool->backends) rows = std::max(rows, pool::row(backend.id) + 1);
  }
  return rows;
}

}  // namespace

Worker::Worker(io::Io& io, std::shared_ptr<const pool::Snapshot> snapshot, pool::BackendTable& table,
               Admission& admission, std::span<const ListenerSocket> sockets, const WorkerOptions& options,
               ProbeRequests* probes, SourceLimits* source_limits)
    : io_(io),
      snapshot_(std::move(snapshot)),
      table_(table),
      admission_(admission),
      probes_(probes),
      index_(options.index),
      options_(options),
      counters_(snapshot_->listeners.size(), rows_of(*snapshot_)),
      rng_(options.seed),
      timers_(io.now()),
      pipes_(io, options.pipes),
      coalescer_(options.coalesce),
      context_{.io = io,
               .timers = timers_,
               .pipes = pipes_,
               .coalescer = coalescer_,
               .totals = counters_.flows,
               .now = io.now()},
      pools_(*snapshot_, table, options.index),
      access_(std::make_unique<Access>(*snapshot_, source_limits)),
      records_(std::make_unique<AccessRecords>(options.access_log, options.index, options.slots)),
      gathering_(std::make_unique<Gathering>(options.workers)),
      connections_(options.slots) {
  for (std::uint32_t i = 0; i < snapshot_->listeners.size(); ++i) set_options(i);
  for (const ListenerSocket& socket : sockets) add_socket(socket);
  admission_.set_waker(index_, &io_);
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
  counters_.busy.begin();
  context_.now = io_.now();
  started_ = true;
  for (ListenerState& listener : listeners_) reconcile(listener);
  if (udp_ != nullptr) udp_->start();
}

bool Worker::pass(Instant wait_until) {
  const std::span<const io::Completion> completions = io_.turn(next_wake(wait_until));
  context_.now = io_.now();
  for (const io::Completion& completion : completions) dispatch(completion);
  run_rested();
  run_pipe_turns();
  run_timers();
  run_stop();
  run_tasks();
  run_evictions();
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
  counters_.busy.end();
  return false;
}

Instant Worker::next_wake(Instant wait_until) const {
  if (mailbox_.busy() || pipes_.turn_due() || may_rearm()) return context_.now;
  Instant wake = std::min({wait_until, timers_.next_deadline(), coalescer_.due()});
  for (const ListenerState& listener : listeners_) {
    if (!listener.armed && listener.paused_until > context_.now) wake = std::min(wake, listener.paused_until);
    if (listener.fd == io::Fd::none || listener.drained_at == kNever) continue;
    if (listener.drains_on || listener.drained_at > context_.now) wake = std::min(wake, listener.drained_at);
  }
  if (stopping_ && !aborted_) {
    wake = std::min(wake, Instant(Nanos(drain_deadline_.load(std::memory_order_relaxed))));
  }
  for (const Eviction& eviction : evictions_) wake = std::min(wake, eviction.at);
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
  note_traffic(*connection, completion);
  handle(*connection, connection->flow.on_completion(context_, completion));
}

void Worker::note_traffic(Connection& connection, const io::Completion& completion) {
  gathering_->note_completion(connection.gather_stamp);
  if (completion.tag.kind() != OpKind::recv || completion.result <= 0) return;
  if (static_cast<flow::Side>(completion.tag.side()) == flow::Side::client) {
    Gathering::note_request(connection.asked, context_.now);
  } else {
    gathering_->note_answer(connection.asked, context_.now);
  }
}

void Worker::post(std::shared_ptr<Task> task) {
  mailbox_.post(std::move(task));
  io_.wake();
}

void Worker::run_tasks() {
  mailbox_.work(*this);
}

void Worker::adapt_gathering() {
  const Nanos tcp = gathering_->time(context_.now);
  const Nanos udp = udp_ != nullptr && udp_->gathering() ? kDatagramGatherTime : Nanos(0);
  io_.set_gather_time(std::max(tcp, udp));
}

void Worker::run_rested() {
  for (const flow::DirectionId& direction : coalescer_.wake(context_.now)) {
    Connection* connection = connections_.find(direction.flow);
    if (connection == nullptr) continue;  // it has ended meanwhile
    handle(*connection, connection->flow.on_rested(context_, direction.side));
  }
}

void Worker::run_pipe_turns() {
  while (const std::optional<flow::DirectionId> direction = pipes_.next_turn()) {
    Connection* connection = connections_.find(direction->flow);
    if (connection == nullptr) continue;  // it has ended meanwhile
    handle(*connection, connection->flow.on_pipe_turn(context_, direction->side));
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

bool Worker::may_rearm() const {
  return !starved_.empty() && io_.buffers().free_count() > 0;
}

/// Once buffers are back: who waits tries again, in the order of waiting. As many as are likely to find some: all at
/// once would only wait again, most of them, and each try costs an operation.
void Worker::rearm_starved() {
  if (!may_rearm()) return;
  const std::size_t count = std::min(starved_.size(), kRearmedPerPass);
  for (std::size_t i = 0; i < count; ++i) {
    Connection* connection = connections_.find(starved_[i]);
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
  log::error("accept_paused", {{"listener", snapshot_->listeners[listener.listener].name},
                               {"reason", ::strerrordesc_np(error)},
                               {"pause_ms", 100},
                               {"connections", connections_.in_use()}});
}

void Worker::reconcile(ListenerState& listener) {
  if (listener.fd == io::Fd::none) return;
  if (stopping_ || context_.now >= listener.drained_at) {
    if (listener.armed) return disarm(listener);
    return drain(listener);
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
    Connection* connection = connections_.find(listener.parked.front());
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

// ---- another snapshot ----

void Worker::set_options(std::uint32_t listener) {
  if (listener >= flow_options_.size()) flow_options_.resize(listener + 1);
  const pool::Listener& wanted = snapshot_->listeners[listener];
  flow_options_[listener] = {.idle_timeout = wanted.idle_timeout,
                             .half_close_timeout = wanted.half_close_timeout,
                             .max_duration = wanted.max_connection_duration,
                             .keepalive = wanted.keepalive,
                             .forwarding = forwarding_of(wanted.forwarding),
                             .traffic = &counters_.listeners[listener].traffic,
                             .tcp_info = wanted.access_log};
}

void Worker::make_room(std::size_t listeners, std::size_t backend_rows) {
  counters_.listeners.grow(listeners);
  counters_.backends.grow(backend_rows);
}

void Worker::adopt(Adoption& adoption) {
  snapshot_.swap(adoption.snapshot);
  access_->adopt(*snapshot_);
  for (auto& [index, pool] : adoption.pools) pools_.exchange(index, pool);
  for (const pool::BackendId id : adoption.fresh) counters_.backends[pool::row(id)].reset();
  for (std::uint32_t i = 0; i < snapshot_->listeners.size(); ++i) set_options(i);
  for (const auto* spared : {&adoption.returned, &adoption.fresh}) {
    std::erase_if(evictions_, [spared](const Eviction& eviction) {
      return std::find(spared->begin(), spared->end(), eviction.id) != spared->end();
    });
  }
  eviction_next_ = 0;
  for (const Eviction& eviction : adoption.evictions) evictions_.push_back(eviction);
  if (udp_ != nullptr) udp_->adopt();
  if (adoption.changes_sockets) set_sockets(adoption.sockets);
}

void Worker::evict(const Eviction& eviction) {
  evictions_.push_back(eviction);
}

/// A piece of the first one that is due.
void Worker::run_evictions() {
  const auto due = std::find_if(evictions_.begin(), evictions_.end(),
                                [this](const Eviction& eviction) { return eviction.at <= context_.now; });
  if (due == evictions_.end()) return;
  const std::uint32_t end = std::min(eviction_next_ + kEvictedPerPass, connections_.touched());
  for (; eviction_next_ < end; ++eviction_next_) {
    Connection* connection = connections_.find(eviction_next_);
    if (connection == nullptr || !connection->holds_backend || connection->backend != due->id) continue;
    handle(*connection, connection->flow.abort(context_, due->reason));
  }
  if (eviction_next_ < connections_.touched()) return;
  eviction_next_ = 0;
  evictions_.erase(due);
}

void Worker::add_socket(const ListenerSocket& socket) {
  if (snapshot_->listeners[socket.listener].protocol == pool::Protocol::udp) {
    if (udp_ == nullptr) open_udp();
    udp_->add_socket(socket);
    if (started_) udp_->start();
    return;
  }
  const auto is_free = [](const ListenerState& state) {
    return state.fd == io::Fd::none && !state.armed && state.parked.empty();
  };
  auto state = std::find_if(listeners_.begin(), listeners_.end(), is_free);
  if (state == listeners_.end()) state = listeners_.emplace(state);
  *state = {.fd = socket.fd,
            .listener = socket.listener,
            .socket = static_cast<std::uint32_t>(state - listeners_.begin()),
            .shared = socket.shared};
}

void Worker::open_udp() {
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
                                    options_);
}

/// Those that it has and shall not have any more are drained, then closed.
void Worker::set_sockets(std::span<const ListenerSocket> sockets) {
  const auto wanted = [&](io::Fd fd) {
    return std::find_if(sockets.begin(), sockets.end(), [fd](const ListenerSocket& s) { return s.fd == fd; });
  };
  for (ListenerState& listener : listeners_) {
    if (listener.fd == io::Fd::none) continue;
    if (const auto found = wanted(listener.fd); found != sockets.end()) {
      listener.listener = found->listener;  // the address may belong to another one now
    } else if (listener.drained_at == kNever) {
      if (!listener.shared) io_.set_refusing(listener.fd, true);
      listener.drained_at = listener.shared ? context_.now : context_.now + kDrainTime;
    }
  }
  if (udp_ != nullptr) udp_->keep_sockets(sockets, context_.now);
  for (const ListenerSocket& socket : sockets) {
    const bool known = std::any_of(listeners_.begin(), listeners_.end(),
                                   [&](const ListenerState& state) { return state.fd == socket.fd; }) ||
                       (udp_ != nullptr && udp_->has_socket(socket.fd));
    if (known) continue;
    if (stopping_) {
      io_.close(socket.fd, io::CloseMode::normal);
    } else {
      add_socket(socket);
    }
  }
}

bool Worker::keep_socket(io::Fd fd) {
  for (ListenerState& listener : listeners_) {
    if (listener.fd != fd || listener.drained_at == kNever || stopping_) continue;
    if (!listener.shared) io_.set_refusing(fd, false);
    listener.drained_at = kNever;
    return true;
  }
  return udp_ != nullptr && udp_->keep_socket(fd);
}

/// Takes what the kernel has queued, then closes: nobody who was let in is reset, unless there is no time for it.
void Worker::drain(ListenerState& listener) {
  listener.drains_on = false;
  for (std::uint32_t i = 0; i < kDrainedPerPass && !aborted_ && !listener.shared; ++i) {
    if (admission_.room(listener.listener) == 0) {
      admission_.wait_for_room(index_);
      if (admission_.room(listener.listener) == 0) return;
    }
    const io::FdResult client = io_.accept_now(listener.fd);
    if (client.error == 0) {
      begin_connection(listener, client.fd);
      if (i + 1 == kDrainedPerPass) {
        listener.drains_on = true;
        return;
      }
    } else if (client.error != ECONNABORTED) {
      break;  // it is empty; out of descriptors there is nobody to give one back for it
    }
  }
  io_.close(listener.fd, io::CloseMode::normal);
  listener.fd = io::Fd::none;
  listener.drained_at = kNever;
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
