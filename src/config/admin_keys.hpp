#pragma once
// The values of [admin] that say who may reach a balancer over HTTP, and the rule that binds them.

#include <string>

#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"
#include "text.hpp"

namespace millrace::config {

/// An IP address with a port, `*:PORT`, or "" for none; kept as it was written.
struct HttpAddress {
  static void read(const Place& place, Problems& problems, std::string& out);
  static void write(std::string& out, const std::string& value) { out += toml_string(value); }
  static void describe(std::string& out);
};

/// A secret that can stand in an HTTP header: visible ASCII; "" is none.
struct Token {
  static void read(const Place& place, Problems& problems, std::string& out);
  static void write(std::string& out, const std::string& value) { out += toml_string(value); }
  static void describe(std::string& out);
};

/// What other machines can reach needs a token.
void check_admin(const Node& root, const Admin& admin, Problems& problems);

}  // namespace millrace::config
