#include "schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "addresses.hpp"
#include "admin_keys.hpp"
#include "backends.hpp"
#include "codec.hpp"
#include "json_schema.hpp"
#include "names.hpp"
#include "words.hpp"

namespace millrace::config {
namespace {

constexpr std::int64_t kWorkersMax = 1024;
constexpr std::int64_t kConnectionsMax = 4'000'000;
constexpr std::int64_t kBacklogMax = 2'147'483'647;  // listen() takes an int; the kernel cuts it to its own limit
constexpr std::int64_t kCountMax = 1'000'000;        // of probes, failures, replies: more is surely a mistake
constexpr std::size_t kProbeBytesMax = 4096;

// ---- how keys are made ----

template <auto member>
struct MemberOf;
template <class T, class V, V T::*member>
struct MemberOf<member> {
  using Table = T;
};

/// A key with a value: `member` of the table's struct, read and written by the codec.
template <auto member, class Codec>
constexpr auto value(std::string_view name, std::string_view about) {
  using Table = typename MemberOf<member>::Table;
  Key<Table> key;
  key.name = name;
  key.about = about;
  key.read = [](const Place& place, Problems& problems, Table& table) { Codec::read(place, problems, table.*member); };
  key.write = [](std::string& out, const Table& table) { Codec::write(out, table.*member); };
  key.reset = [](Table& table) { table.*member = Table{}.*member; };
  key.describe = Codec::describe;
  return key;
}

/// A key that somebody has to give a value, or that makes its own.
template <class Table>
constexpr Key<Table> without_default(Key<Table> key) {
  key.has_default = false;
  return key;
}

/// A key of listeners of one protocol only.
template <Protocol protocol>
constexpr Key<Listener> only_for(Key<Listener> key) {
  key.applies = [](const Listener& listener) { return listener.protocol == protocol; };
  return key;
}

/// A key that is a table with keys of its own.
template <auto member>
constexpr auto table(std::string_view name, std::string_view about) {
  using Table = typename MemberOf<member>::Table;
  using Inner = std::remove_cvref_t<decltype(Table{}.*member)>;
  Key<Table> key;
  key.name = name;
  key.about = about;
  key.describe = refer_to<Inner>;
  key.has_default = false;
  key.read = [](const Place& place, Problems& problems, Table& t) { read_table(place, problems, t.*member); };
  key.write_table = [](std::string& out, const std::string& header, const Table& t) {
    write_table(out, header, t.*member);
  };
  return key;
}

/// A key of the contract that millrace does not have yet.
template <class Table>
constexpr Key<Table> not_built(std::string_view name) {
  Key<Table> key;
  key.name = name;
  return key;
}

template <class Table>
constexpr Key<Table> reader(std::string_view name, std::string_view about, void (*describe)(std::string&),
                            void (*read)(const Place&, Problems&, Table&)) {
  Key<Table> key;
  key.name = name;
  key.about = about;
  key.describe = describe;
  key.has_default = false;
  key.read = read;
  return key;
}

// ---- the tables that hold other tables ----

void read_defaults(const Place& place, Problems& problems, Drafts& drafts) {
  read_table(place, problems, drafts.defaults);
}

void read_listener_defaults(const Place& place, Problems& problems, Defaults& defaults) {
  defaults.listener_node = &place.node();
  read_table(place, problems, defaults.listener);
}

void read_pool_defaults(const Place& place, Problems& problems, Defaults& defaults) {
  defaults.pool_node = &place.node();
  read_table(place, problems, defaults.pool);
  defaults.pool.backends.clear();
  if (const Entry* entry = place.node().find("backends")) {
    problems.add(place.child(*entry), "backends belong to a pool, they have no default");
  }
}

/// `[listeners.NAME]`, `[pools.NAME]`: one draft for each, made from the prototype that `[defaults]` gives.
template <class T>
void read_named(const Place& place, Problems& problems, const T& prototype, const Node* inherited,
                std::vector<Draft<T>>& drafts) {
  if (place.node().kind == Node::Kind::list) {  // [[listeners]], as other programs want it
    problems.add(place, fmt::format("expected a table, found a list; write [{}.NAME]", place.name()));
    return;
  }
  if (!expect(place, Node::Kind::table, problems, fmt::format("; write [{}.NAME]", place.name()))) return;
  const std::vector<std::string_view> known = key_names<T>();
  for (const Entry& entry : place.node().entries) {
    if (entry.value.kind != Node::Kind::table && std::find(known.begin(), known.end(), entry.key) != known.end()) {
      problems.add_at(entry.position, fmt::format("{} needs a name in between: write it below [{}.NAME]",
                                                  place.name_of(entry.key), place.name()));
      problems.mark_bad(place.node());
      continue;
    }
    if (const auto problem = name_problem(entry.key, kNameBytesMax)) {
      problems.add_at(entry.position, place.name_of(entry.key) + ": " + *problem);
    }
    Draft<T>& draft = drafts.emplace_back(Draft<T>{prototype, place.child(entry), inherited});
    draft.value.name = entry.key;
    read_table(draft.own, problems, draft.value);
  }
}

void read_listeners(const Place& place, Problems& problems, Drafts& drafts) {
  const Defaults& defaults = drafts.defaults;
  read_named(place, problems, defaults.listener, defaults.listener_node, drafts.listeners);
}

void read_pools(const Place& place, Problems& problems, Drafts& drafts) {
  const Defaults& defaults = drafts.defaults;
  read_named(place, problems, defaults.pool, defaults.pool_node, drafts.pools);
}

// ---- every key ----

constexpr std::array kFileKeys = {
    reader<Drafts>("defaults", "What listeners and pools have that do not say otherwise.", refer_to<Defaults>,
                   read_defaults),  // before what inherits from it
    table<&Drafts::runtime>("runtime", "What holds for the whole process."),
    table<&Drafts::admin>("admin", "How a running balancer is operated."),
    reader<Drafts>("listeners", "One table for each listener; the name is yours.", describe_named<Listener>,
                   read_listeners),
    reader<Drafts>("pools", "One table for each pool of backends; the name is yours.", describe_named<Pool>,
                   read_pools),
};

constexpr std::array kDefaultsKeys = {
    reader<Defaults>("listener", "Any key of a listener, for all of them.", describe_listener_defaults,
                     read_listener_defaults),
    reader<Defaults>("pool", "Any key of a pool but backends, for all of them.", describe_pool_defaults,
                     read_pool_defaults),
};

constexpr std::array kRuntimeKeys = {
    value<&Runtime::workers, AutoOr<kWorkersMax>>("workers",
                                                  R"(Threads. "auto": one for each CPU that the process may use.)"),
    value<&Runtime::pin_workers, Flag>("pin_workers", "Each worker stays on a CPU of its own."),
    value<&Runtime::busy_poll_us, Whole<0, 10'000>>("busy_poll_us",
                                                    "Microseconds for which a worker with nothing to do looks for "
                                                    "something before it sleeps: lower latency for CPU "
                                                    "time. 0: it sleeps at once."),
    value<&Runtime::max_connections, AutoOr<kConnectionsMax>>(
        "max_connections",
        R"(Connections of all listeners. "auto": from the limit of open files. At the limit accepting stops; nobody is reset.)"),
    value<&Runtime::log_level, Word<LogLevel>>("log_level", "The least severe messages that are logged."),
    value<&Runtime::log_format, Word<LogFormat>>("log_format", "How log lines look: for people, or as JSON."),
    value<&Runtime::shutdown_timeout, Duration<Zero::allowed>>(
        "shutdown_timeout", R"(How long SIGTERM waits for connections to end; "0s" resets them at once.)"),
};

constexpr std::array kAdminKeys = {
    value<&Admin::socket, SocketPath>(
        "socket",
        "The unix socket of the commands that talk to a running balancer; its folder must "
        "exist. Empty: none."),
    value<&Admin::http, HttpAddress>(
        "http",
        "Where the dashboard, /metrics, /healthz, /readyz and /api/v1 are served; another address than a loopback one "
        "needs a token. Empty: nowhere."),
    value<&Admin::token, Token>(
        "token", "The secret that changes over HTTP need, and on another address than a loopback one everything."),
};

constexpr std::array kListenerKeys = {
    value<&Listener::protocol, Word<Protocol>>("protocol",
                                               "What comes in. A TCP and a UDP listener may have the same address."),
    without_default(value<&Listener::bind, Binds>(
        "bind",
        R"(Where to listen: "10.0.0.1:80", "[::1]:80", "*:80" for every address, "unix:/run/app.sock", or a list.)")),
    without_default(value<&Listener::pool, Text<kNameBytesMax>>("pool", "The pool that serves it.")),
    value<&Listener::max_connections, Whole<0, kConnectionsMax>>(
        "max_connections", "Of this listener (UDP: sessions). 0: only the limit of [runtime]."),
    only_for<Protocol::tcp>(value<&Listener::backlog, Whole<1, kBacklogMax>>(
        "backlog", "TCP: connections that may wait to be accepted; net.core.somaxconn may be lower.")),
    value<&Listener::idle_timeout, Duration<Zero::allowed>>(
        "idle_timeout", R"(Ends a connection without a byte either way. "0s": never. UDP: "60s" unless it is given.)"),
    only_for<Protocol::tcp>(value<&Listener::half_close_timeout, Duration<Zero::allowed>>(
        "half_close_timeout", R"(TCP: one side has finished, the other is silent. "0s": never.)")),
    value<&Listener::max_connection_duration, Duration<Zero::allowed>>(
        "max_connection_duration", R"(Ends a connection whatever it does. "0s": no limit.)"),
    only_for<Protocol::tcp>(value<&Listener::keepalive, Flag>(
        "keepalive", "TCP keepalive on both sides: after 60 s, then every 10 s, 6 times.")),
    only_for<Protocol::tcp>(value<&Listener::forwarding, Word<Forwarding>>(
        "forwarding", R"(TCP: how bytes are moved. "auto": copy for small traffic, splice for bulk.)")),
    only_for<Protocol::udp>(value<&Listener::responses, Whole<0, kCountMax>>(
        "responses", "UDP: a session ends after so many replies to each datagram (DNS: 1). 0: by idle time only.")),
    only_for<Protocol::udp>(value<&Listener::max_sessions, AutoOr<kConnectionsMax>>(
        "max_sessions", "UDP: sessions over all workers; max_connections limits them too, the smaller holds.")),
    value<&Listener::allow, Networks>("allow",
                                      R"(Networks that may connect, "10.0.0.0/8", "2001:db8::/32". Empty: everybody.)"),
    value<&Listener::deny, Networks>("deny", "Networks that may not connect; wins over allow."),
    value<&Listener::max_connections_per_ip, Whole<0, kConnectionsMax>>(
        "max_connections_per_ip",
        "That one address may have at the same time (UDP: sessions), over all workers. 0: no limit."),
    value<&Listener::connection_rate_per_ip, Whole<0, std::int64_t{kRatePerIpMax}>>(
        "connection_rate_per_ip",
        "New connections (UDP: sessions) a second of one address, with a burst of as many. 0: no limit."),
    value<&Listener::access_log, LogPath>(
        "access_log",
        R"(A line at the end of each connection (UDP: session): "off", "stderr", or the absolute path of a file.)"),
    value<&Listener::access_log_format, Word<LogFormat>>("access_log_format",
                                                         "How these lines look: JSON objects, or KEY=VALUE."),
    not_built<Listener>("accept_proxy"),
    not_built<Listener>("proxy_trusted"),
    not_built<Listener>("routes"),
    not_built<Listener>("preread_timeout"),
};

constexpr std::array kPoolKeys = {
    value<&Pool::balance, Word<balance::Algorithm>>("balance", "How a backend is chosen."),
    value<&Pool::connect_timeout, Duration<Zero::refused>>("connect_timeout",
                                                           "For one attempt to connect to a backend."),
    value<&Pool::retries, Whole<0, 100>>(
        "retries", "Further backends that are tried after a failed connect. 0: one backend only."),
    not_built<Pool>("send_proxy"),
    value<&Pool::source, Sources>("source",
                                  "Local IP address to connect from, without a port, or a list to spread over."),
    not_built<Pool>("transparent"),
    not_built<Pool>("slow_start"),
    value<&Pool::fail_open, Flag>("fail_open", "When every backend is down: try them all rather than refuse everyone."),
    value<&Pool::on_down, Word<OnDown>>("on_down",
                                        "What becomes of the TCP connections of a backend that is not up any more."),
    value<&Pool::drain_timeout, Duration<Zero::allowed>>(
        "drain_timeout",
        R"(How long the connections of a backend that a reload has taken out may live on. "0s": as long as they like.)"),
    value<&Pool::max_connections_per_backend, Whole<0, kConnectionsMax>>(
        "max_connections_per_backend", "For backends without a max_connections of their own. 0: no limit."),
    not_built<Pool>("queue_timeout"),
    without_default(value<&Pool::backends, Backends>("backends", "The backends: each a table, or only its address.")),
    table<&Pool::hash>("hash", R"(For balance = "source_hash": the same client reaches the same backend.)"),
    table<&Pool::health>("health", "Active probes."),
    table<&Pool::passive>("passive", "What real traffic tells."),
};

constexpr std::array kBackendKeys = {
    without_default(value<&Backend::name, BackendName>("name", "Shown in logs; the address unless it is given.")),
    without_default(value<&Backend::address, BackendAddress>("address", "IP:PORT, [IPV6]:PORT or unix:PATH.")),
    not_built<Backend>("resolve"),
    value<&Backend::weight, Whole<0, 1000>>("weight", "Its share compared with the others. 0: no new connections."),
    value<&Backend::backup, Flag>("backup", "Serves only when no other backend is up."),
    value<&Backend::max_connections, Whole<0, kConnectionsMax>>(
        "max_connections", "Of this backend. 0: the max_connections_per_backend of its pool."),
};

constexpr std::array kHashKeys = {
    value<&Hash::key, Word<HashKey>>("key", "What of the client is hashed."),
    value<&Hash::prefix_v4, Whole<0, 32>>("prefix_v4", "IPv4 clients of one prefix go together."),
    value<&Hash::prefix_v6, Whole<0, 128>>("prefix_v6", "IPv6 clients of one prefix go together."),
    value<&Hash::load_factor, Real<1, 10, true>>(
        "load_factor", "E.g. 1.25: no backend above 125 % of its fair share, the rest goes elsewhere. 0: off."),
};

constexpr std::array kHealthKeys = {
    value<&Health::type, Word<HealthType>>(
        "type",
        "tcp connects, udp sends a datagram and waits for an answer, none turns probes off. Left out where only UDP "
        "listeners use the pool: tcp when there is a port, else udp when there is something to send or to expect, else "
        "none."),
    value<&Health::interval, Duration<Zero::refused>>("interval", "From one probe to the next."),
    value<&Health::timeout, Duration<Zero::refused>>("timeout", "When a probe has failed; at most the interval."),
    value<&Health::rise, Whole<1, kCountMax>>("rise", "Good probes in a row until a backend is up."),
    value<&Health::fall, Whole<1, kCountMax>>("fall", "Bad probes in a row until a backend is down."),
    value<&Health::jitter, Real<0, 1>>("jitter", "Part of the interval by which probes are spread out."),
    value<&Health::port, Whole<0, 65535>>("port", "Where probes go. 0: to the port of the backend."),
    value<&Health::send, Text<kProbeBytesMax>>("send", "TCP: sent after the connect. UDP: the datagram."),
    value<&Health::expect, Text<kProbeBytesMax>>(
        "expect", "What the answer must start with. Empty: TCP: the connect is enough, UDP: any answer."),
    value<&Health::close, Word<ProbeClose>>("close", "TCP: how a probe closes its connection."),
};

constexpr std::array kPassiveKeys = {
    value<&Passive::failures, Whole<0, kCountMax>>("failures",
                                                   "Failed connects (UDP: ICMP errors) in a row until a backend is "
                                                   "probed at once, and ejected if that fails. 0: off."),
    value<&Passive::ejection, Duration<Zero::refused>>("ejection",
                                                       "How long the first ejection lasts; doubles each time."),
    value<&Passive::max_ejected, Real<0, 1>>("max_ejected", "Never more than this part of the pool."),
};

template <class T>
void add_home(std::vector<std::string>& homes, std::string_view key, bool is_table, std::string_view table) {
  for (const Key<T>& known : keys<T>()) {
    const bool same_sort = is_table ? known.write_table != nullptr : known.write != nullptr;
    if (known.name != key || !same_sort) continue;
    homes.push_back(is_table ? fmt::format("[{}.{}]", table, key) : fmt::format("[{}]", table));
  }
}

}  // namespace

