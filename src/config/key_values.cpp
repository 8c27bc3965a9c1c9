#include <string>

#include "millrace/config/config.hpp"
#include "schema.hpp"

namespace millrace::config {

namespace {

template <class T>
void append(KeyValues& all, const std::string& prefix, const T& table) {
  for (const Key<T>& key : keys<T>()) {
    if (key.write == nullptr || !applies(key, table)) continue;
    std::string value;
    key.write(value, table);
    all.emplace_back(prefix + std::string(key.name), std::move(value));
  }
}

template <class T>
KeyValues values_of(const T& table) {
  KeyValues all;
  append(all, "", table);
  return all;
}

}  // namespace

KeyValues key_values(const Runtime& runtime) {
  return values_of(runtime);
}

KeyValues key_values(const Admin& admin) {
  return values_of(admin);
}

KeyValues key_values(const Listener& listener) {
  return values_of(listener);
}

KeyValues key_values(const Pool& pool) {
  Pool bare = pool;
  bare.backends.clear();
  KeyValues all = values_of(bare);
  append(all, "hash.", pool.hash);
  append(all, "health.", pool.health);
  append(all, "passive.", pool.passive);
  std::erase_if(all, [](const auto& entry) { return entry.first == "backends"; });
  return all;
}

KeyValues key_values(const Backend& backend) {
  return values_of(backend);
}

}  // namespace millrace::config
