#include "validate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "addresses.hpp"
#include "admin_keys.hpp"
#include "duration.hpp"
#include "schema.hpp"
#include "suggest.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

using net::AddressText;

/// " (line 3)" for what stands in a file.
std::string at_line(Position position) {
  return position.line == 0 ? std::string() : fmt::format(" (line {})", position.line);
}

/// Complains when a key that has no default is given nowhere.
template <class T>
void require(const Draft<T>& draft, const Entry* given, std::string_view key, std::string_view message,
             Problems& problems) {
  const bool inherited_misspelt = draft.inherited != nullptr && problems.misspelt(*draft.inherited, key);
  if (given != nullptr || inherited_misspelt || problems.misspelt(draft.own.node(), key)) return;
  problems.add(draft.own, message);
}

// ---- listeners and their pools ----

std::vector<std::string_view> pool_names(const Drafts& drafts) {
  std::vector<std::string_view> names;
  for (const Draft<Pool>& pool : drafts.pools) names.push_back(pool.value.name);
  std::sort(names.begin(), names.end());
  return names;
}

/// `place` is a `pool = "…"` of a listener or of the defaults, `name` what it says.
void check_pool_name(const Place& place, const std::string& name, const std::vector<std::string_view>& names,
                     Problems& problems) {
  if (problems.bad(place.node()) || std::binary_search(names.begin(), names.end(), name)) return;
  constexpr std::string_view kTable = "pools.";  // "pools.web" for "web"
  const std::string_view word = std::string_view(name).substr(name.starts_with(kTable) ? kTable.size() : 0);
  const bool only_prefix = word != name && std::binary_search(names.begin(), names.end(), word);
  std::string hint = did_you_mean(only_prefix ? word : suggest(name, names));
  if (hint.empty()) hint = fmt::format(", add [pools.{}] or name another", toml_key(name));
  problems.add(place, fmt::format("there is no pool {}{}", quoted(name), hint));
}

/// False when the pools themselves could not be read: every name would look wrong then.
bool pools_are_known(const Node& root, const Problems& problems) {
  const Entry* pools = root.find("pools");
  if (pools == nullptr) return !problems.misspelt(root, "pools");
  return !problems.bad(pools->value);
}

void check_pool_names(const Node& root, const Drafts& drafts, Problems& problems) {
  if (!pools_are_known(root, problems)) return;
  const std::vector<std::string_view> names = pool_names(drafts);
  if (drafts.defaults.listener_node != nullptr) {
    if (const Entry* entry = drafts.defaults.listener_node->find("pool")) {
      const Place place = Place(root).child(*root.find("defaults"));
      const Place listener = place.child(*place.node().find("listener"));
      check_pool_name(listener.child(*entry), drafts.defaults.listener.pool, names, problems);
    }
  }
  for (const Draft<Listener>& listener : drafts.listeners) {
    const Entry* own = listener.own.node().find("pool");
    if (own != nullptr) check_pool_name(listener.own.child(*own), listener.value.pool, names, problems);
  }
}

void check_listener_keys(const Draft<Listener>& listener, Problems& problems) {
  if (problems.bad(listener.own.node())) return;
  const Entry* bind = listener.deciding("bind");
  const Entry* pool = listener.deciding("pool");
  require(listener, bind, "bind", R"(bind is missing, say where to listen, for example bind = "*:8080")", problems);
  require(listener, pool, "pool", "pool is missing, name the pool that serves it", problems);
}

/// False when the protocol could not be read: what is only for one of them would look wrong then.
bool protocol_is_known(const Draft<Listener>& listener, const Problems& problems) {
  if (problems.misspelt(listener.own.node(), "protocol")) return false;
  const Entry* entry = listener.deciding("protocol");
  if (entry != nullptr) return !problems.bad(entry->value);
  return listener.inherited == nullptr || !problems.misspelt(*listener.inherited, "protocol");
}

/// What `[defaults.listener]` has is for listeners of either protocol; what a listener has itself is for this one.
void check_protocol_keys(const Draft<Listener>& listener, Problems& problems) {
  if (!protocol_is_known(listener, problems)) return;
  const bool udp = listener.value.protocol == Protocol::udp;
  for (const Key<Listener>& key : keys<Listener>()) {
    const Entry* entry = listener.own.node().find(key.name);
    if (entry == nullptr || applies(key, listener.value) || problems.bad(entry->value)) continue;
    problems.add_at(entry->position,
                    fmt::format("{} is only for {}, and this listener is {}; remove it", listener.own.name_of(key.name),
                                udp ? "tcp" : "udp", udp ? "udp" : "tcp"));
  }
}

void check_any_listener(const Node& root, const Drafts& drafts, Problems& problems) {
  if (!drafts.listeners.empty() || problems.misspelt(root, "listeners")) return;
  const Entry* listeners = root.find("listeners");
  if (listeners != nullptr && problems.bad(listeners->value)) return;
  problems.add_at(listeners == nullptr ? Position{} : listeners->value.position,
                  "there is no listener, add [listeners.NAME] with a bind and a pool");
}

