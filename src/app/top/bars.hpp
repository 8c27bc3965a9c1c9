#pragma once
// Small pictures of a rate out of block characters.

#include <cstddef>
#include <string>
#include <string_view>

#include "grid.hpp"
#include "rates.hpp"

namespace millrace::app::top {

struct BarStyle {
  std::size_t samples = 60;  // that the width stands for
  bool ascii = false;
  Tone tone = Tone::accent;
};

struct Place {
  std::size_t row = 0;
  std::size_t column = 0;
  std::size_t width = 0;
  std::size_t height = 1;
};

/// A column of blocks for each part of the last minute, as high as `top` allows; a dot where nothing happened.
void draw_bars(Grid& grid, const Place& place, const History& history, double top, const BarStyle& style);

}  // namespace millrace::app::top
