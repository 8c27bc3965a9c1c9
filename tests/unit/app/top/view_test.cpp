#include "top/view.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include "top/numbers.hpp"
#include "top/table.hpp"

namespace millrace::app::top {

namespace {

Picture picture_with(std::size_t backends) {
  Picture picture;
  picture.version = "0.1.0";
  picture.pid = 42;
  picture.workers = 2;
  picture.listeners = {{.name = "web", .address = "tcp 0.0.0.0:80", .pool = "web", .active = 0, .rates = {}}};
  PoolView& pool = picture.pools.emplace_back();
  pool.name = "web";
  pool.balance = "least_conn";
  for (std::size_t i = 0; i < backends; ++i) {
    BackendView& backend = pool.backends.emplace_back();
    backend.name = fmt::format("b{:02}", i);
    backend.address = fmt::format("10.0.0.{}:80", i);
    backend.state = backend.health = i == 1 ? "down" : "up";
    backend.active = static_cast<std::uint32_t>(i);
  }
  pool.up = backends - 1;
  return picture;
}

struct Fixture {
  explicit Fixture(std::size_t backends) {
    view.set_link({.connected = true, .problem = {}});
    view.show(picture_with(backends));
  }
  void type(std::string_view keys) {
    for (const char c : keys) last = view.press(static_cast<Key>(static_cast<unsigned char>(c)));
  }
  void press(Key key) { last = view.press(key); }
  std::vector<std::string> lines(Size size = {}) {
    const Grid grid = view.draw({.size = size, .samples = 60, .ascii = false, .clock = "12:00:00"});
    std::vector<std::string> lines;
    for (std::size_t row = 0; row < size.rows; ++row) lines.push_back(grid.text(row));
    return lines;
  }
  /// The row that has the text; the number of rows when there is none.
  std::size_t find(std::string_view text, Size size = {}) {
    const std::vector<std::string> all = lines(size);
    std::size_t row = 0;
    while (row < all.size() && all[row].find(text) == std::string::npos) ++row;
    return row;
  }
  bool sees(std::string_view text) { return find(text) < Size{}.rows; }
  /// The name in the reversed row of the table.
  std::string selected() {
    const Size size;
    const Grid grid = view.draw({.size = size, .samples = 60, .ascii = false, .clock = ""});
    for (std::size_t row = find("BACKEND") + 1; row + 1 < size.rows; ++row) {
      if (grid.at(row, 0).reversed) return grid.text(row).substr(2, 3);
    }
    return "";
  }

