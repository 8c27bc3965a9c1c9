#include "access_records.hpp"

#include "millrace/base/assert.hpp"

namespace millrace::worker {

namespace {

accesslog::Leg leg_of(const io::TcpInfo& info) {
  return {.known = info.known, .rtt_us = info.rtt_us, .retransmits = info.retransmits};
}

accesslog::Path path_of(const flow::TcpFlow& flow, bool connected) {
  if (!connected) return accesslog::Path::none;
  return flow.spliced() ? accesslog::Path::splice : accesslog::Path::copy;
}

}  // namespace

AccessRecords::Record AccessRecords::make(const Arrival& arrival) const {
  Record record;
  record.worker = worker_;
  record.listener = arrival.listener;
  record.pool = arrival.pool;
  record.client = arrival.client;
  record.local = arrival.local;
  return record;
}

void AccessRecords::note_id(Record& record, SlotId id) {
  record.has_id = true;
  record.slot = id.index;
  record.generation = id.generation;
}

AccessRecords::Record* AccessRecords::begin(const Arrival& arrival, SlotId id) {
  Record* record = open_.take(make(arrival));
  MILLRACE_ASSERT(record != nullptr, "there are as many records as connections");
  note_id(*record, id);
  return record;
}

void AccessRecords::note_attempt(Record& record, const pool::Backend& backend) {
  record.backend = static_cast<std::uint32_t>(pool::row(backend.id));
  record.upstream = backend.address;
}

void AccessRecords::end(Record* record, const flow::TcpFlow& flow, std::uint32_t attempts,
                        const flow::FlowContext& context) {
  record->attempts = attempts;
  record->path = path_of(flow, record->connect != Record::kUnknown);
  record->close_reason = flow::name(flow.close_reason());
  record->ended = context.now;
  record->duration = context.now - flow.started();
  if (flow.first_byte() != Instant::min()) record->first_byte = flow.first_byte() - flow.started();
  record->bytes_in = flow.bytes_from(flow::Side::client);
  record->bytes_out = flow.bytes_from(flow::Side::backend);
  record->client_leg = leg_of(context.tcp_info(flow::Side::client));
  record->backend_leg = leg_of(context.tcp_info(flow::Side::backend));
  queue_->push(*record);
  open_.give_back(record);
}

void AccessRecords::turned_away(const Arrival& arrival, std::string_view reason, Instant now) {
  Record record = make(arrival);
  record.close_reason = reason;
  record.ended = now;
  queue_->push(record);
}

void AccessRecords::end(const Arrival& arrival, const flow::UdpSession& session, std::string_view reason, Instant now) {
  Record record = make(arrival);
  record.udp = true;
  note_id(record, session.id);
  if (session.attempts > 0) {
    record.backend = session.backend;
    record.upstream = session.backend_address.to_endpoint();
  }
  record.attempts = session.attempts;
  record.close_reason = reason;
  record.ended = now;
  record.duration = now - session.started;
  if (session.first_reply != Instant::min()) record.first_byte = session.first_reply - session.started;
  record.bytes_in = session.bytes_from_client;
  record.bytes_out = session.bytes_from_backend;
  queue_->push(record);
}

}  // namespace millrace::worker
