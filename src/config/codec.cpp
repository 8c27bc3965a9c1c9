#include "codec.hpp"

#include "suggest.hpp"

namespace millrace::config {
namespace {

/// A number where a string with a unit belongs: says what the string would be.
std::string unit_missing(const Node& node) {
  std::string example = "5s";
  if (node.kind == Node::Kind::integer && node.integer >= 0) example = fmt::format("{}s", node.integer);
  if (node.kind == Node::Kind::real && node.real >= 0.001 && node.real < 1e9) {
    example = fmt::format("{}ms", static_cast<std::int64_t>(node.real * 1000));
  }
  return fmt::format(R"(a duration is a string with a unit, write "{}")", example);
}

bool is_never(std::string_view text) {
  return text == "never" || text == "none" || text == "off" || text == "inf" || text == "infinite" ||
         text == "unlimited";
}

}  // namespace

std::string unquoted_hint(const Node& node, std::string_view characters) {
  const bool number = node.kind == Node::Kind::string && !node.text.empty() && node.text.size() < 20 &&
                      node.text.find_first_not_of(characters) == std::string::npos;
  return number ? fmt::format("; write {} without quotes", node.text) : std::string();
}

std::optional<std::int64_t> read_whole(const Place& place, Problems& problems, std::int64_t low, std::int64_t high) {
  if (!expect(place, Node::Kind::integer, problems, unquoted_hint(place.node(), "-0123456789"))) return std::nullopt;
  const std::int64_t number = place.node().integer;
  if (number >= low && number <= high) return number;
  problems.add(place, fmt::format("{} is out of range, use {} to {}", number, low, high));
  return std::nullopt;
}

std::optional<double> read_real(const Place& place, Problems& problems) {
  const Node& node = place.node();
  if (node.kind == Node::Kind::real) return node.real;
  if (node.kind == Node::Kind::integer) return static_cast<double>(node.integer);
  problems.add(
      place, fmt::format("expected a number, found {}{}", description(node.kind), unquoted_hint(node, "-.0123456789")));
  return std::nullopt;
}

std::optional<Nanos> read_duration(const Place& place, Problems& problems, bool zero_allowed) {
  const Node& node = place.node();
  if (node.kind == Node::Kind::integer || node.kind == Node::Kind::real) {
    problems.add(place, unit_missing(node));
    return std::nullopt;
  }
  if (node.kind != Node::Kind::string) {
    problems.add(place, fmt::format(R"(expected a duration like "5s", found {})", description(node.kind)));
    return std::nullopt;
  }
  if (zero_allowed && is_never(node.text)) {
    problems.add(place, fmt::format(R"({} is not a duration, write "0s")", quoted(node.text)));
    return std::nullopt;
  }
  const Result<Nanos> duration = parse_duration(node.text);
  if (!duration) {
    problems.add(place, duration.error());
    return std::nullopt;
  }
  if (duration.value() == Nanos(0) && !zero_allowed) {
    problems.add(place, "must be longer than 0s");
    return std::nullopt;
  }
  return duration.value();
}

void complain_unknown_value(const Place& place, Problems& problems, std::string_view text,
                            const std::vector<std::string_view>& names) {
  auto meant = translate(text, names);
  if (!meant) meant = suggest(text, names);
  std::string hint = did_you_mean(meant);
  if (hint.empty()) hint = fmt::format(", use one of: {}", fmt::join(names, ", "));
  problems.add(place, fmt::format("unknown value {}{}", quoted(text), hint));
}

void SocketPath::read(const Place& place, Problems& problems, std::string& out) {
  if (!expect(place, Node::Kind::string, problems)) return;
  const std::string& text = place.node().text;
  if (text.starts_with("unix:")) {
    problems.add(place, fmt::format("a path is enough here: write {}", quoted(text.substr(5))));
  } else if (!text.empty() && text.front() != '/') {
    problems.add(place, fmt::format("{} is not an absolute path; begin it with /", quoted(text)));
  } else if (text.find('\0') != std::string::npos) {
    problems.add(place, "a path cannot hold a zero byte");
  } else if (text.size() > kSocketPathMax) {
    problems.add(place, fmt::format("the path is {} bytes long, the address of a unix socket holds {}", text.size(),
                                    kSocketPathMax));
  } else {
    out = text;
  }
}

void LogPath::read(const Place& place, Problems& problems, std::string& out) {
  if (!expect(place, Node::Kind::string, problems, R"(; write "off", "stderr" or the path of a file)")) return;
  const std::string& text = place.node().text;
  if (text == "off" || text == "stderr") {
    out = text;
  } else if (text.empty()) {
    problems.add(place, R"(needs a value; write "off", "stderr" or the path of a file)");
  } else if (text.front() != '/') {
    problems.add(
        place, fmt::format(R"({} is not an absolute path; begin it with /, or write "off" or "stderr")", quoted(text)));
  } else if (text.back() == '/') {
    problems.add(place, fmt::format("{} is a folder; name a file in it", quoted(text)));
  } else if (text.find('\0') != std::string::npos) {
    problems.add(place, "a path cannot hold a zero byte");
  } else if (text.size() > kFilePathMax) {
    problems.add(place, fmt::format("the path is {} bytes long, the most is {}", text.size(), kFilePathMax));
  } else {
    out = text;
  }
}

void Flag::read(const Place& place, Problems& problems, bool& out) {
  if (place.node().kind == Node::Kind::boolean) {
    out = place.node().boolean;
    return;
  }
  const std::string& text = place.node().text;  // empty for what is no string
  const std::string hint = text == "true" || text == "false" ? "; write " + text + " without quotes" : std::string();
  problems.add(place, fmt::format("expected true or false, found {}{}", description(place.node().kind), hint));
}

}  // namespace millrace::config
