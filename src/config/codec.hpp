#pragma once
// Codecs: how one value is read from a node and written as TOML. A codec is a type with
//   static void read(const Place&, Problems&, V& out);   // complains and leaves `out` alone when the value is wrong
//   static void write(std::string& out, const V&);       // appends the value
//   static void describe(std::string& out);              // appends what a JSON Schema says about it, without braces
// The numbers in their names are the bounds, both included.

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "duration.hpp"
#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"
#include "text.hpp"
#include "words.hpp"

namespace millrace::config {

[[nodiscard]] std::optional<std::int64_t> read_whole(const Place&, Problems&, std::int64_t low, std::int64_t high);
[[nodiscard]] std::optional<double> read_real(const Place&, Problems&);
[[nodiscard]] std::optional<Nanos> read_duration(const Place&, Problems&, bool zero_allowed);
/// "; write 5 without quotes" for a string that has nothing but `characters`.
[[nodiscard]] std::string unquoted_hint(const Node&, std::string_view characters);
/// Complains that `text` is none of `names`.
void complain_unknown_value(const Place&, Problems&, std::string_view text, const std::vector<std::string_view>& names);

template <std::int64_t low, std::int64_t high>
struct Whole {
  template <class V>
  static void read(const Place& place, Problems& problems, V& out) {
    if (const auto number = read_whole(place, problems, low, high)) out = static_cast<V>(*number);
  }
  static void write(std::string& out, std::uint64_t value) { out += std::to_string(value); }
  static void describe(std::string& out) {
    out += fmt::format(R"("type":"integer","minimum":{},"maximum":{})", low, high);
  }
};

/// "auto", which is 0, or a number from 1.
template <std::int64_t high>
struct AutoOr {
  static void read(const Place& place, Problems& problems, std::uint32_t& out) {
    const Node& node = place.node();
    if (node.kind == Node::Kind::string) {
      if (node.text == "auto") {
        out = 0;
      } else {
        problems.add(place, fmt::format(R"(expected "auto" or a whole number, found {}{})", quoted(node.text),
                                        unquoted_hint(node, "0123456789")));
      }
      return;
    }
    if (node.kind == Node::Kind::integer && node.integer == 0) {
      problems.add(place, fmt::format(R"(0 is out of range, use "auto" or 1 to {})", high));
      return;
    }
    Whole<1, high>::read(place, problems, out);
  }
  static void write(std::string& out, std::uint32_t value) { out += value == 0 ? R"("auto")" : std::to_string(value); }
  static void describe(std::string& out) {
    out += fmt::format(R"("anyOf":[{{"const":"auto"}},{{"type":"integer","minimum":1,"maximum":{}}}])", high);
  }
};

/// A number from low to high with or without a fraction; `or_zero` adds 0 to the range.
template <int low, int high, bool or_zero = false>
struct Real {
  static void read(const Place& place, Problems& problems, double& out) {
    const auto number = read_real(place, problems);
    if (!number) return;
    if ((*number >= low && *number <= high) || (or_zero && *number == 0.0)) {
      out = *number + 0.0;  // -0.0 becomes 0.0
    } else {
      problems.add(place,
                   fmt::format("{} is out of range, use {}{}.0 to {}.0", *number, or_zero ? "0.0 or " : "", low, high));
    }
  }
  static void write(std::string& out, double value) {
    const std::string text = fmt::format("{}", value);  // the shortest that reads back as the same number
    out += text;
    if (text.find_first_of(".e") == std::string::npos) out += ".0";
  }
  static void describe(std::string& out) {
    const std::string range = fmt::format(R"("type":"number","minimum":{},"maximum":{})", low, high);
    out += or_zero ? R"("anyOf":[{"const":0},{)" + range + "}]" : range;
  }
};

struct Flag {
  static void read(const Place& place, Problems& problems, bool& out);
  static void write(std::string& out, bool value) { out += value ? "true" : "false"; }
  static void describe(std::string& out) { out += R"("type":"boolean")"; }
};

enum class Zero : bool { refused, allowed };

template <Zero zero>
struct Duration {
  static void read(const Place& place, Problems& problems, Nanos& out) {
    if (const auto duration = read_duration(place, problems, zero == Zero::allowed)) out = *duration;
  }
  static void write(std::string& out, Nanos value) { out += '"' + format_duration(value) + '"'; }
  static void describe(std::string& out) {
    constexpr std::string_view kNotZero = zero == Zero::refused ? "(?=.*[1-9])" : "";
    out += fmt::format(R"("type":"string","pattern":"^{}(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$")",
                       kNotZero);
  }
};

/// Any string up to a number of bytes.
template <std::size_t bytes_max>
struct Text {
  static void read(const Place& place, Problems& problems, std::string& out) {
    if (!expect(place, Node::Kind::string, problems)) return;
    const std::string& text = place.node().text;
    if (text.size() > bytes_max) {
      problems.add(place, fmt::format("{} bytes are too many, the most is {}", text.size(), bytes_max));
    } else {
      out = text;
    }
  }
  static void write(std::string& out, const std::string& value) { out += toml_string(value); }
  static void describe(std::string& out) { out += fmt::format(R"("type":"string","maxLength":{})", bytes_max); }
};

/// The absolute path of a unix socket, or nothing.
struct SocketPath {
  static void read(const Place& place, Problems& problems, std::string& out);
  static void write(std::string& out, const std::string& value) { out += toml_string(value); }
  static void describe(std::string& out) {
    out += fmt::format(R"("type":"string","pattern":"^(/.*)?$","maxLength":{})", kSocketPathMax);
  }
};

/// "off", "stderr", or the absolute path of a file.
struct LogPath {
  static void read(const Place& place, Problems& problems, std::string& out);
  static void write(std::string& out, const std::string& value) { out += toml_string(value); }
  static void describe(std::string& out) {
    out += fmt::format(R"("type":"string","pattern":"^(off|stderr|/.*)$","maxLength":{})", kFilePathMax);
  }
};

/// One of the words of choices<E>().
template <class E>
struct Word {
  static void read(const Place& place, Problems& problems, E& out) {
    if (!expect(place, Node::Kind::string, problems)) return;
    std::vector<std::string_view> names;
    for (const Choice<E>& choice : choices<E>()) {
      if (choice.value) names.push_back(choice.name);
      if (choice.name != place.node().text) continue;
      if (choice.value) {
        out = *choice.value;
      } else {
        problems.add(place, fmt::format("{} is not built yet; use another value", quoted(choice.name)));
      }
      return;
    }
    complain_unknown_value(place, problems, place.node().text, names);
  }
  static void write(std::string& out, E value) {
    for (const Choice<E>& choice : choices<E>()) {
      if (choice.value == value) out += toml_string(choice.name);
    }
  }
  static void describe(std::string& out) {
    out += R"("enum":[)";
    std::string_view comma;
    for (const Choice<E>& choice : choices<E>()) {
      if (!choice.value) continue;
      out += comma;
      out += toml_string(choice.name);
      comma = ",";
    }
    out += ']';
  }
};

}  // namespace millrace::config
