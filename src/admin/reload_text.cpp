#include <fmt/format.h>

#include <string>
#include <vector>

#include "millrace/admin/text.hpp"

namespace millrace::admin {

namespace {

std::string line_of(const KeyChange& change) {
  if (change.before.empty()) return fmt::format("{} = {}", change.key, change.after);
  if (change.after.empty()) return fmt::format("{} goes, it was {}", change.key, change.before);
  return fmt::format("{}: {} -> {}", change.key, change.before, change.after);
}

/// "+ pool web", "- pool web", "~ pool web": what comes, goes, changes.
class Lines {
 public:
  void add(std::string_view line) { text_ += printable(line) + '\n'; }
  void add_all(std::string_view begin, const std::vector<std::string>& names) {
    for (const std::string& name : names) add(fmt::format("{} {}", begin, name));
  }
  void add_keys(std::string_view indent, const std::vector<KeyChange>& keys) {
    for (const KeyChange& change : keys) add(fmt::format("{}{}", indent, line_of(change)));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

std::string to_text(const ReloadReport& report) {
  Lines lines;
  lines.add_all("+ listener", report.listeners_added);
  lines.add_all("- listener", report.listeners_removed);
  for (const NamedChange& listener : report.listeners_changed) {
    lines.add(fmt::format("~ listener {}", listener.name));
    lines.add_keys("    ", listener.keys);
  }
  lines.add_all("+ pool", report.pools_added);
  lines.add_all("- pool", report.pools_removed);
  for (const PoolChange& pool : report.pools_changed) {
    lines.add(fmt::format("~ pool {}", pool.name));
    lines.add_keys("    ", pool.keys);
    lines.add_all("    + backend", pool.backends_added);
    lines.add_all("    - backend", pool.backends_removed);
    for (const NamedChange& backend : pool.backends_changed) {
      lines.add(fmt::format("    ~ backend {}", backend.name));
      lines.add_keys("        ", backend.keys);
    }
    if (pool.hash_moved > 0) {
      lines.add(fmt::format("    {:.1f} % of all clients get another backend", pool.hash_moved * 100));
    }
  }
  lines.add_keys("~ ", report.runtime_changed);
  lines.add_keys("! needs a restart: ", report.needs_restart);
  std::string text = lines.text();
  if (text.empty()) text = "nothing differs\n";
  if (report.connections_leaving != 0) {
    text +=
        fmt::format("{} connections are on backends that go; they live on, for as long as drain_timeout lets them\n",
                    report.connections_leaving);
  }
  text += report.applied ? fmt::format("applied: generation {}\n", report.generation)
                         : "planned only: `millrace reload` applies it\n";
  return text;
}

}  // namespace millrace::admin
