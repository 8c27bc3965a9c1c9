#pragma once
// Screen: the terminal, by ncurses. As it was before, once this is destroyed. There is one at a time.

#include <optional>

#include "grid.hpp"
#include "millrace/base/result.hpp"
#include "view.hpp"

namespace millrace::app::top {

class Screen {
 public:
  /// The error says what is the matter with the terminal.
  [[nodiscard]] static std::optional<Error> check();

  Screen();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  Screen(Screen&&) = delete;
  Screen& operator=(Screen&&) = delete;

  [[nodiscard]] Size size() const;
  [[nodiscard]] bool ascii() const { return ascii_; }
  void draw(const Grid& grid);
  /// The next key that was pressed, if there is one; a change of size is `Key::other`.
  [[nodiscard]] std::optional<Key> key();

 private:
  bool ascii_ = false;
  bool colours_ = false;
};

}  // namespace millrace::app::top
