// What a View looks like: header, graphs, listeners, table, foot. See view.hpp.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "bars.hpp"
#include "millrace/admin/text.hpp"
#include "numbers.hpp"
#include "table.hpp"
#include "view.hpp"

namespace millrace::app::top {

namespace {

constexpr std::size_t kTall = 32;  // from so many rows on graphs have several
constexpr std::size_t kVeryTall = 48;
constexpr std::size_t kNameMin = 10;
constexpr std::size_t kStateMin = 8;  // "disabled"

constexpr std::string_view kKeys =
    "q quit  ? help  / filter  <> sort  p pause  d drain  e enable  x disable  w weight  g group  r reverse";

constexpr std::array kHelp = std::to_array<std::string_view>({
    "up down, k j      choose a backend            esc   none, no filter",
    "page up, down     a page                      /     filter: name, address, state",
    "home, end         first, last                 g     by pool, or all in one list",
    "< >, left right   sort by another column      r     the other way round",
    "p, space          stand still                 q     quit",
    "",
    "d   drain: no new connections, those that are there go on",
    "x   disable: the same, until further notice",
    "e   enable            w   weight            each asks before it acts",
    "",
    "Rates are those of the last interval, connect times of the last minute.",
    "FAIL/s: connects that failed.  n/m up: of m backends n get connections.",
    "IN: from clients to backends.  OUT: from backends to clients.",
});

std::string clipped(std::string text, std::size_t width) {
  if (text.size() <= width) return text;
  text.resize(width);
  if (width > 0) text.back() = '~';
  return text;
}

void put_right(Grid& grid, std::size_t row, std::size_t end, std::string_view text, Tone tone = Tone::normal) {
  if (text.size() <= end) grid.put(row, end - text.size(), text, tone);
}

void put_in(Grid& grid, std::size_t row, const Placed& place, std::size_t shift, const Text& text) {
  const std::string shown = clipped(text.text, place.width - std::min(shift, place.width));
  const std::size_t space = is_left(place.column) ? shift : place.width - shown.size();
  grid.put(row, place.at + space, shown, text.tone);
}

/// "label value", and the column where the next may begin.
std::size_t put_fact(Grid& grid, std::size_t row, std::size_t column, std::string_view label, const Text& value) {
  const std::size_t at = grid.put(row, column, label, Tone::dim);
  return grid.put(row, at + 1, value.text, value.tone) + 3;
}

struct Graph {
  std::string_view title;
  std::string top;  // what the highest bar stands for
};

void draw_graph(Grid& grid, const Place& place, const History& history, const Graph& graph, const BarStyle& style) {
  const std::string label = fmt::format("{}/s", graph.top);
  if (place.height == 1) {
    const std::size_t at = grid.put(place.row, place.column, graph.title, Tone::dim) + 1;
    const std::size_t end = place.column + place.width;
    const std::size_t room = end > at + 12 ? std::min<std::size_t>(end - at - 12, 60) : 0;
    draw_bars(grid, {place.row, at, room, 1}, history, history.max(), style);
    grid.put(place.row, at + room + 1, label, Tone::dim);
    return;
  }
  const std::size_t after = grid.put(place.row, place.column, graph.title, Tone::dim);
  grid.put(place.row, after, fmt::format(", at most {}", label), Tone::dim);
  const std::size_t room = std::min<std::size_t>(place.width - std::min<std::size_t>(place.width, 3), 120);
  draw_bars(grid, {place.row + 1, place.column, room, place.height - 1}, history, history.max(), style);
}

TextWidths text_widths(const Picture& picture, const std::vector<Row>& rows, bool grouped, std::size_t width) {
  TextWidths widths{.name = kNameMin, .state = kStateMin, .address = 7};
  for (const Row& row : rows) {
    const PoolView& pool = picture.pools[row.pool];
    if (row.backend == Row::kPool) {
      widths.name = std::max(widths.name, pool.name.size());
      widths.state = std::max(widths.state, cell(Column::state, pool).text.size());
      continue;
    }
    const BackendView& backend = pool.backends[row.backend];
    const std::size_t before = grouped ? 2 : pool.name.size() + 1;
    widths.name = std::max(widths.name, before + backend.name.size());
    widths.state = std::max(widths.state, state_text(backend).size());
    widths.address = std::max(widths.address, backend.address.size());
  }
  widths.name = std::min(widths.name, std::max(width / 4, kNameMin));
  return widths;
}

/// The highest bar of a pool's backends, so that they can be compared.
double highest(const PoolView& pool) {
  double top = 0;
  for (const BackendView& backend : pool.backends) top = std::max(top, backend.connections.max());
  return top;
}

}  // namespace

Grid View::draw(const Look& look) {
  Grid grid(look.size);
  if (look.size.rows < 2) return grid;
  draw_header(grid, look);
  std::string position;
  if (any_) {
    std::size_t row = draw_graphs(grid, look, 2);
    row = draw_listeners(grid, row);
    draw_table(grid, look, row);
  } else if (link_.problem.empty()) {
    grid.put(2, 1, "waiting for the first answer of the balancer", Tone::dim);
  }
  if (!link_.problem.empty()) {
    grid.fade();
    draw_banner(grid);
  }
  grid.reverse(0);
  const std::size_t count = rows().size();
  if (any_) position = fmt::format("{}-{} of {}", std::min(top_ + 1, count), std::min(top_ + page_, count), count);
  draw_foot(grid, position);
  if (mode_ == Mode::help) {
    const std::size_t from = look.size.rows > kHelp.size() + 4 ? (look.size.rows - kHelp.size() - 2) / 2 : 0;
    for (std::size_t i = 0; i < kHelp.size() + 2; ++i) {
      grid.clear(from + i, 2, 78);
      if (i > 0 && i <= kHelp.size()) grid.put(from + i, 5, kHelp[i - 1]);
    }
    grid.reverse(from);
    grid.put(from, 2, "keys: any of them goes back", Tone::strong);
  }
  return grid;
}

void View::draw_header(Grid& grid, const Look& look) const {
  if (any_) {
    const std::string configuration =
        picture_.reload_failed ? "RELOAD FAILED" : fmt::format("configuration {}", picture_.generation);
    grid.put(0, 1,
             fmt::format("millrace {}   pid {}   up {}   {} workers   {}", picture_.version, picture_.pid,
                         admin::time_text(picture_.uptime_seconds), picture_.workers, configuration));
  } else {
    grid.put(0, 1, "millrace top");
  }
  if (look.size.columns >= 40)
    put_right(grid, 0, look.size.columns - 1, fmt::format("{}{}", paused_ ? "   PAUSED   " : "   ", look.clock));
  if (!any_) return;
  const Rates& rates = picture_.rates;
  const auto alarm = [](double rate) { return Text{count_text(rate) + "/s", rate > 0 ? Tone::bad : Tone::normal}; };
  std::size_t at = 1;
  at = put_fact(grid, 1, at, "active", {count_text(static_cast<double>(picture_.active)), Tone::strong});
  at = put_fact(grid, 1, at, "new", {count_text(rates.connections) + "/s", Tone::strong});
  at = put_fact(grid, 1, at, "in", {bytes_text(rates.in) + "/s", Tone::strong});
  at = put_fact(grid, 1, at, "out", {bytes_text(rates.out) + "/s", Tone::strong});
  at = put_fact(grid, 1, at, "refused", alarm(rates.failures));
  put_fact(grid, 1, at, "failed", alarm(picture_.failures));
}

std::size_t View::draw_graphs(Grid& grid, const Look& look, std::size_t row) const {
  const std::size_t rows = look.size.rows;
  if (rows < 16) return row;
  const std::size_t height = rows >= kVeryTall ? 6 : rows >= kTall ? 4 : 1;
  const std::size_t half = look.size.columns / 2;
  const BarStyle style{.samples = look.samples, .ascii = look.ascii};
  draw_graph(grid, {row, 1, half - 2, height}, picture_.connections,
             {"new connections", count_text(picture_.connections.max())}, style);
  draw_graph(grid, {row, half + 1, half - 2, height}, picture_.bytes,
             {height == 1 ? "bytes" : "bytes both ways", bytes_text(picture_.bytes.max())},
             {.samples = look.samples, .ascii = look.ascii, .tone = Tone::good});
  return row + height + (height > 1 ? 1 : 0);
}

std::size_t View::draw_listeners(Grid& grid, std::size_t row) const {
  const Size size = grid.size();
  if (size.rows < 12) return row;
  std::size_t name = 8;
  std::size_t address = 7;
  for (const ListenerView& listener : picture_.listeners) {
    name = std::max(name, listener.name.size());
    address = std::max(address, listener.address.size());
  }
  name = std::min(name, size.columns / 4);
  address = std::min(address, size.columns / 3);
  const std::size_t gap = size.columns >= 120 ? 2 : 1;
  const std::size_t pool = name + address + 2 * gap;
  struct Field {
    std::string_view title;
    std::size_t width;
  };
  constexpr std::array kFields =
      std::to_array<Field>({{"ACTIVE", 6}, {"CONN/s", 6}, {"IN/s", 5}, {"OUT/s", 5}, {"REFUSED/s", 9}});
  const auto put_fields = [&](std::size_t at_row, const std::array<Text, kFields.size()>& texts) {
    std::size_t end = pool + 11;
    for (std::size_t i = 0; i < kFields.size(); ++i) {
      end += gap + kFields[i].width;
      put_right(grid, at_row, end, texts[i].text, texts[i].tone);
    }
  };
  grid.put(row, 0, "LISTENER");
  grid.put(row, name + gap, "ADDRESS");
  grid.put(row, pool, "POOL");
  put_fields(row, {Text{"ACTIVE"}, Text{"CONN/s"}, Text{"IN/s"}, Text{"OUT/s"}, Text{"REFUSED/s"}});
  grid.reverse(row++);
  const std::size_t shown = std::min(picture_.listeners.size(), std::max<std::size_t>(size.rows / 8, 2));
  for (std::size_t i = 0; i < shown; ++i, ++row) {
    const ListenerView& listener = picture_.listeners[i];
    grid.put(row, 0, clipped(listener.name, name));
    grid.put(row, name + gap, clipped(listener.address, address), Tone::dim);
    grid.put(row, pool, clipped(listener.pool, 11));
    const auto number = [](std::string text, double value) {
      return Text{std::move(text), value > 0 ? Tone::normal : Tone::dim};
    };
    const Rates& rates = listener.rates;
    const auto active = static_cast<double>(listener.active);
    put_fields(row, {number(count_text(active), active), number(count_text(rates.connections), rates.connections),
                     number(bytes_text(rates.in), rates.in), number(bytes_text(rates.out), rates.out),
                     Text{count_text(rates.failures), rates.failures > 0 ? Tone::bad : Tone::dim}});
  }
  if (shown < picture_.listeners.size()) {
    grid.put(row++, 0, fmt::format("and {} more", picture_.listeners.size() - shown), Tone::dim);
  }
  return row + (size.rows >= kTall ? 1 : 0);
}

void View::draw_table(Grid& grid, const Look& look, std::size_t row) {
  const std::vector<Row> all = rows();
  const std::vector<Placed> columns =
      place_columns(look.size.columns, text_widths(picture_, all, grouped_, look.size.columns));
  const std::size_t last = look.size.rows - 1;  // the foot
  if (row >= last) return;
  grid.reverse(row);
  for (const Placed& place : columns) {
    const bool short_of_room = title(place.column).size() > place.width;
    put_in(grid, row, place, 0, {std::string(short_of_room ? "MINUTE" : title(place.column)), Tone::normal});
    if (!is_sorted_by(place.column, sort_)) continue;
    for (std::size_t i = 0; i < place.width; ++i) grid.lift(row, place.at + i);
  }
  ++row;
  page_ = last - row;
  const std::optional<std::size_t> chosen = selected(all);
  if (chosen && *chosen < top_) top_ = *chosen;
  if (chosen && *chosen >= top_ + page_) top_ = *chosen + 1 - page_;
  if (chosen && *chosen == 1 && grouped_) top_ = 0;  // shows what pool it is of
  top_ = std::min(top_, all.size() - std::min(all.size(), page_));
  if (all.empty()) grid.put(row, 2, fmt::format("no backend matches '{}'; esc shows all", filter_), Tone::dim);
  for (std::size_t i = 0; i < page_ && top_ + i < all.size(); ++i) {
    const Row& entry = all[top_ + i];
    const PoolView& pool = picture_.pools[entry.pool];
    const bool head = entry.backend == Row::kPool;
    const History& history = head ? pool.connections : backend(entry).connections;
    for (const Placed& place : columns) {
      if (place.column == Column::minute) {
        draw_bars(grid, {row + i, place.at, place.width, 1}, history, head ? history.max() : highest(pool),
                  {.samples = look.samples, .ascii = look.ascii, .tone = head ? Tone::accent : Tone::normal});
        continue;
      }
      Text text = head ? cell(place.column, pool) : cell(place.column, backend(entry));
      if (place.column == Column::name && !head && !grouped_) text.text = pool.name + "/" + text.text;
      put_in(grid, row + i, place, place.column == Column::name && !head && grouped_ ? 2 : 0, text);
    }
    if (chosen == top_ + i) grid.select(row + i);
  }
}

void View::draw_foot(Grid& grid, std::string_view position) const {
  const std::size_t row = grid.size().rows - 1;
  const std::size_t width = grid.size().columns;
  grid.clear(row, 0, width);
  const std::string name = order_.pool + "/" + order_.backend;
  switch (mode_) {
    case Mode::confirm:
      grid.put(row, 1, fmt::format("{} {}?  y: yes, any other key: no", order_.action, name), Tone::warning);
      return grid.reverse(row);
    case Mode::weight:
      grid.put(row, 1, fmt::format("weight of {} (0 to 1000): {}_", name, typed_), Tone::warning);
      return grid.reverse(row);
    case Mode::filter:
      grid.put(row, 1, fmt::format("filter: {}_   enter keeps it, esc ends it", filter_), Tone::accent);
      return grid.reverse(row);
    default:
      break;
  }
  if (!message_.empty()) {
    grid.put(row, 1, message_, message_is_bad_ ? Tone::bad : Tone::strong);
    return;
  }
  std::size_t at = 1;
  if (!filter_.empty()) at = grid.put(row, at, fmt::format("filter: {}   ", filter_), Tone::accent);
  const std::size_t room = width - std::min(width, at + position.size() + 3);
  std::string_view keys = kKeys;
  if (keys.size() > room) {
    keys = keys.substr(0, keys.find_last_of(' ', room) == std::string_view::npos ? 0 : keys.rfind("  ", room));
  }
  grid.put(row, at, keys, Tone::dim);
  put_right(grid, row, width - 1, position);
}

void View::draw_banner(Grid& grid) const {
  const std::size_t row = std::max<std::size_t>(grid.size().rows, 3) - 2;
  grid.clear(row, 0, grid.size().columns);
  grid.put(row, 1, link_.problem, Tone::bad);
  grid.reverse(row);
}

}  // namespace millrace::app::top
