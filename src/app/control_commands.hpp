#pragma once
// The commands that talk to a running balancer by its control socket. Each prints what it has to say and returns the
// exit status.

#include <cstdint>
#include <string>
#include <vector>

namespace millrace::app {

struct ControlTarget {
  std::string socket = "/run/millrace/control.sock";
  bool json = false;  // print what the balancer answers, for scripts
};

struct ConnectionsWanted {
  std::string listener;
  std::string pool;
  std::string backend;  // NAME, or POOL/NAME
};

struct BackendOrder {
  std::string backend;  // POOL/NAME
  std::string action;
  std::string weight;       // of action weight
  bool wait = false;        // of action drain: until nothing is left
  double over_seconds = 0;  // of action drain: end what is left, evenly, within this time; 0: not
};

[[nodiscard]] int show_status(const ControlTarget& target);
[[nodiscard]] int change_backend(const ControlTarget& target, const BackendOrder& order);
[[nodiscard]] int list_connections(const ControlTarget& target, const ConnectionsWanted& wanted);
[[nodiscard]] int kill_connection(const ControlTarget& target, const std::string& id);
[[nodiscard]] int reload(const ControlTarget& target, bool plan);
[[nodiscard]] int explain_choice(const ControlTarget& target, const std::string& client, const std::string& listener);

}  // namespace millrace::app
