#include "codec.hpp"

#include "suggest.hpp"

namespace millrace::config {
namespace {

/// A number where a string with a unit belongs: says what the string would be.
std::string unit_missing(const Node& node) {
  const bool sensible = node.kind == Node::Kind::integer && node.integer >= 0;
  return fmt::format(R"(a duration is a string with a unit, write "{}s")", sensible ? node.integer : 5);
}

}  // namespace

std::optional<std::int64_t> read_whole(const Place& place, Problems& problems, std::int64_t low, std::int64_t high) {
  if (!expect(place, Node::Kind::integer, problems)) return std::nullopt;
  const std::int64_t number = place.node().integer;
  if (number >= low && number <= high) return number;
  problems.add(place, fmt::format("{} is out of range, use {} to {}", number, low, high));
  return std::nullopt;
}

std::optional<double> read_real(const Place& place, Problems& problems) {
  const Node& node = place.node();
  if (node.kind == Node::Kind::real) return node.real;
  if (node.kind == Node::Kind::integer) return static_cast<double>(node.integer);
  problems.add(place, fmt::format("expected a number, found {}", description(node.kind)));
  return std::nullopt;
}

std::optional<Nanos> read_duration(const Place& place, Problems& problems, bool zero_allowed) {
  const Node& node = place.node();
  if (node.kind == Node::Kind::integer || node.kind == Node::Kind::real) {
    problems.add(place, unit_missing(node));
    return std::nullopt;
  }
  if (!expect(place, Node::Kind::string, problems)) return std::nullopt;
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
  std::string hint = did_you_mean(suggest(text, names));
  if (hint.empty()) hint = fmt::format(", use one of: {}", fmt::join(names, ", "));
  problems.add(place, fmt::format("unknown value {}{}", quoted(text), hint));
}

void Flag::read(const Place& place, Problems& problems, bool& out) {
  if (place.node().kind == Node::Kind::boolean) {
    out = place.node().boolean;
    return;
  }
  problems.add(place, fmt::format("expected true or false, found {}", description(place.node().kind)));
}

}  // namespace millrace::config