// ---- bind addresses ----

struct BindUse {
  const AddressText* bind;
  Place place;
  const Listener* listener;
};

bool is_everything(const AddressText& bind) {
  return bind.kind == AddressText::Kind::any || bind.endpoint.is_wildcard();
}

std::uint16_t port_of(const AddressText& bind) {
  return bind.kind == AddressText::Kind::any ? bind.host.port : bind.endpoint.port();
}

/// Both on the same port (or both unix sockets).
bool clash(const AddressText& a, const AddressText& b) {
  const bool a_any = a.kind == AddressText::Kind::any;
  const bool b_any = b.kind == AddressText::Kind::any;
  if (a_any || b_any) return is_everything(a) && is_everything(b);
  return a.endpoint == b.endpoint;
}

bool is_unix(const AddressText& bind) {
  return bind.kind == AddressText::Kind::endpoint && bind.endpoint.is_unix();
}

/// Where clashes can be: all addresses of one port of one protocol. None for port 0, which the kernel makes unique.
std::string clash_group(const AddressText& bind, Protocol protocol) {
  if (is_unix(bind)) return bind.endpoint.to_string();
  const std::uint16_t port = port_of(bind);
  return port == 0 ? std::string() : fmt::format("{}{}", protocol == Protocol::udp ? "udp " : "", port);
}

std::vector<BindUse> all_binds(const Drafts& drafts, const Problems& problems) {
  std::vector<BindUse> uses;
  for (const Draft<Listener>& listener : drafts.listeners) {
    const Entry* entry = listener.deciding("bind");
    if (entry == nullptr || !protocol_is_known(listener, problems)) continue;
    const std::vector<Place> places = one_or_many(listener.own.child(*entry));
    if (places.size() != listener.value.bind.size()) continue;  // not a list of addresses at all
    for (std::size_t i = 0; i < places.size(); ++i) {
      if (problems.bad(places[i].node()) || listener.value.bind[i].kind == AddressText::Kind::host) continue;
      uses.push_back({&listener.value.bind[i], places[i], &listener.value});
    }
  }
  return uses;
}

void check_binds(const Drafts& drafts, Problems& problems) {
  const std::vector<BindUse> uses = all_binds(drafts, problems);
  std::unordered_map<std::string, std::vector<const BindUse*>> groups;
  for (const BindUse& use : uses) {
    if (use.listener->protocol == Protocol::udp && is_unix(*use.bind)) {
      problems.add(use.place, "a udp listener cannot listen on a unix socket");
      continue;
    }
    const std::string group = clash_group(*use.bind, use.listener->protocol);
    if (group.empty()) continue;
    auto& earlier = groups[group];
    const auto taken = std::find_if(earlier.begin(), earlier.end(),
                                    [&](const BindUse* other) { return clash(*use.bind, *other->bind); });
    if (taken == earlier.end()) {
      earlier.push_back(&use);
      continue;
    }
    const BindUse& first = **taken;
    problems.add(use.place, fmt::format("{} is already used by {} of listener {}{}", quoted(bind_text(*use.bind)),
                                        quoted(bind_text(*first.bind)), quoted(first.listener->name),
                                        at_line(first.place.node().position)));
  }
}

// ---- pools ----

void check_backend_names(const Draft<Pool>& pool, const Place& backends, Problems& problems) {
  std::unordered_map<std::string_view, Position> seen;
  for (std::size_t i = 0; i < pool.value.backends.size(); ++i) {
    const std::string& name = pool.value.backends[i].name;
    if (name.empty()) continue;  // complained about already
    const Place place = backends.item(i);
    const auto [earlier, fresh] = seen.emplace(name, place.node().position);
    if (fresh) continue;
    problems.add(place, fmt::format("a backend named {} exists already{}, give this one another name", quoted(name),
                                    at_line(earlier->second)));
  }
}

void check_backends(const Draft<Pool>& pool, Problems& problems) {
  const Entry* entry = pool.own.node().find("backends");
  require(pool, entry, "backends", R"(a pool needs a backend, add backends = [{ address = "IP:PORT" }])", problems);
  if (entry == nullptr) return;
  const Place backends = pool.own.child(*entry);
  if (problems.bad(backends.node())) return;
  if (pool.value.backends.empty()) problems.add(backends, "a pool needs at least one backend");
  check_backend_names(pool, backends, problems);
}

bool any_backend_of(const Pool& pool, net::Family family) {
  return std::any_of(pool.backends.begin(), pool.backends.end(),
                     [family](const Backend& b) { return b.address.family() == family; });
}

