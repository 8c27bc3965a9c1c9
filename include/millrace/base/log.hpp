#pragma once
// Structured log events: a level, an event name, and key-value fields; written to stderr as text or as JSON lines.
//
// Any thread may log. Lines go through a bounded queue to one writer thread, so that a stuck terminal or pipe never
// blocks a worker; when the queue is full the oldest lines are dropped and their number is logged. Not for the path of
// every connection: one line per event that a person should see.

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace millrace::log {

enum class Level : std::uint8_t { error, warn, info, debug };
enum class Format : std::uint8_t { text, json };

/// One key with its value; views must live until the call returns.
struct Field {
  using Value = std::variant<std::int64_t, std::uint64_t, double, bool, std::string_view>;
  std::string_view key;
  Value value;

  Field(std::string_view k, std::string_view v) : key(k), value(v) {}
  Field(std::string_view k, const std::string& v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, const char* v) : key(k), value(std::string_view(v)) {}
  Field(std::string_view k, bool v) : key(k), value(v) {}
  Field(std::string_view k, double v) : key(k), value(v) {}
  template <class I>
  requires(std::is_integral_v<I> && !std::is_same_v<I, bool>) Field(std::string_view k, I v) : key(k) {
    if constexpr (std::is_signed_v<I>) {
      value = static_cast<std::int64_t>(v);
    } else {
      value = static_cast<std::uint64_t>(v);
    }
  }
};

/// Starts the writer; from main, and not twice without stop(). Events before it go to stderr as text at level info,
/// synchronously. Throws std::system_error when no thread can be had.
void start(Level level, Format format);
/// Writes out what is queued and stops the writer; from main. Events after it are written synchronously. A stderr that
/// takes nothing more is given up after `patience`, so that nobody can keep the process from ending.
void stop(std::chrono::milliseconds patience = std::chrono::seconds(1));

/// From now on. Any thread.
void change(Level level, Format format);
[[nodiscard]] bool enabled(Level level);
void event(Level level, std::string_view name, std::initializer_list<Field> fields = {});

inline void error(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::error, name, fields);
}
inline void warn(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::warn, name, fields);
}
inline void info(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::info, name, fields);
}
inline void debug(std::string_view name, std::initializer_list<Field> fields = {}) {
  event(Level::debug, name, fields);
}

/// One event rendered without a newline; what event() writes. Public for tests.
/// Text: `2026-01-02T03:04:05.678Z info ready workers=2 address="*:80"` (values quoted only when they need it: that is,
/// unless they are made of letters, digits and `_-./:@+,%` alone).
/// JSON: `{"time":"…","level":"info","event":"ready","workers":2,"address":"*:80"}`; a number that is not finite is
/// null.
/// In both, quoted strings are escaped as JSON wants it, all control characters too (no line and no terminal escape can
/// be forged), and bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::string render(Format format, Level level, std::int64_t unix_ms, std::string_view name,
                                 std::initializer_list<Field> fields);

}  // namespace millrace::log
