#pragma once
// Problems: collects every diagnostic of one configuration, and remembers what has been complained about, so that one
// mistake gives one diagnostic: a check of several values together is left out when one of them is already known to be
// wrong.

#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"

namespace millrace::config {

class Problems {
 public:
  /// "PLACE: message" at the value; the value counts as bad from then on.
  void add(const Place& place, std::string_view message);
  /// A message about something that has no value of its own.
  void add_at(Position position, std::string message);

  /// The table has a key that it cannot have; `homes` names the tables that can, and may be empty.
  void add_unknown_key(const Place& table, const Entry& entry, const std::vector<std::string_view>& known,
                       std::string_view homes);
  void add_not_built(const Place& table, const Entry& entry);

  /// What is wrong with the node has been said already.
  void mark_bad(const Node& node) { bad_.insert(&node); }
  [[nodiscard]] bool bad(const Node& node) const { return bad_.contains(&node); }
  /// True when `key` is missing from `table` only because it was misspelt.
  [[nodiscard]] bool misspelt(const Node& table, std::string_view key) const;

  [[nodiscard]] bool empty() const { return diagnostics_.empty(); }
  /// In the order of the file, without duplicates.
  [[nodiscard]] std::vector<Diagnostic> take();

 private:
  std::vector<Diagnostic> diagnostics_;
  std::unordered_set<const Node*> bad_;
  std::set<std::pair<const Node*, std::string>> misspelt_;
};

/// Complains unless the node is of the kind.
[[nodiscard]] bool expect(const Place& place, Node::Kind kind, Problems& problems);
/// The same, with more to say than what was found: `remedy` comes behind it.
[[nodiscard]] bool expect(const Place& place, Node::Kind kind, Problems& problems, std::string_view remedy);

}  // namespace millrace::config
