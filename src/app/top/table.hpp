#pragma once
// The table of backends: which columns have room, and what stands in each.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rates.hpp"
#include "view.hpp"

namespace millrace::app::top {

enum class Column : std::uint8_t {
  name,
  state,
  address,
  weight,
  active,
  connections,
  in,
  out,
  p50,
  p99,
  failures,
  minute
};

struct Placed {
  Column column = Column::name;
  std::size_t at = 0;
  std::size_t width = 0;
};

/// How wide the columns are whose content is text.
struct TextWidths {
  std::size_t name = 0;
  std::size_t state = 0;
  std::size_t address = 0;
};

struct Text {
  std::string text;
  Tone tone = Tone::normal;
};

/// From left to right; what is least important is left out first, the last minute takes the rest.
[[nodiscard]] std::vector<Placed> place_columns(std::size_t width, const TextWidths& widths);
[[nodiscard]] std::string_view title(Column column);
[[nodiscard]] bool is_left(Column column);
[[nodiscard]] bool is_sorted_by(Column column, Sort sort);

/// Up, down, …, with what the probes say when an operator took it out, and that it is a backup.
[[nodiscard]] std::string state_text(const BackendView& backend);
[[nodiscard]] Text cell(Column column, const BackendView& backend);
[[nodiscard]] Text cell(Column column, const PoolView& pool);

}  // namespace millrace::app::top
