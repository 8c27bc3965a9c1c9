#pragma once
// The configuration as validated plain data: enums instead of strings, every default filled in, names checked against
// each other. Built from TOML (or from the quick form on the command line) on the main thread; immutable afterwards.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "millrace/balance/algorithm.hpp"
#include "millrace/base/time.hpp"
#include "millrace/net/cidr.hpp"
#include "millrace/net/endpoint.hpp"

namespace millrace::config {

enum class LogLevel : std::uint8_t { error, warn, info, debug };
enum class LogFormat : std::uint8_t { text, json };
enum class Forwarding : std::uint8_t { automatic, copy, splice };  // "auto" is a keyword
enum class Protocol : std::uint8_t { tcp, udp };
enum class HealthType : std::uint8_t { none, tcp, udp };
enum class ProbeClose : std::uint8_t { fin, rst };
enum class HashKey : std::uint8_t { source_ip, source_ip_port };
enum class OnDown : std::uint8_t { keep, close };

/// Where something stands in the file; 1-based, 0 when it came from the command line or a default.
struct Position {
  std::uint32_t line = 0;
  std::uint32_t column = 0;

  friend bool operator==(const Position&, const Position&) = default;
};

struct Runtime {
  std::uint32_t workers = 0;  // 0: "auto", one per CPU that the process may use; 1 … 1024
  bool pin_workers = true;
  std::uint32_t busy_poll_us = 0;     // 0 … 10,000: how long a worker looks for something to do before it sleeps
  std::uint32_t max_connections = 0;  // 0: "auto", from the limit of open files
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::text;
  Nanos shutdown_timeout = std::chrono::seconds(30);

  friend bool operator==(const Runtime&, const Runtime&) = default;
};

/// The longest path of a file (PATH_MAX, less its end).
inline constexpr std::size_t kFilePathMax = 4095;
/// The longest path that the address of a unix socket holds.
inline constexpr std::size_t kSocketPathMax = 107;

struct Admin {
  std::string socket = "/run/millrace/control.sock";  // of the commands that talk to a running balancer; empty: none
  std::string http = "127.0.0.1:9900";                // an IP address or `*:PORT`, as it was written; empty: none
  std::string token;  // for changes over HTTP, and for all of it but on a loopback address; may be empty

  friend bool operator==(const Admin&, const Admin&) = default;
};

/// The idle_timeout of a udp listener that is not given one.
inline constexpr Nanos kUdpIdleTimeout = std::chrono::seconds(60);
inline constexpr std::uint32_t kRatePerIpMax = 100'000;

/// Keys that are only for the other protocol keep their defaults.
struct Listener {
  std::string name;
  Protocol protocol = Protocol::tcp;
  std::vector<net::AddressText> bind;  // Kind::endpoint or Kind::any
  std::string pool;
  std::uint32_t max_connections = 0;  // udp: sessions, as max_sessions (the smaller holds); 0: only the global limit
  std::uint32_t backlog = 4096;
  Nanos idle_timeout = std::chrono::hours(1);           // 0: never; udp: kUdpIdleTimeout unless it is given
  Nanos half_close_timeout = std::chrono::seconds(60);  // 0: never
  Nanos max_connection_duration = Nanos(0);             // 0: no limit
  bool keepalive = true;
  Forwarding forwarding = Forwarding::automatic;
  std::uint32_t responses = 0;     // udp: replies to each request, after which a session ends; 0: by idle time only
  std::uint32_t max_sessions = 0;  // udp; 0: "auto", as many as the sockets towards the backends can carry
  std::vector<net::Cidr> allow;    // empty: everybody
  std::vector<net::Cidr> deny;     // wins over allow
  std::uint32_t max_connections_per_ip = 0;  // udp: sessions; 0: no limit
  std::uint32_t connection_rate_per_ip = 0;  // new ones a second, with a burst of as many; 0: no limit
  std::string access_log = "off";            // off, stderr, or the absolute path of a file
  LogFormat access_log_format = LogFormat::json;

  friend bool operator==(const Listener&, const Listener&);
};

struct Backend {
  std::string name;          // defaults to the address as written
  net::Endpoint address;     // IP or unix
  std::uint32_t weight = 1;  // 0 … 1000; 0: takes no new connection
  bool backup = false;
  std::uint32_t max_connections = 0;  // 0: the pool's max_connections_per_backend

  friend bool operator==(const Backend&, const Backend&) = default;
};

struct Hash {
  HashKey key = HashKey::source_ip;
  std::uint32_t prefix_v4 = 32;
  std::uint32_t prefix_v6 = 64;
  double load_factor = 0.0;  // 0: off; otherwise 1.0 … 10.0

