#include "bars.hpp"

#include <algorithm>
#include <cmath>

namespace millrace::app::top {

namespace {

constexpr std::size_t kSteps = 8;
constexpr char32_t kLowestBlock = U'\u2581';
constexpr char32_t kMiddleDot = U'\u00b7';
constexpr std::u32string_view kAsciiBlocks = U".,:-=+*#";

char32_t block(std::size_t steps, bool ascii) {
  return ascii ? kAsciiBlocks[steps - 1] : static_cast<char32_t>(kLowestBlock + steps - 1);
}

}  // namespace

void draw_bars(Grid& grid, const Place& place, const History& history, double top, const BarStyle& style) {
  const std::vector<std::optional<double>> columns = history.columns(style.samples, place.width);
  const std::size_t bottom = place.row + place.height - 1;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (!columns[i]) continue;
    const std::size_t at = place.column + i;
    const double part = top > 0 ? std::min(*columns[i] / top, 1.0) : 0;
    if (part <= 0) {
      grid.put(bottom, at, style.ascii ? U'.' : kMiddleDot, Tone::dim);
      continue;
    }
    // What is not nothing is seen.
    auto steps = static_cast<std::size_t>(std::lround(part * static_cast<double>(kSteps * place.height)));
    steps = std::max<std::size_t>(steps, 1);
    for (std::size_t line = 0; line < place.height && steps > 0; ++line) {
      const std::size_t here = std::min(steps, kSteps);
      grid.put(bottom - line, at, block(here, style.ascii), style.tone);
      steps -= here;
    }
  }
}

}  // namespace millrace::app::top
