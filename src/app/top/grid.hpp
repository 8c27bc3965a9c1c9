#pragma once
// A screen as plain data: what stands where, and in which tone. Text is clipped at the edges.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::app::top {

enum class Tone : std::uint8_t { normal, dim, strong, good, warning, bad, accent };

struct Cell {
  char32_t glyph = U' ';
  Tone tone = Tone::normal;
  bool reversed = false;

  friend bool operator==(const Cell&, const Cell&) = default;
};

struct Size {
  std::size_t rows = 24;
  std::size_t columns = 80;
};

class Grid {
 public:
  explicit Grid(Size size) : size_(size), cells_(size.rows * size.columns) {}

  /// Returns the column after the text. Bytes that are not printable ASCII become '?'.
  std::size_t put(std::size_t row, std::size_t column, std::string_view text, Tone tone = Tone::normal);
  void put(std::size_t row, std::size_t column, char32_t glyph, Tone tone);
  void clear(std::size_t row, std::size_t from, std::size_t to);
  /// A bar from edge to edge.
  void reverse(std::size_t row);
  /// The same in one tone, as coloured words are hard to read in it.
  void select(std::size_t row);
  /// Takes a cell out of such a bar.
  void lift(std::size_t row, std::size_t column);
  /// Everything in one tone: old news.
  void fade();

  [[nodiscard]] Size size() const { return size_; }
  [[nodiscard]] const Cell& at(std::size_t row, std::size_t column) const {
    return cells_[row * size_.columns + column];
  }
  /// A row as text, without spaces at its end, glyphs that are not ASCII as UTF-8.
  [[nodiscard]] std::string text(std::size_t row) const;

 private:
  Size size_;
  std::vector<Cell> cells_;
};

}  // namespace millrace::app::top