  friend bool operator==(const Hash&, const Hash&) = default;
};

/// The type is what millrace does, whether it was given or not. Given, it is taken as it is: tcp connects, udp sends a
/// datagram and waits for the answer, each to `port` or else to the backend's own port. Left out, it is tcp; but for a
/// pool that only udp listeners use it is
///   tcp   when `port` is given: something there tells how the backend is,
///   udp   else when `send` or `expect` is given,
///   none  else, with `unasked`: the same probe cannot suit every protocol over UDP.
struct Health {
  HealthType type = HealthType::tcp;
  Nanos interval = std::chrono::seconds(2);
  Nanos timeout = std::chrono::seconds(1);
  std::uint32_t rise = 2;
  std::uint32_t fall = 3;
  double jitter = 0.1;     // 0 … 1, part of the interval
  std::uint16_t port = 0;  // 0: the backend's own
  std::string send;        // tcp: bytes sent after the connect, empty: none; udp: the datagram, which may be empty
  std::string expect;      // what the answer must start with; empty: tcp: the connect is enough; udp: any answer
  ProbeClose close = ProbeClose::fin;  // tcp
  bool unasked = false;                // there are no probes because nobody said how to probe; has no part in comparing

  friend bool operator==(const Health&, const Health&);
};

struct Passive {
  std::uint32_t failures = 3;  // 0: off
  Nanos ejection = std::chrono::seconds(30);
  double max_ejected = 0.5;  // 0 … 1

  friend bool operator==(const Passive&, const Passive&) = default;
};

struct Pool {
  std::string name;
  balance::Algorithm balance = balance::Algorithm::least_conn;
  Nanos connect_timeout = std::chrono::seconds(5);
  std::uint32_t retries = 2;
  std::vector<net::Endpoint> source;  // local addresses to connect from (port 0), used in turn; may be empty
  bool fail_open = true;
  OnDown on_down = OnDown::keep;                    // udp sessions always go to another backend
  Nanos drain_timeout = std::chrono::seconds(300);  // of a backend that a reload has taken out; 0: no limit
  std::uint32_t max_connections_per_backend = 0;
  std::vector<Backend> backends;
  Hash hash;
  Health health;
  Passive passive;

  friend bool operator==(const Pool&, const Pool&) = default;
};

struct Config {
  Runtime runtime;
  Admin admin;
  std::vector<Listener> listeners;  // in the order of the file
  std::vector<Pool> pools;

  friend bool operator==(const Config&, const Config&) = default;
};

/// One problem of a configuration.
struct Diagnostic {
  Position position;
  std::string message;  // without "error:"

  friend bool operator==(const Diagnostic&, const Diagnostic&) = default;
};

/// Either a configuration or at least one diagnostic.
struct Loaded {
  std::optional<Config> config;
  std::vector<Diagnostic> diagnostics;  // in the order of the file
};

/// Parses and validates; finds every problem in one go. Never throws, whatever the text is.
[[nodiscard]] Loaded parse(std::string_view toml_text);
/// Reads the file, then parse(). A file that cannot be read is one diagnostic without a position.
[[nodiscard]] Loaded load_file(const std::string& path);

/// The quick form: `run --listen ADDR --backend ADDR[,key=value…] … [--balance NAME] [--udp]`.
struct QuickForm {
  std::vector<std::string> listen;
  std::vector<std::string> backends;  // "10.0.0.1:80", "10.0.0.1:80,weight=3,name=big,backup=true,max_connections=5"
  std::string balance;                // empty: the default
  bool udp = false;
};
[[nodiscard]] Loaded from_quick_form(const QuickForm& quick);

/// The whole configuration as TOML, every default filled in; parse() of it gives an equal configuration.
[[nodiscard]] std::string to_toml(const Config& config);

/// Every key of a table with its value as TOML, in the order of the schema; those of its own tables as "health.port".
/// A pool's backends are not among them.
using KeyValues = std::vector<std::pair<std::string, std::string>>;
[[nodiscard]] KeyValues key_values(const Runtime& runtime);
[[nodiscard]] KeyValues key_values(const Admin& admin);
[[nodiscard]] KeyValues key_values(const Listener& listener);
[[nodiscard]] KeyValues key_values(const Pool& pool);
[[nodiscard]] KeyValues key_values(const Backend& backend);

/// A JSON Schema (draft 7) of the file, for editors that complete and check TOML. It knows keys, types and ranges, not
/// the rules between several of them.
[[nodiscard]] std::string json_schema();

/// "FILE:LINE:COL: error: MESSAGE" a line; without a position "FILE: error: MESSAGE".
[[nodiscard]] std::string render(const std::vector<Diagnostic>& diagnostics, std::string_view file);

}  // namespace millrace::config