template <>
std::span<const Key<Drafts>> keys() {
  return kFileKeys;
}
template <>
std::span<const Key<Defaults>> keys() {
  return kDefaultsKeys;
}
template <>
std::span<const Key<Runtime>> keys() {
  return kRuntimeKeys;
}
template <>
std::span<const Key<Admin>> keys() {
  return kAdminKeys;
}
template <>
std::span<const Key<Listener>> keys() {
  return kListenerKeys;
}
template <>
std::span<const Key<Pool>> keys() {
  return kPoolKeys;
}
template <>
std::span<const Key<Backend>> keys() {
  return kBackendKeys;
}
template <>
std::span<const Key<Hash>> keys() {
  return kHashKeys;
}
template <>
std::span<const Key<Health>> keys() {
  return kHealthKeys;
}
template <>
std::span<const Key<Passive>> keys() {
  return kPassiveKeys;
}

std::string homes_of(std::string_view key, bool is_table) {
  std::vector<std::string> homes;
  add_home<Runtime>(homes, key, is_table, "runtime");
  add_home<Admin>(homes, key, is_table, "admin");
  add_home<Listener>(homes, key, is_table, "listeners.NAME");
  add_home<Pool>(homes, key, is_table, "pools.NAME");
  add_home<Backend>(homes, key, is_table, "[pools.NAME.backends]");
  add_home<Hash>(homes, key, is_table, "pools.NAME.hash");
  add_home<Health>(homes, key, is_table, "pools.NAME.health");
  add_home<Passive>(homes, key, is_table, "pools.NAME.passive");
  return fmt::format("{}", fmt::join(homes, " or "));
}

}  // namespace millrace::config