const Listener* udp_listener_of(const Pool& pool, const Drafts& drafts, const Problems& problems) {
  for (const Draft<Listener>& listener : drafts.listeners) {
    const bool uses = listener.value.pool == pool.name && listener.value.protocol == Protocol::udp;
    if (uses && protocol_is_known(listener, problems)) return &listener.value;
  }
  return nullptr;
}

/// A unix socket takes no datagrams: neither those of clients nor those of probes.
void check_unix_backends(const Draft<Pool>& pool, const Drafts& drafts, Problems& problems) {
  const Entry* entry = pool.own.node().find("backends");
  if (entry == nullptr || problems.bad(entry->value)) return;
  const Listener* user = udp_listener_of(pool.value, drafts, problems);
  if (user == nullptr && pool.value.health.type != HealthType::udp) return;
  const std::string message =
      user != nullptr ? fmt::format("the udp listener {} cannot forward to a unix socket", quoted(user->name))
                      : R"(a probe with health.type = "udp" cannot reach a unix socket)";
  const Place backends = pool.own.child(*entry);
  for (std::size_t i = 0; i < pool.value.backends.size(); ++i) {
    if (!pool.value.backends[i].address.is_unix()) continue;
    const Place backend = backends.item(i);
    const Entry* address = backend.node().find("address");
    problems.add(address == nullptr ? backend : backend.child(*address), message);
  }
}

void check_sources(const Draft<Pool>& pool, Problems& problems) {
  const Entry* entry = pool.own.node().find("source");
  // A backend that could not be read may be of any family; unix backends need no source.
  if (entry == nullptr || any_backend_of(pool.value, net::Family::none)) return;
  const bool v4 = any_backend_of(pool.value, net::Family::ipv4);
  const bool v6 = any_backend_of(pool.value, net::Family::ipv6);
  if (!v4 && !v6) return;
  const std::vector<Place> places = one_or_many(pool.own.child(*entry));
  if (places.size() != pool.value.source.size()) return;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const net::Family family = pool.value.source[i].family();
    if (family == net::Family::ipv4 && !v4) problems.add(places[i], "an IPv4 source, but the pool has no IPv4 backend");
    if (family == net::Family::ipv6 && !v6) problems.add(places[i], "an IPv6 source, but the pool has no IPv6 backend");
  }
}

const Entry* find_in(const Node* table, std::string_view key) {
  return table == nullptr ? nullptr : table->find(key);
}

/// `own` and `inherited` are `health` entries, either may be null; `name` is the one of the table they describe.
void check_probe_times(const Health& health, const Entry* own, const Entry* inherited, const std::string& name,
                       Problems& problems) {
  const Node* own_table = own == nullptr ? nullptr : &own->value;
  const Node* inherited_table = inherited == nullptr ? nullptr : &inherited->value;
  const Entry* own_timeout = find_in(own_table, "timeout");
  const Entry* own_interval = find_in(own_table, "interval");
  const Entry* here = own_timeout != nullptr ? own_timeout : own_interval;
  if (here == nullptr || health.timeout <= health.interval) return;
  const Entry* timeout = own_timeout != nullptr ? own_timeout : find_in(inherited_table, "timeout");
  const Entry* interval = own_interval != nullptr ? own_interval : find_in(inherited_table, "interval");
  const bool known_bad =
      (timeout != nullptr && problems.bad(timeout->value)) || (interval != nullptr && problems.bad(interval->value));
  if (known_bad) return;
  problems.add_at(here->value.position, fmt::format("{}: a timeout of {} is longer than the interval of {}", name,
                                                    format_duration(health.timeout), format_duration(health.interval)));
}

void check_pool(const Draft<Pool>& pool, const Drafts& drafts, Problems& problems) {
  if (problems.bad(pool.own.node())) return;
  check_backends(pool, problems);
  check_unix_backends(pool, drafts, problems);
  check_sources(pool, problems);
  check_probe_times(pool.value.health, pool.own.node().find("health"), find_in(pool.inherited, "health"),
                    pool.own.name_of("health"), problems);
}

}  // namespace

void validate(const Node& root, const Drafts& drafts, Problems& problems) {
  check_any_listener(root, drafts, problems);
  check_admin(root, drafts.admin, problems);
  for (const Draft<Listener>& listener : drafts.listeners) {
    check_listener_keys(listener, problems);
    check_protocol_keys(listener, problems);
  }
  check_pool_names(root, drafts, problems);
  check_binds(drafts, problems);
  check_probe_times(drafts.defaults.pool.health, find_in(drafts.defaults.pool_node, "health"), nullptr,
                    "defaults.pool.health", problems);
  for (const Draft<Pool>& pool : drafts.pools) check_pool(pool, drafts, problems);
}

void drop_unused_sources(Draft<Pool>& draft) {
  if (draft.own.node().find("source") != nullptr) return;
  std::erase_if(draft.value.source,
                [&](const net::Endpoint& source) { return !any_backend_of(draft.value, source.family()); });
}

}  // namespace millrace::config
