#pragma once
// View: what the operator looks at and does, without a terminal: which backends in which order, what is selected, what
// is being typed. Keys come in, orders for the balancer come out, and `draw` makes a screen of it.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "grid.hpp"
#include "rates.hpp"

namespace millrace::app::top {

/// A character, or one of these.
enum class Key : std::uint32_t {
  enter = '\n',
  escape = 0x1b,
  backspace = 0x7f,
  up = 0x110000,  // above every character
  down,
  left,
  right,
  page_up,
  page_down,
  home,
  end,
  other,
};

enum class Sort : std::uint8_t { file, name, state, active, connections, in, out, p99, failures };
inline constexpr std::size_t kSorts = 9;

/// What the balancer is to do with a backend.
struct Order {
  std::string pool;
  std::string backend;
  std::string action;  // drain, disable, enable, weight
  std::uint32_t weight = 0;
};

/// How it stands with the balancer.
struct Link {
  bool connected = false;
  std::string problem;  // why not, or that it does not answer
};

/// One line of the table: a pool, or one of its backends.
struct Row {
  static constexpr std::size_t kPool = SIZE_MAX;
  std::size_t pool = 0;
  std::size_t backend = kPool;
};

struct Look {
  Size size;
  std::size_t samples = 60;  // of a minute
  bool ascii = false;        // the terminal knows nothing else
  std::string clock;
};

class View {
 public:
  void show(const Picture& picture);
  void set_link(Link link) { link_ = std::move(link); }
  /// Stands at the foot until the next key.
  void say(std::string message, bool bad);

  /// What to tell the balancer, if the key was the last one of an order.
  std::optional<Order> press(Key key);
  [[nodiscard]] bool done() const { return done_; }

  /// Also scrolls to what is selected.
  [[nodiscard]] Grid draw(const Look& look);

 private:
  enum class Mode : std::uint8_t { table, filter, confirm, weight, help };

  void press_in_table(Key key);
  std::optional<Order> press_in_prompt(Key key);
  void ask_for(std::string action);
  void move(std::ptrdiff_t by);
  void select(std::size_t index);
  [[nodiscard]] std::vector<Row> rows() const;
  [[nodiscard]] std::optional<std::size_t> selected(const std::vector<Row>& rows) const;
  [[nodiscard]] const BackendView& backend(const Row& row) const {
    return picture_.pools[row.pool].backends[row.backend];
  }
  [[nodiscard]] bool matches(const PoolView& pool, const BackendView& backend) const;

  void draw_header(Grid& grid, const Look& look) const;
  std::size_t draw_graphs(Grid& grid, const Look& look, std::size_t row) const;
  std::size_t draw_listeners(Grid& grid, std::size_t row) const;
  void draw_table(Grid& grid, const Look& look, std::size_t row);
  void draw_foot(Grid& grid, std::string_view position) const;
  void draw_banner(Grid& grid) const;

  Picture picture_;
  std::optional<Picture> latest_;  // while paused
  bool any_ = false;               // a picture has come
  Link link_;
  std::string message_;
  bool message_is_bad_ = false;

  Mode mode_ = Mode::table;
  Sort sort_ = Sort::file;
  bool reversed_ = false;
  bool grouped_ = true;
  bool paused_ = false;
  bool done_ = false;
  std::string filter_;
  std::string typed_;                                            // the weight
  Order order_;                                                  // to be confirmed
  std::optional<std::pair<std::string, std::string>> selected_;  // pool and backend: stays while the order changes
  std::size_t top_ = 0;                                          // first row of the table that is seen
  std::size_t page_ = 10;                                        // rows of the table that were seen last
};

}  // namespace millrace::app::top
