#include <string>

#include "millrace/config/config.hpp"
#include "schema.hpp"
#include "text.hpp"

namespace millrace::config {

std::string to_toml(const Config& config) {
  std::string out = "[runtime]\n";
  write_values(out, config.runtime);
  write_table(out, "admin", config.admin);
  for (const Listener& listener : config.listeners) write_table(out, "listeners." + toml_key(listener.name), listener);
  for (const Pool& pool : config.pools) write_table(out, "pools." + toml_key(pool.name), pool);
  return out;
}

}  // namespace millrace::config
