#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "numbers.hpp"

namespace millrace::app::top {

namespace {

struct Kind {
  std::string_view title;
  std::size_t width = 0;    // 0: as wide as its texts
  unsigned importance = 0;  // the smallest goes first
  Sort sort = Sort::file;   // none
};

constexpr std::size_t kMinuteWidthMin = 8;
constexpr std::size_t kMinuteWidthMax = 60;
constexpr std::size_t kRoomy = 120;  // from this width on columns stand apart

constexpr std::array<Kind, 12> kKinds = {{
    {"BACKEND", 0, 99, Sort::name},
    {"STATE", 0, 98, Sort::state},
    {"ADDRESS", 0, 1, Sort::file},
    {"WT", 4, 4, Sort::file},
    {"ACTIVE", 6, 97, Sort::active},
    {"CONN/s", 6, 96, Sort::connections},
    {"IN/s", 5, 5, Sort::in},
    {"OUT/s", 5, 6, Sort::out},
    {"p50ms", 5, 2, Sort::file},
    {"p99ms", 5, 7, Sort::p99},
    {"FAIL/s", 6, 8, Sort::failures},
    {"LAST MINUTE", 0, 3, Sort::file},
}};

const Kind& kind(Column column) {
  return kKinds[static_cast<std::size_t>(column)];
}

std::size_t width_of(Column column, const TextWidths& widths) {
  switch (column) {
    case Column::name:
      return widths.name;
    case Column::state:
      return widths.state;
    case Column::address:
      return widths.address;
    case Column::minute:
      return kMinuteWidthMin;
    default:
      return kind(column).width;
  }
}

Text number(std::string text, double value) {
  return {std::move(text), value > 0 ? Tone::normal : Tone::dim};
}

Text rate_cell(Column column, const Rates& rates) {
  switch (column) {
    case Column::connections:
      return number(count_text(rates.connections), rates.connections);
    case Column::in:
      return number(bytes_text(rates.in), rates.in);
    case Column::out:
      return number(bytes_text(rates.out), rates.out);
    case Column::failures:
      return {count_text(rates.failures), rates.failures > 0 ? Tone::bad : Tone::dim};
    default:
      return {};
  }
}

Tone tone_of(std::string_view state) {
  if (state == "up") return Tone::good;
  return state == "down" || state == "ejected" ? Tone::bad : Tone::warning;
}

}  // namespace

std::vector<Placed> place_columns(std::size_t width, const TextWidths& widths) {
  std::vector<Column> chosen;
  for (std::size_t i = 0; i < kKinds.size(); ++i) chosen.push_back(static_cast<Column>(i));
  const std::size_t gap = width >= kRoomy ? 2 : 1;
  std::size_t used = 0;
  for (;;) {
    used = gap * (chosen.size() - 1);
    for (const Column column : chosen) used += width_of(column, widths);
    if (used <= width || chosen.size() == 1) break;
    chosen.erase(std::min_element(chosen.begin(), chosen.end(),
                                  [](Column a, Column b) { return kind(a).importance < kind(b).importance; }));
  }
  std::vector<Placed> placed;
  std::size_t at = 0;
  for (const Column column : chosen) {
    Placed& entry = placed.emplace_back();
    entry.column = column;
    entry.at = at;
    entry.width = std::min(width_of(column, widths), width);
    if (column == Column::minute) entry.width = std::min(entry.width + width - std::min(used, width), kMinuteWidthMax);
    at += entry.width + gap;
  }
  return placed;
}

std::string_view title(Column column) {
  return kind(column).title;
}

bool is_left(Column column) {
  return column == Column::name || column == Column::state || column == Column::address || column == Column::minute;
}

bool is_sorted_by(Column column, Sort sort) {
  return sort != Sort::file && kind(column).sort == sort;
}

std::string state_text(const BackendView& backend) {
  const bool odd = backend.state != backend.health && backend.health != "up";
  return backend.state + (odd ? " (" + backend.health + ")" : "") + (backend.backup ? " backup" : "");
}

Text cell(Column column, const BackendView& backend) {
  switch (column) {
    case Column::name:
      return {backend.name, tone_of(backend.state) == Tone::bad ? Tone::bad : Tone::normal};
    case Column::state:
      return {state_text(backend), tone_of(backend.state)};
    case Column::address:
      return {backend.address, Tone::dim};
    case Column::weight:
      return {std::to_string(backend.weight), Tone::dim};
    case Column::active:
      return number(count_text(backend.active), backend.active);
    case Column::p50:
      return number(milliseconds_text(backend.p50_ms), backend.p50_ms.value_or(0));
    case Column::p99:
      return number(milliseconds_text(backend.p99_ms), backend.p99_ms.value_or(0));
    default:
      return rate_cell(column, backend.rates);
  }
}

Text cell(Column column, const PoolView& pool) {
  const Tone tone = pool.up == pool.backends.size() ? Tone::good : pool.up == 0 ? Tone::bad : Tone::warning;
  switch (column) {
    case Column::name:
      return {pool.name, Tone::strong};
    case Column::state:
      return {fmt::format("{}/{} up", pool.up, pool.backends.size()), tone};
    case Column::address:
      return {pool.balance, Tone::dim};
    case Column::active: {
      const auto active = static_cast<double>(pool.active);
      return {count_text(active), active > 0 ? Tone::strong : Tone::dim};
    }
    default: {
      Text text = rate_cell(column, pool.rates);
      if (text.tone == Tone::normal) text.tone = Tone::strong;
      return text;
    }
  }
}

}  // namespace millrace::app::top
