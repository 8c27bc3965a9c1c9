#include "view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "millrace/admin/operator.hpp"

namespace millrace::app::top {

namespace {

constexpr std::size_t kTypedMax = 60;

constexpr std::uint32_t code(Key key) {
  return static_cast<std::uint32_t>(key);
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool contains(std::string_view text, std::string_view part) {
  const auto found = std::search(text.begin(), text.end(), part.begin(), part.end(),
                                 [](char a, char b) { return lower(a) == lower(b); });
  return found != text.end() || part.empty();
}

/// What needs attention comes first.
int rank(const std::string& state) {
  if (state == "down") return 0;
  if (state == "ejected") return 1;
  if (state == "draining") return 2;
  if (state == "disabled") return 3;
  return state == "removed" ? 4 : 5;
}

/// Largest first, as one looks for what is busy; names from a to z.
bool before(const BackendView& a, const BackendView& b, Sort sort) {
  switch (sort) {
    case Sort::file:
      return false;
    case Sort::name:
      return a.name < b.name;
    case Sort::state:
      return rank(a.state) < rank(b.state);
    case Sort::active:
      return a.active > b.active;
    case Sort::connections:
      return a.rates.connections > b.rates.connections;
    case Sort::in:
      return a.rates.in > b.rates.in;
    case Sort::out:
      return a.rates.out > b.rates.out;
    case Sort::p99:
      return a.p99_ms > b.p99_ms;
    case Sort::failures:
      return a.rates.failures > b.rates.failures;
  }
  return false;
}

/// Appends what was typed, or takes back; false for what is no character.
bool type(std::string& text, Key key) {
  if (key == Key::backspace) {
    if (!text.empty()) text.pop_back();
    return true;
  }
  const std::uint32_t value = code(key);
  if (value < 0x20 || value >= 0x7f) return false;
  if (text.size() < kTypedMax) text += static_cast<char>(value);
  return true;
}

}  // namespace

void View::show(const Picture& picture) {
  (paused_ ? latest_.emplace() : picture_) = picture;
  any_ = true;
}

void View::say(std::string message, bool bad) {
  message_ = std::move(message);
  message_is_bad_ = bad;
}

bool View::matches(const PoolView& pool, const BackendView& backend) const {
  return contains(pool.name + "/" + backend.name + " " + backend.address + " " + backend.state, filter_);
}

std::vector<Row> View::rows() const {
  std::vector<Row> all;
  std::size_t group = 0;  // where those begin that are in one order
  const auto finish = [&] {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(group);
    const auto less = [&](const Row& a, const Row& b) {
      return reversed_ ? before(backend(b), backend(a), sort_) : before(backend(a), backend(b), sort_);
    };
    if (sort_ == Sort::file && reversed_) {
      std::reverse(begin, all.end());
    } else {
      std::stable_sort(begin, all.end(), less);
    }
    group = all.size();
  };
  for (std::size_t pool = 0; pool < picture_.pools.size(); ++pool) {
    const std::size_t head = all.size();
    if (grouped_) {
      all.push_back({.pool = pool});
      group = all.size();
    }
    const std::vector<BackendView>& backends = picture_.pools[pool].backends;
    for (std::size_t i = 0; i < backends.size(); ++i) {
      if (matches(picture_.pools[pool], backends[i])) all.push_back({.pool = pool, .backend = i});
    }
    if (grouped_) finish();
    if (grouped_ && all.size() == head + 1 && !filter_.empty()) all.pop_back();
  }
  if (!grouped_) finish();
  return all;
}

std::optional<std::size_t> View::selected(const std::vector<Row>& rows) const {
  if (!selected_) return std::nullopt;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Row& row = rows[i];
    if (row.backend == Row::kPool || picture_.pools[row.pool].name != selected_->first) continue;
    if (backend(row).name == selected_->second) return i;
  }
  return std::nullopt;
}

void View::select(std::size_t index) {
  const Row row = rows()[index];
  selected_ = {picture_.pools[row.pool].name, backend(row).name};
}

void View::move(std::ptrdiff_t by) {
  const std::vector<Row> all = rows();
  const auto count = static_cast<std::ptrdiff_t>(all.size());
  const std::optional<std::size_t> now = selected(all);
  std::ptrdiff_t at = now ? static_cast<std::ptrdiff_t>(*now) + by : by > 0 ? by - 1 : count + by;
  at = std::clamp<std::ptrdiff_t>(at, 0, std::max<std::ptrdiff_t>(count - 1, 0));
  // Pools cannot be selected: on to the next backend in that direction, else back.
  for (const std::ptrdiff_t step : {by < 0 ? -1 : 1, by < 0 ? 1 : -1}) {
    for (std::ptrdiff_t i = at; i >= 0 && i < count; i += step) {
      const auto index = static_cast<std::size_t>(i);
      if (all[index].backend != Row::kPool) return select(index);
    }
  }
}

void View::ask_for(std::string action) {
  if (!selected(rows())) return say("choose a backend with the arrow keys first", true);
  if (!link_.connected) return say("there is no connection to the balancer", true);
  order_ = {.pool = selected_->first, .backend = selected_->second, .action = std::move(action)};
  mode_ = order_.action == "weight" ? Mode::weight : Mode::confirm;
  typed_.clear();
}

std::optional<Order> View::press(Key key) {
  message_.clear();
  switch (mode_) {
    case Mode::table:
      press_in_table(key);
      return std::nullopt;
    case Mode::help:
      mode_ = Mode::table;
      return std::nullopt;
    case Mode::filter:
      if (key == Key::escape) filter_.clear();
      if (key == Key::escape || key == Key::enter) mode_ = Mode::table;
      if (key == Key::up || key == Key::down) press_in_table(key);
      type(filter_, key);
      return std::nullopt;
    case Mode::confirm:
    case Mode::weight:
      return press_in_prompt(key);
  }
  return std::nullopt;
}

std::optional<Order> View::press_in_prompt(Key key) {
  if (mode_ == Mode::confirm) {
    mode_ = Mode::table;
    if (code(key) == 'y' || code(key) == 'Y') return order_;
    say("nothing was changed", false);
    return std::nullopt;
  }
  if (key == Key::escape) mode_ = Mode::table;
  if (key != Key::enter) {
    type(typed_, key);
    return std::nullopt;
  }
  mode_ = Mode::table;
  const char* const end = typed_.data() + typed_.size();
  const auto [rest, error] = std::from_chars(typed_.data(), end, order_.weight);
  if (error == std::errc() && rest == end && order_.weight <= admin::kWeightMax) return order_;
  say(fmt::format("'{}' is no weight: a number from 0 to {}", typed_, admin::kWeightMax), true);
  return std::nullopt;
}

void View::press_in_table(Key key) {
  const auto page = static_cast<std::ptrdiff_t>(page_);
  const auto count = static_cast<std::ptrdiff_t>(rows().size());
  const auto sort = [this](std::size_t by) {
    sort_ = static_cast<Sort>((static_cast<std::size_t>(sort_) + by) % kSorts);
    reversed_ = false;
  };
  switch (code(key)) {
    case code(Key::up):
    case 'k':
      return move(-1);
    case code(Key::down):
    case 'j':
      return move(1);
    case code(Key::page_up):
      return move(-page);
    case code(Key::page_down):
      return move(page);
    case code(Key::home):
      selected_.reset();
      return move(1);
    case code(Key::end):
      return move(count);
    case code(Key::left):
    case '<':
      return sort(kSorts - 1);
    case code(Key::right):
    case '>':
      return sort(1);
    case 'r':
      reversed_ = !reversed_;
      return;
    case 'g':
      grouped_ = !grouped_;
      return;
    case '/':
      mode_ = Mode::filter;
      return;
    case code(Key::escape):
      filter_.clear();
      selected_.reset();
      top_ = 0;
      return;
    case 'p':
    case ' ':
      paused_ = !paused_;
      if (!paused_ && latest_) picture_ = *std::exchange(latest_, std::nullopt);
      return;
    case 'd':
      return ask_for("drain");
    case 'e':
      return ask_for("enable");
    case 'x':
      return ask_for("disable");
    case 'w':
      return ask_for("weight");
    case '?':
    case 'h':
      mode_ = Mode::help;
      return;
    case 'q':
      done_ = true;
      return;
    default:
      return;
  }
}

}  // namespace millrace::app::top
