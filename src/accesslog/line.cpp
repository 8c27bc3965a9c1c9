#include "millrace/accesslog/line.hpp"

#include <fmt/format.h>

#include <iterator>

#include "millrace/base/line_text.hpp"

namespace millrace::accesslog {
namespace {

/// Writes one field after the other: `"key":value` or `key=value`. What is not known is null, as text `-`.
class Fields {
 public:
  Fields(std::string& out, Format format) : out_(out), json_(format == Format::json) {}

  void time(std::string_view key, std::int64_t unix_ms) {
    begin(key);
    if (json_) out_ += '"';
    append_time(out_, unix_ms);
    if (json_) out_ += '"';
  }
  void text(std::string_view key, std::string_view value, bool known = true) {
    begin(key);
    if (!known) return unknown();
    if (json_) {
      append_quoted(out_, value);
    } else {
      append_plain(out_, value);
    }
  }
  void address(std::string_view key, const net::Endpoint& value) {
    const bool known = value.family() != net::Family::none;
    text(key, known ? value.to_string() : std::string(), known);
  }
  void number(std::string_view key, std::uint64_t value, bool known = true) {
    begin(key);
    if (!known) return unknown();
    fmt::format_to(std::back_inserter(out_), "{}", value);
  }
  /// In milliseconds, to the microsecond.
  void milliseconds(std::string_view key, Nanos value) {
    begin(key);
    if (value < Nanos(0)) return unknown();
    const auto us = std::chrono::duration_cast<std::chrono::microseconds>(value).count();
    fmt::format_to(std::back_inserter(out_), "{}.{:03}", us / 1000, us % 1000);
  }

 private:
  void begin(std::string_view key) {
    if (!first_) out_ += json_ ? ',' : ' ';
    first_ = false;
    if (json_) out_ += '"';
    out_ += key;
    out_ += json_ ? "\":" : "=";
  }
  void unknown() { out_ += json_ ? "null" : "-"; }

  std::string& out_;
  bool json_;
  bool first_ = true;
};

std::string id_of(const Record& record) {
  return fmt::format("{}{}.{}.{}", record.udp ? "u" : "", record.worker, record.slot, record.generation);
}

Nanos rtt_of(const Leg& leg) {
  return leg.known && leg.rtt_us != 0 ? Nanos(std::chrono::microseconds(leg.rtt_us)) : Record::kUnknown;
}

std::string_view name_of(Path path) {
  return path == Path::splice ? "splice" : "copy";
}

}  // namespace

void append_line(std::string& out, Format format, const Record& record, const RecordNames& names,
                 std::int64_t ended_unix_ms) {
  if (format == Format::json) out += '{';
  Fields fields(out, format);
  fields.time("time", ended_unix_ms);
  fields.text("id", record.has_id ? id_of(record) : std::string(), record.has_id);
  fields.text("listener", names.listener);
  fields.text("pool", names.pool);
  fields.text("backend", names.backend, record.backend != Record::kNone);
  fields.address("client", record.client);
  fields.address("local", record.local);
  fields.address("upstream", record.upstream);
  fields.number("attempts", record.attempts);
  fields.milliseconds("connect_ms", record.connect);
  fields.milliseconds("first_byte_ms", record.first_byte);
  fields.milliseconds("duration_ms", record.duration);
  fields.number("bytes_in", record.bytes_in);
  fields.number("bytes_out", record.bytes_out);
  fields.text("close_reason", record.close_reason);
  fields.text("path", name_of(record.path), record.path != Path::none);
  fields.milliseconds("client_rtt_ms", rtt_of(record.client_leg));
  fields.number("client_retransmits", record.client_leg.retransmits, record.client_leg.known);
  fields.milliseconds("backend_rtt_ms", rtt_of(record.backend_leg));
  fields.number("backend_retransmits", record.backend_leg.retransmits, record.backend_leg.known);
  out += format == Format::json ? "}\n" : "\n";
}

}  // namespace millrace::accesslog
