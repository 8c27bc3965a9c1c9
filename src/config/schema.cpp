#include "schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "addresses.hpp"
#include "backends.hpp"
#include "codec.hpp"
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
constexpr auto value(std::string_view name) {
  using Table = typename MemberOf<member>::Table;
  Key<Table> key;
  key.name = name;
  key.read = [](const Place& place, Problems& problems, Table& table) { Codec::read(place, problems, table.*member); };
  key.write = [](std::string& out, const Table& table) { Codec::write(out, table.*member); };
  key.reset = [](Table& table) { table.*member = Table{}.*member; };
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
constexpr auto table(std::string_view name) {
  using Table = typename MemberOf<member>::Table;
  Key<Table> key;
  key.name = name;
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
constexpr Key<Table> reader(std::string_view name, void (*read)(const Place&, Problems&, Table&)) {
  Key<Table> key;
  key.name = name;
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
    reader<Drafts>("defaults", read_defaults),  // before what inherits from it
    table<&Drafts::runtime>("runtime"),          not_built<Drafts>("admin"),
    reader<Drafts>("listeners", read_listeners), reader<Drafts>("pools", read_pools),
};

constexpr std::array kDefaultsKeys = {
    reader<Defaults>("listener", read_listener_defaults),
    reader<Defaults>("pool", read_pool_defaults),
};

constexpr std::array kRuntimeKeys = {
    value<&Runtime::workers, AutoOr<kWorkersMax>>("workers"),
    value<&Runtime::pin_workers, Flag>("pin_workers"),
    value<&Runtime::max_connections, AutoOr<kConnectionsMax>>("max_connections"),
    value<&Runtime::log_level, Word<LogLevel>>("log_level"),
    value<&Runtime::log_format, Word<LogFormat>>("log_format"),
    value<&Runtime::shutdown_timeout, Duration<Zero::allowed>>("shutdown_timeout"),
};

constexpr std::array kListenerKeys = {
    value<&Listener::protocol, Word<Protocol>>("protocol"),
    value<&Listener::bind, Binds>("bind"),
    value<&Listener::pool, Text<kNameBytesMax>>("pool"),
    value<&Listener::max_connections, Whole<0, kConnectionsMax>>("max_connections"),
    only_for<Protocol::tcp>(value<&Listener::backlog, Whole<1, kBacklogMax>>("backlog")),
    value<&Listener::idle_timeout, Duration<Zero::allowed>>("idle_timeout"),
    only_for<Protocol::tcp>(value<&Listener::half_close_timeout, Duration<Zero::allowed>>("half_close_timeout")),
    value<&Listener::max_connection_duration, Duration<Zero::allowed>>("max_connection_duration"),
    only_for<Protocol::tcp>(value<&Listener::keepalive, Flag>("keepalive")),
    only_for<Protocol::tcp>(value<&Listener::forwarding, Word<Forwarding>>("forwarding")),
    only_for<Protocol::udp>(value<&Listener::responses, Whole<0, kCountMax>>("responses")),
    only_for<Protocol::udp>(value<&Listener::max_sessions, AutoOr<kConnectionsMax>>("max_sessions")),
    value<&Listener::allow, Networks>("allow"),
    value<&Listener::deny, Networks>("deny"),
    value<&Listener::max_connections_per_ip, Whole<0, kConnectionsMax>>("max_connections_per_ip"),
    value<&Listener::connection_rate_per_ip, Whole<0, std::int64_t{kRatePerIpMax}>>("connection_rate_per_ip"),
    not_built<Listener>("accept_proxy"),
    not_built<Listener>("proxy_trusted"),
    not_built<Listener>("access_log"),
    not_built<Listener>("routes"),
    not_built<Listener>("preread_timeout"),
};

constexpr std::array kPoolKeys = {
    value<&Pool::balance, Word<balance::Algorithm>>("balance"),
    value<&Pool::connect_timeout, Duration<Zero::refused>>("connect_timeout"),
    value<&Pool::retries, Whole<0, 100>>("retries"),
    not_built<Pool>("send_proxy"),
    value<&Pool::source, Sources>("source"),
    not_built<Pool>("transparent"),
    not_built<Pool>("slow_start"),
    value<&Pool::fail_open, Flag>("fail_open"),
    not_built<Pool>("on_down"),
    not_built<Pool>("drain_timeout"),
    value<&Pool::max_connections_per_backend, Whole<0, kConnectionsMax>>("max_connections_per_backend"),
    not_built<Pool>("queue_timeout"),
    value<&Pool::backends, Backends>("backends"),
    table<&Pool::hash>("hash"),
    table<&Pool::health>("health"),
    table<&Pool::passive>("passive"),
};

constexpr std::array kBackendKeys = {
    value<&Backend::name, BackendName>("name"),
    value<&Backend::address, BackendAddress>("address"),
    not_built<Backend>("resolve"),
    value<&Backend::weight, Whole<0, 1000>>("weight"),
    value<&Backend::backup, Flag>("backup"),
    value<&Backend::max_connections, Whole<0, kConnectionsMax>>("max_connections"),
};

constexpr std::array kHashKeys = {
    value<&Hash::key, Word<HashKey>>("key"),
    value<&Hash::prefix_v4, Whole<0, 32>>("prefix_v4"),
    value<&Hash::prefix_v6, Whole<0, 128>>("prefix_v6"),
    value<&Hash::load_factor, Real<1, 10, true>>("load_factor"),
};

constexpr std::array kHealthKeys = {
    value<&Health::type, Word<HealthType>>("type"),
    value<&Health::interval, Duration<Zero::refused>>("interval"),
    value<&Health::timeout, Duration<Zero::refused>>("timeout"),
    value<&Health::rise, Whole<1, kCountMax>>("rise"),
    value<&Health::fall, Whole<1, kCountMax>>("fall"),
    value<&Health::jitter, Real<0, 1>>("jitter"),
    value<&Health::port, Whole<0, 65535>>("port"),
    value<&Health::send, Text<kProbeBytesMax>>("send"),
    value<&Health::expect, Text<kProbeBytesMax>>("expect"),
    value<&Health::close, Word<ProbeClose>>("close"),
};

constexpr std::array kPassiveKeys = {
    value<&Passive::failures, Whole<0, kCountMax>>("failures"),
    value<&Passive::ejection, Duration<Zero::refused>>("ejection"),
    value<&Passive::max_ejected, Real<0, 1>>("max_ejected"),
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
  add_home<Listener>(homes, key, is_table, "listeners.NAME");
  add_home<Pool>(homes, key, is_table, "pools.NAME");
  add_home<Backend>(homes, key, is_table, "[pools.NAME.backends]");
  add_home<Hash>(homes, key, is_table, "pools.NAME.hash");
  add_home<Health>(homes, key, is_table, "pools.NAME.health");
  add_home<Passive>(homes, key, is_table, "pools.NAME.passive");
  return fmt::format("{}", fmt::join(homes, " or "));
}

}  // namespace millrace::config