  View view;
  std::optional<Order> last;
};

}  // namespace

TEST_CASE("View: header, listeners, pools and backends are on a small screen") {
  Fixture screen(10);
  CHECK(screen.lines()[0].find("millrace 0.1.0   pid 42") != std::string::npos);
  CHECK(screen.lines()[0].find("12:00:00") != std::string::npos);
  CHECK(screen.sees("tcp 0.0.0.0:80"));
  CHECK(screen.sees("9/10 up"));
  CHECK(screen.sees("b01      down"));
  CHECK(screen.sees("b09"));
  CHECK(screen.lines().back().find("q quit") != std::string::npos);
}

TEST_CASE("View: no line is wider than the screen, whatever its size") {
  Fixture screen(100);
  for (const std::size_t rows : {1U, 2U, 3U, 5U, 10U, 24U, 60U}) {
    for (const std::size_t columns : {1U, 10U, 20U, 40U, 80U, 120U, 300U}) {
      screen.press(Key::down);
      const Grid grid = screen.view.draw({.size = {rows, columns}, .samples = 60, .ascii = true, .clock = "12:00:00"});
      CHECK(grid.size().rows == rows);
    }
  }
}

TEST_CASE("View: keys choose backends, never pools, and the table follows") {
  Fixture screen(100);
  CHECK(screen.selected().empty());
  screen.press(Key::down);
  CHECK(screen.selected() == "b00");
  screen.press(Key::up);
  CHECK(screen.selected() == "b00");
  screen.press(Key::end);
  CHECK(screen.selected() == "b99");
  CHECK(screen.sees("b99"));
  CHECK_FALSE(screen.sees("b00"));
  screen.press(Key::page_up);
  CHECK(screen.selected() != "b99");
  screen.press(Key::home);
  CHECK(screen.selected() == "b00");
  CHECK(screen.sees("99/100 up"));
  screen.press(Key::escape);
  CHECK(screen.selected().empty());
}

TEST_CASE("View: the order changes, what is selected stays") {
  Fixture screen(10);
  screen.type("jjj");
  CHECK(screen.selected() == "b02");
  screen.type(">>");  // state: what is down comes first
  CHECK(screen.find("b01") < screen.find("b00"));
  screen.type(">");  // active
  CHECK(screen.find("b09") < screen.find("b00"));
  CHECK(screen.selected() == "b02");
  screen.type("r");
  CHECK(screen.find("b00") < screen.find("b09"));
}

TEST_CASE("View: the filter looks at names, addresses and states, and its letters are no commands") {
  Fixture screen(100);
  screen.type("/q");
  CHECK_FALSE(screen.view.done());
  CHECK(screen.sees("no backend matches 'q'"));
  screen.press(Key::backspace);
  screen.type("DOWN");
  screen.press(Key::enter);
  CHECK(screen.sees("b01"));
  CHECK_FALSE(screen.sees("b02"));
  CHECK(screen.sees("filter: DOWN"));
  screen.press(Key::escape);
  CHECK(screen.sees("b02"));
  screen.type("/b7");
  CHECK(screen.sees("b70"));
  CHECK_FALSE(screen.sees("b80"));
}

TEST_CASE("View: an order needs a backend, a connection and a yes") {
  Fixture screen(3);
  screen.type("d");
  CHECK(screen.sees("choose a backend"));
  screen.type("jd");
  CHECK_FALSE(screen.last);
  CHECK(screen.sees("drain web/b00?"));
  screen.type("n");
  CHECK_FALSE(screen.last);
  CHECK(screen.sees("nothing was changed"));
  screen.type("xy");
  REQUIRE(screen.last);
  CHECK(screen.last->pool == "web");
  CHECK(screen.last->backend == "b00");
  CHECK(screen.last->action == "disable");
  screen.view.set_link({.connected = false, .problem = "gone"});
  screen.type("ey");
  CHECK_FALSE(screen.last);
}

TEST_CASE("View: an order is for what was asked about, even if it is gone meanwhile") {
  Fixture screen(3);
  screen.type("jjd");
  screen.view.show(picture_with(1));
  screen.type("y");
  REQUIRE(screen.last);
  CHECK(screen.last->backend == "b01");
}

TEST_CASE("View: a weight is a number up to 1000") {
  Fixture screen(3);
  for (const char* typed : {"", "1001", "-1", "5x"}) {
    CAPTURE(typed);
    screen.type("jw");
    screen.type(typed);
    screen.press(Key::enter);
    CHECK_FALSE(screen.last);
    CHECK(screen.sees("is no weight"));
  }
  screen.type("w70");
  screen.press(Key::backspace);
  screen.press(Key::enter);
  REQUIRE(screen.last);
  CHECK(screen.last->weight == 7);
}

TEST_CASE("View: paused it stands still, then shows what is") {
  Fixture screen(3);
  screen.type("p");
  screen.view.show(picture_with(9));
  CHECK(screen.sees("PAUSED"));
  CHECK(screen.sees("2/3 up"));
  screen.type("p");
  CHECK(screen.sees("8/9 up"));
}

TEST_CASE("View: a lost connection is said, and the last picture stays") {
  Fixture screen(3);
  screen.view.set_link({.connected = false, .problem = "cannot connect; trying again every second"});
  CHECK(screen.sees("trying again every second"));
  CHECK(screen.sees("b01"));
}

TEST_CASE("View: all pools in one list") {
  Fixture screen(3);
  screen.type("g");
  CHECK(screen.sees("web/b00"));
  CHECK_FALSE(screen.sees("2/3 up"));
}

TEST_CASE("View: help comes and goes, and q quits") {
  Fixture screen(3);
  screen.type("?");
  CHECK(screen.sees("drain: no new connections"));
  screen.type("q");
  CHECK_FALSE(screen.view.done());
  screen.type("q");
  CHECK(screen.view.done());
}

TEST_CASE("View: no control character of a name reaches the terminal") {
  Picture picture = picture_with(1);
  picture.pools[0].backends[0].name = "a\x1b[2J\xc3\xa4";
  View view;
  view.show(picture);
  const Grid grid = view.draw({});
  for (std::size_t row = 0; row < 24; ++row) CHECK(grid.text(row).find('\x1b') == std::string::npos);
}

TEST_CASE("place_columns: what matters most stays, nothing overlaps, nothing stands over the edge") {
  for (std::size_t width = 1; width < 250; ++width) {
    const std::vector<Placed> columns = place_columns(width, {.name = 12, .state = 8, .address = 18});
    REQUIRE(columns[0].column == Column::name);
    for (std::size_t i = 1; i < columns.size(); ++i) CHECK(columns[i].at > columns[i - 1].at + columns[i - 1].width);
    CHECK(columns.back().at + columns.back().width <= width);
  }
  CHECK(place_columns(200, {.name = 12, .state = 8, .address = 18}).size() == 12);
  CHECK(place_columns(80, {.name = 12, .state = 8, .address = 18}).size() == 11);
}

TEST_CASE("state_text: what the probes say beside the operator's word, and that it is a backup") {
  BackendView backend;
  backend.state = "draining";
  backend.health = "up";
  CHECK(state_text(backend) == "draining");
  backend.health = "down";
  backend.backup = true;
  CHECK(state_text(backend) == "draining (down) backup");
}

TEST_CASE("numbers have at most five characters") {
  CHECK(count_text(0) == "0");
  CHECK(count_text(0.44) == "0.4");
  CHECK(count_text(3) == "3");
  CHECK(count_text(9999) == "9999");
  CHECK(count_text(12345) == "12.3k");
  CHECK(count_text(999'600) == "1.0M");
  CHECK(bytes_text(999) == "999");
  CHECK(bytes_text(1024) == "1.0K");
  CHECK(bytes_text(123.0 * 1024 * 1024) == "123M");
  CHECK(milliseconds_text(std::nullopt) == "-");
  CHECK(milliseconds_text(0.04) == "0.04");
  CHECK(milliseconds_text(99.96) == "100");
  for (double value = 0.01; value < 1e17; value *= 1.37) {
    CAPTURE(value);
    CHECK(bytes_text(value).size() <= 5);
    if (value < 9e14) CHECK(count_text(value).size() <= 5);
  }
}

}  // namespace millrace::app::top
