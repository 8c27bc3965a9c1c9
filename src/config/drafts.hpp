#pragma once
// Drafts: what has been read, value by value, before the values are checked against each other. Each draft keeps the
// nodes that it came from, so that the checks can name places.

#include <string_view>
#include <vector>

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"

namespace millrace::config {

/// The prototypes that `[defaults]` gives; the nodes are null where the file has no such table.
struct Defaults {
  Listener listener;
  Pool pool;
  const Node* listener_node = nullptr;
  const Node* pool_node = nullptr;
};

template <class T>
struct Draft {
  T value;
  Place own;              // [listeners.NAME], [pools.NAME]
  const Node* inherited;  // [defaults.listener], [defaults.pool]; may be null

  /// The entry that decided the value: the table's own, else the inherited one, else null (a built-in default).
  [[nodiscard]] const Entry* deciding(std::string_view key) const {
    if (const Entry* entry = own.node().find(key)) return entry;
    return inherited == nullptr ? nullptr : inherited->find(key);
  }
  /// The same for a key of a table in this table.
  [[nodiscard]] const Entry* deciding(std::string_view table, std::string_view key) const {
    for (const Node* node : {&own.node(), inherited}) {
      const Entry* outer = node == nullptr ? nullptr : node->find(table);
      const Entry* entry = outer == nullptr ? nullptr : outer->value.find(key);
      if (entry != nullptr) return entry;
    }
    return nullptr;
  }
};

struct Drafts {
  Defaults defaults;
  Runtime runtime;
  Admin admin;
  std::vector<Draft<Listener>> listeners;  // in the order of the file
  std::vector<Draft<Pool>> pools;
};

}  // namespace millrace::config
