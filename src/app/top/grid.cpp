#include "grid.hpp"

namespace millrace::app::top {

namespace {

void append_utf8(std::string& out, char32_t glyph) {
  const auto byte = [&out](char32_t value) { out += static_cast<char>(static_cast<unsigned char>(value)); };
  if (glyph < 0x80) return byte(glyph);
  if (glyph < 0x800) {
    byte(0xc0U | (glyph >> 6U));
  } else {
    byte(0xe0U | (glyph >> 12U));
    byte(0x80U | ((glyph >> 6U) & 0x3fU));
  }
  byte(0x80U | (glyph & 0x3fU));
}

}  // namespace

std::size_t Grid::put(std::size_t row, std::size_t column, std::string_view text, Tone tone) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    put(row, column++, byte >= 0x20 && byte < 0x7f ? static_cast<char32_t>(byte) : U'?', tone);
  }
  return column;
}

void Grid::put(std::size_t row, std::size_t column, char32_t glyph, Tone tone) {
  if (row >= size_.rows || column >= size_.columns) return;
  Cell& cell = cells_[row * size_.columns + column];
  cell.glyph = glyph;
  cell.tone = tone;
}

void Grid::clear(std::size_t row, std::size_t from, std::size_t to) {
  for (std::size_t column = from; column < to && column < size_.columns && row < size_.rows; ++column) {
    cells_[row * size_.columns + column] = {};
  }
}

void Grid::reverse(std::size_t row) {
  for (std::size_t column = 0; column < size_.columns && row < size_.rows; ++column) {
    cells_[row * size_.columns + column].reversed = true;
  }
}

void Grid::select(std::size_t row) {
  reverse(row);
  for (std::size_t column = 0; column < size_.columns && row < size_.rows; ++column) {
    cells_[row * size_.columns + column].tone = Tone::normal;
  }
}

void Grid::lift(std::size_t row, std::size_t column) {
  if (row < size_.rows && column < size_.columns) cells_[row * size_.columns + column].reversed = false;
}

void Grid::fade() {
  for (Cell& cell : cells_) cell.tone = Tone::dim;
}

std::string Grid::text(std::size_t row) const {
  std::string out;
  for (std::size_t column = 0; column < size_.columns; ++column) append_utf8(out, at(row, column).glyph);
  out.erase(out.find_last_not_of(' ') + 1);
  return out;
}

}  // namespace millrace::app::top
