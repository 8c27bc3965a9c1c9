#include "top/bars.hpp"

#include <doctest/doctest.h>

namespace millrace::app::top {

TEST_CASE("draw_bars: as high as the rate, a dot for nothing, and what is not nothing is seen") {
  History history;
  for (const double value : {0.0, 0.001, 4.0, 8.0}) history.add(value, 60);
  Grid grid({.rows = 2, .columns = 6});
  SUBCASE("one row") {
    draw_bars(grid, {.row = 0, .column = 0, .width = 6, .height = 1}, history, 8, {.samples = 6});
    CHECK(grid.text(0) == "  \u00b7\u2581\u2584\u2588");
  }
  SUBCASE("two rows") {
    draw_bars(grid, {.row = 0, .column = 0, .width = 6, .height = 2}, history, 8, {.samples = 6});
    CHECK(grid.text(0) == "     \u2588");
    CHECK(grid.text(1) == "  \u00b7\u2581\u2588\u2588");
  }
  SUBCASE("ASCII") {
    draw_bars(grid, {.row = 0, .column = 0, .width = 6, .height = 1}, history, 8, {.samples = 6, .ascii = true});
    CHECK(grid.text(0) == "  ..-#");
  }
  SUBCASE("nothing at all") {
    draw_bars(grid, {.row = 0, .column = 0, .width = 6, .height = 1}, history, 0, {.samples = 6});
    CHECK(grid.text(0) == "  \u00b7\u00b7\u00b7\u00b7");
  }
}

TEST_CASE("Grid: text is clipped at the edges") {
  Grid grid({.rows = 1, .columns = 4});
  CHECK(grid.put(0, 2, "abc") == 5);
  grid.put(7, 0, "below");
  CHECK(grid.text(0) == "  ab");
}

}  // namespace millrace::app::top
