// Rendering of log events: text and JSON lines.

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <iterator>

#include "millrace/base/line_text.hpp"
#include "millrace/base/log.hpp"

namespace millrace::log {
namespace {

std::string_view name_of(Level level) {
  switch (level) {
    case Level::error:
      return "error";
    case Level::warn:
      return "warn";
    case Level::info:
      return "info";
    case Level::debug:
      return "debug";
  }
  return "unknown";
}

struct ValueWriter {
  std::string& out;
  Format format;

  void operator()(std::int64_t v) const { fmt::format_to(std::back_inserter(out), "{}", v); }
  void operator()(std::uint64_t v) const { fmt::format_to(std::back_inserter(out), "{}", v); }
  void operator()(bool v) const { out += v ? "true" : "false"; }
  void operator()(double v) const {
    if (format == Format::json && !std::isfinite(v)) {
      out += "null";
      return;
    }
    // The shortest text that reads back as the same number; in no locale.
    std::array<char, 32> text{};
    const auto result = std::to_chars(text.data(), text.data() + text.size(), v);
    out.append(text.data(), result.ptr);
  }
  void operator()(std::string_view v) const {
    if (format == Format::json) {
      append_quoted(out, v);
    } else {
      append_plain(out, v);
    }
  }
};

std::string render_json(Level level, std::int64_t unix_ms, std::string_view name, std::initializer_list<Field> fields) {
  std::string out = "{\"time\":\"";
  append_time(out, unix_ms);
  out += "\",\"level\":\"";
  out += name_of(level);
  out += "\",\"event\":";
  append_quoted(out, name);
  for (const Field& field : fields) {
    out += ',';
    append_quoted(out, field.key);
    out += ':';
    std::visit(ValueWriter{out, Format::json}, field.value);
  }
  out += '}';
  return out;
}

std::string render_text(Level level, std::int64_t unix_ms, std::string_view name, std::initializer_list<Field> fields) {
  std::string out;
  append_time(out, unix_ms);
  out += ' ';
  out += name_of(level);
  out += ' ';
  append_plain(out, name);
  for (const Field& field : fields) {
    out += ' ';
    append_plain(out, field.key);
    out += '=';
    std::visit(ValueWriter{out, Format::text}, field.value);
  }
  return out;
}

}  // namespace

std::string render(Format format, Level level, std::int64_t unix_ms, std::string_view name,
                   std::initializer_list<Field> fields) {
  return format == Format::json ? render_json(level, unix_ms, name, fields) : render_text(level, unix_ms, name, fields);
}

}  // namespace millrace::log
