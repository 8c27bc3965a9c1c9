#include "problems.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "suggest.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

auto order(const Diagnostic& d) {
  return std::tie(d.position.line, d.position.column);
}

}  // namespace

void Problems::add(const Place& place, std::string_view message) {
  mark_bad(place.node());
  add_at(place.node().position, fmt::format("{}: {}", place.name(), message));
}

void Problems::add_at(Position position, std::string message) {
  diagnostics_.push_back({position, std::move(message)});
}

void Problems::add_unknown_key(const Place& table, const Entry& entry, const std::vector<std::string_view>& known,
                               std::string_view homes) {
  auto meant = translate(entry.key, known);
  const bool elsewhere = !meant && !homes.empty() && entry.position.line != 0;  // options have no tables
  if (!meant && !elsewhere) meant = suggest(entry.key, known);
  const std::string hint = elsewhere ? fmt::format(", it belongs in {}", homes) : did_you_mean(meant);
  if (meant) misspelt_.emplace(&table.node(), std::string(*meant));
  const bool top_table = table.name().empty() && entry.value.kind == Node::Kind::table;
  add_at(entry.position, fmt::format("{}{}unknown {} {}{}", table.name(), table.name().empty() ? "" : ": ",
                                     top_table ? "table" : "key", quoted(entry.key), hint));
}

void Problems::add_not_built(const Place& table, const Entry& entry) {
  add_at(entry.position, fmt::format("{} is not built yet; remove it", table.name_of(entry.key)));
}

bool Problems::misspelt(const Node& table, std::string_view key) const {
  return misspelt_.contains({&table, std::string(key)});
}

std::vector<Diagnostic> Problems::take() {
  std::stable_sort(diagnostics_.begin(), diagnostics_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return order(a) < order(b); });
  std::vector<Diagnostic> out;
  std::size_t same_place = 0;  // where in `out` the diagnostics of the current position begin
  for (Diagnostic& diagnostic : diagnostics_) {
    if (!out.empty() && order(out.back()) != order(diagnostic)) same_place = out.size();
    const auto begin = out.begin() + static_cast<std::ptrdiff_t>(same_place);
    const bool known =
        std::any_of(begin, out.end(), [&](const Diagnostic& earlier) { return earlier.message == diagnostic.message; });
    if (!known) out.push_back(std::move(diagnostic));
  }
  diagnostics_.clear();
  return out;
}

bool expect(const Place& place, Node::Kind kind, Problems& problems, std::string_view remedy) {
  if (place.node().kind == kind) return true;
  problems.add(place,
               fmt::format("expected {}, found {}{}", description(kind), description(place.node().kind), remedy));
  return false;
}

bool expect(const Place& place, Node::Kind kind, Problems& problems) {
  return expect(place, kind, problems, {});
}

}  // namespace millrace::config
