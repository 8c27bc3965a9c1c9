// Apart from screen.cpp: the macros of <term.h> have names such as `columns`.

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "screen.hpp"
// After our own headers, because of the macros.
#include <curses.h>
#include <term.h>

namespace millrace::app::top {

std::optional<Error> Screen::check() {
  if (::isatty(STDOUT_FILENO) != 1 || ::isatty(STDIN_FILENO) != 1) {
    return Error{"top needs a terminal; `millrace status` prints how it goes once, with --json for scripts"};
  }
  int found = 0;
  if (::setupterm(nullptr, STDOUT_FILENO, &found) == OK) return std::nullopt;
  const char* const term = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): one thread
  return Error{
      fmt::format("top does not know the terminal '{}'; set TERM, for example to xterm, or use `millrace status`",
                  term == nullptr ? "" : term)};
}

}  // namespace millrace::app::top
