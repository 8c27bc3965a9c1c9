#include "screen.hpp"

#include <langinfo.h>

#include <clocale>
#include <cstdlib>
#include <string>

#define NCURSES_NOMACROS 1  // its macros have names such as `clear` and `move`
#include <curses.h>

namespace millrace::app::top {

namespace {

constexpr int kEscapeDelayMs = 25;

attr_t attributes(const Cell& cell, bool colours) {
  attr_t attributes = cell.reversed ? A_REVERSE : A_NORMAL;
  if (cell.tone == Tone::dim && !cell.reversed) attributes |= A_DIM;
  if (cell.tone == Tone::strong) attributes |= A_BOLD;
  if (cell.tone == Tone::bad) attributes |= A_BOLD;
  if (colours && cell.tone >= Tone::good) attributes |= static_cast<attr_t>(COLOR_PAIR(static_cast<int>(cell.tone)));
  return attributes;
}

void begin_colours() {
  ::start_color();
  ::use_default_colors();  // the terminal's own background, dark or light
  constexpr short kBackground = -1;
  ::init_pair(static_cast<short>(Tone::good), COLOR_GREEN, kBackground);
  ::init_pair(static_cast<short>(Tone::warning), COLOR_YELLOW, kBackground);
  ::init_pair(static_cast<short>(Tone::bad), COLOR_RED, kBackground);
  ::init_pair(static_cast<short>(Tone::accent), COLOR_BLUE, kBackground);
}

Key key_of(wint_t code) {
  switch (code) {
    case KEY_UP:
      return Key::up;
    case KEY_DOWN:
      return Key::down;
    case KEY_LEFT:
      return Key::left;
    case KEY_RIGHT:
      return Key::right;
    case KEY_PPAGE:
      return Key::page_up;
    case KEY_NPAGE:
      return Key::page_down;
    case KEY_HOME:
      return Key::home;
    case KEY_END:
      return Key::end;
    case KEY_ENTER:
      return Key::enter;
    case KEY_BACKSPACE:
      return Key::backspace;
    default:
      return Key::other;
  }
}

}  // namespace

Screen::Screen() {
  std::setlocale(LC_CTYPE, "");                             // NOLINT(concurrency-mt-unsafe): one thread
  ascii_ = std::string(::nl_langinfo(CODESET)) != "UTF-8";  // NOLINT(concurrency-mt-unsafe): one thread
  ::initscr();
  ::cbreak();
  ::noecho();
  ::nonl();
  ::keypad(stdscr, TRUE);
  ::nodelay(stdscr, TRUE);
  ::set_escdelay(kEscapeDelayMs);
  ::curs_set(0);
  colours_ = ::has_colors() && std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe): one thread
  if (colours_) begin_colours();
}

Screen::~Screen() {
  ::endwin();
}

Size Screen::size() const {
  return {.rows = static_cast<std::size_t>(getmaxy(stdscr)), .columns = static_cast<std::size_t>(getmaxx(stdscr))};
}

void Screen::draw(const Grid& grid) {
  // Everything is written; ncurses sends what has changed.
  for (std::size_t row = 0; row < grid.size().rows; ++row) {
    ::move(static_cast<int>(row), 0);
    for (std::size_t column = 0; column < grid.size().columns;) {
      const attr_t same = attributes(grid.at(row, column), colours_);
      std::wstring run;
      for (; column < grid.size().columns && attributes(grid.at(row, column), colours_) == same; ++column) {
        run += static_cast<wchar_t>(grid.at(row, column).glyph);
      }
      ::attrset(static_cast<int>(same));
      ::addnwstr(run.c_str(), static_cast<int>(run.size()));
    }
  }
  ::refresh();
}

std::optional<Key> Screen::key() {
  wint_t code = 0;
  const int kind = ::get_wch(&code);
  if (kind == ERR) return std::nullopt;
  if (kind == KEY_CODE_YES) return key_of(code);
  if (code == '\r') return Key::enter;
  if (code == '\b') return Key::backspace;
  return static_cast<Key>(code);
}

}  // namespace millrace::app::top
