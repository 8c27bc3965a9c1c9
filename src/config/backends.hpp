#pragma once
// The backends of a pool: a list of tables, or of plain addresses where the address says it all.

#include <string>
#include <vector>

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"

namespace millrace::config {

struct BackendName {
  static void read(const Place& place, Problems& problems, std::string& out);
  static void write(std::string& out, const std::string& name);
  static void describe(std::string& out);
};

struct Backends {
  static void read(const Place& place, Problems& problems, std::vector<Backend>& out);
  static void write(std::string& out, const std::vector<Backend>& backends);
  static void describe(std::string& out);
};

}  // namespace millrace::config
