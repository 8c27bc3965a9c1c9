// gobetween: [servers.NAME] with a static list of backends, in TOML or JSON. Durations are Go's.

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dialects.hpp"
#include "json.hpp"
#include "millrace/config/document.hpp"
#include "millrace/config/node.hpp"
#include "values.hpp"

namespace millrace::importer {
namespace {

using config::Entry;
using config::Node;

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// A plain value as a person would write it.
std::string text_of(const Node& node) {
  switch (node.kind) {
    case Node::Kind::string:
      return node.text;
    case Node::Kind::integer:
      return std::to_string(node.integer);
    case Node::Kind::real:
      return fmt::format("{}", node.real);
    case Node::Kind::boolean:
      return node.boolean ? "true" : "false";
    default:
      return "...";
  }
}

std::string text_at(const Node* table, std::string_view key) {
  const Entry* entry = table == nullptr ? nullptr : table->find(key);
  return entry == nullptr ? std::string() : text_of(entry->value);
}

const Node* table_at(const Node& table, std::string_view key) {
  const Entry* entry = table.find(key);
  return entry != nullptr && entry->value.kind == Node::Kind::table ? &entry->value : nullptr;
}

void no_counterpart(Table& table, const std::string& prefix, const Entry& entry) {
  const std::string value = entry.value.kind == Node::Kind::table ? std::string() : " = " + text_of(entry.value);
  table.note(entry.position.line, fmt::format("{}{}{}: no counterpart", prefix, entry.key, value));
}

void note_others(Table& table, const Node& node, const std::string& prefix,
                 std::initializer_list<std::string_view> known) {
  for (const Entry& entry : node.entries) {
    if (!is_one_of(entry.key, known)) no_counterpart(table, prefix, entry);
  }
}

void set_duration(Table& table, std::string_view key, const Entry* entry) {
  if (entry == nullptr) return;
  if (const auto duration = parse_duration(text_of(entry->value), 1)) {
    table.set(key, *duration, entry->position.line);
  } else {
    table.note(entry->position.line, fmt::format("{} = {}: not a duration", entry->key, text_of(entry->value)));
  }
}

void set_number(Table& table, std::string_view key, const Entry* entry) {
  if (entry == nullptr) return;
  if (const auto number = parse_number(text_of(entry->value))) {
    table.set(key, std::to_string(*number), entry->position.line);
  } else {
    table.note(entry->position.line, fmt::format("{} = {}: not a number", entry->key, text_of(entry->value)));
  }
}

void set_text(Table& table, std::string_view key, const Entry* entry) {
  if (entry != nullptr) table.set(key, toml_quoted(text_of(entry->value)), entry->position.line);
}

/// "10.0.0.1:80 weight=3 priority=2 sni=x".
void add_backend(const Node& item, Table& pool, std::string_view lowest_priority) {
  std::string_view rest = item.text;
  const std::size_t space = std::min(rest.find(' '), rest.size());
  std::string backend = fmt::format("{{ address = {}", toml_quoted(rest.substr(0, space)));
  rest.remove_prefix(space);
  while (!rest.empty()) {
    rest.remove_prefix(1);
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(word.size());
    if (word.starts_with("weight=") && parse_number(word.substr(7))) {
      backend += fmt::format(", weight = {}", *parse_number(word.substr(7)));
    } else if (word.starts_with("max_connections=") && parse_number(word.substr(16))) {
      backend += fmt::format(", max_connections = {}", *parse_number(word.substr(16)));
    } else if (word.starts_with("priority=")) {
      if (word.substr(9) != lowest_priority) backend += ", backup = true";
    } else if (!word.empty()) {
      pool.note(item.position.line, fmt::format("{}: {}: no counterpart", item.text, word));
    }
  }
  pool.backends.push_back({"", backend + " }", item.position.line});
}

/// gobetween prefers the smallest number; those with another one serve when these are down.
std::string lowest_priority(const Node& list) {
  std::optional<std::int64_t> lowest;
  for (const Node& item : list.items) {
    const std::size_t at = item.text.find("priority=");
    if (at == std::string::npos) return "1";
    const std::string_view digits = std::string_view(item.text).substr(at + 9);
    const auto number = parse_number(digits.substr(0, digits.find(' ')));
    if (number && (!lowest || *number < *lowest)) lowest = number;
  }
  return std::to_string(lowest.value_or(1));
}

void translate_discovery(const Node& server, Table& pool) {
  const Node* discovery = table_at(server, "discovery");
  if (discovery == nullptr) return;
  const Entry* list = discovery->find("static_list");
  if (text_at(discovery, "kind") != "static" || list == nullptr) {
    const LineNumber line = discovery->position.line;
    return pool.note(line,
                     fmt::format("discovery kind = {}: no counterpart, list the backends", text_at(discovery, "kind")));
  }
  const std::string lowest = lowest_priority(list->value);
  for (const Node& item : list->value.items) add_backend(item, pool, lowest);
  note_others(pool, *discovery, "discovery.", {"kind", "static_list", "interval", "timeout", "failpolicy"});
}

void translate_health(const Node& server, Table& pool) {
  const Node* health = table_at(server, "healthcheck");
  const std::string kind = text_at(health, "kind");
  if (health == nullptr || kind.empty() || kind == "none") {
    return pool.set("health.type", "\"none\"", health == nullptr ? pool.line : health->position.line);
  }
  if (kind != "ping" && kind != "probe") {
    pool.note(health->position.line, fmt::format("healthcheck kind = {}: no counterpart, probes connect only", kind));
  }
  if (kind == "probe" && text_at(health, "probe_protocol") == "udp") {
    pool.set("health.type", "\"udp\"", health->find("probe_protocol")->position.line);
  }
  const Entry* timeout = health->find("ping_timeout_duration");
  set_duration(pool, "health.interval", health->find("interval"));
  set_duration(pool, "health.timeout", timeout != nullptr ? timeout : health->find("timeout"));
  set_number(pool, "health.fall", health->find("fails"));
  set_number(pool, "health.rise", health->find("passes"));
  set_text(pool, "health.send", health->find("probe_send"));
  set_text(pool, "health.expect", health->find("probe_recv"));
  note_others(pool, *health, "healthcheck.",
              {"kind", "interval", "timeout", "ping_timeout_duration", "fails", "passes", "probe_protocol",
               "probe_send", "probe_recv", "probe_strategy", "initial_status"});
  if (pool.find("health.timeout") == nullptr) {
    const Setting* interval = pool.find("health.interval");
    if (interval != nullptr && milliseconds_of(interval->value) < 1000) {
      pool.set("health.timeout", std::string(interval->value), interval->line);
    }
  }
}

void translate_access(const Node& server, Table& listener) {
  const Node* access = table_at(server, "access");
  const Entry* rules = access == nullptr ? nullptr : access->find("rules");
  if (access == nullptr) return;
  const bool deny_others = text_at(access, "default") == "deny";
  std::string allowed;
  std::string denied;
  for (const Node& rule : rules == nullptr ? std::vector<Node>() : rules->value.items) {
    const std::string_view text = rule.text;
    const std::string_view network = text.substr(std::min(text.find(' ') + 1, text.size()));
    std::string& list = text.starts_with("allow ") ? allowed : denied;
    if (!text.starts_with("allow ") && !text.starts_with("deny ")) {
      listener.note(rule.position.line, fmt::format("access rule {}: no counterpart", text));
      continue;
    }
    list += (list.empty() ? "" : ", ") + toml_quoted(network);
  }
  const LineNumber line = rules == nullptr ? access->position.line : rules->position.line;
  if (!allowed.empty() && !denied.empty())
    listener.note(line, "allow and deny: in millrace deny wins wherever it stands");
  if (deny_others && allowed.empty()) listener.note(line, "access default = deny without allow: no counterpart");
  if (deny_others && !allowed.empty()) listener.set("allow", "[" + allowed + "]", line);
  if (!denied.empty()) listener.set("deny", "[" + denied + "]", line);
}

void translate_balance(const Entry* entry, Table& pool, LineNumber line) {
  const std::string name = entry == nullptr ? "weight" : text_of(entry->value);
  if (entry != nullptr) line = entry->position.line;
  if (name == "weight" || name == "roundrobin") return pool.set("balance", "\"round_robin\"", line);
  if (name == "leastconn") return pool.set("balance", "\"least_conn\"", line);
  if (name == "iphash" || name == "iphash1") return pool.set("balance", "\"source_hash\"", line);
  pool.note(line, fmt::format("balance = {}: no counterpart, least_conn is used", name));
}

/// The server's own entry, else the one of [defaults].
const Entry* find(const Node& server, const Node* defaults, std::string_view key) {
  const Entry* own = server.find(key);
  return own != nullptr || defaults == nullptr ? own : defaults->find(key);
}

void translate_server(const Entry& entry, const Node* defaults, Draft& draft) {
  const Node& server = entry.value;
  const LineNumber line = entry.position.line;
  Table& listener = draft.add_listener(entry.key, line);
  Table& pool = draft.add_pool(entry.key, line);
  const std::string protocol = text_at(&server, "protocol");
  if (protocol == "udp") listener.set("protocol", "\"udp\"", server.find("protocol")->position.line);
  if (protocol == "tls") {
    listener.note(server.find("protocol")->position.line,
                  "protocol = tls: millrace does not end TLS, it forwards it as it comes");
  }
  if (const Entry* bind = server.find("bind")) {
    listener.set("bind", toml_quoted(listen_address(text_of(bind->value), "*")), bind->position.line);
  }
  const std::string name = pool.header.substr(std::string_view("pools.").size());
  listener.set("pool", name.starts_with('"') ? name : "\"" + name + "\"", line);
  set_number(listener, "max_connections", find(server, defaults, "max_connections"));
  set_duration(listener, "idle_timeout", find(server, defaults, "client_idle_timeout"));
  if (server.find("client_idle_timeout") == nullptr) {
    if (listener.find("idle_timeout") == nullptr) {
      set_duration(listener, "idle_timeout", find(server, defaults, "backend_idle_timeout"));
    }
  }
  if (const Node* udp = table_at(server, "udp")) {
    set_number(listener, "responses", udp->find("max_responses"));
    note_others(listener, *udp, "udp.", {"max_responses"});
  }
  translate_access(server, listener);
  translate_balance(server.find("balance"), pool, line);
  set_duration(pool, "connect_timeout", find(server, defaults, "backend_connection_timeout"));
  if (const Node* proxy = table_at(server, "proxy_protocol")) {
    pool.set("send_proxy", fmt::format("\"v{}\"", text_at(proxy, "version")), proxy->position.line);
  }
  translate_discovery(server, pool);
  translate_health(server, pool);
  note_others(listener, server, "",
              {"protocol", "bind", "balance", "max_connections", "client_idle_timeout", "backend_idle_timeout",
               "backend_connection_timeout", "discovery", "healthcheck", "access", "udp", "proxy_protocol"});
}

}  // namespace

void translate_gobetween(std::string_view text, Draft& draft) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  const bool json = start != std::string_view::npos && text[start] == '{';
  std::optional<Node> root;
  if (json) {
    root = parse_json(text);
    if (!root) return draft.note(0, "the file begins like JSON, but is none");
  } else {
    config::Document document = config::parse_document(text);
    if (!document.root) return draft.note(document.problem.position.line, document.problem.message);
    root = std::move(document.root);
  }
  const Node* defaults = table_at(*root, "defaults");
  for (const Entry& entry : root->entries) {
    if (is_one_of(entry.key, {"servers", "defaults"})) continue;
    draft.note(entry.position.line, fmt::format("[{}]: no counterpart", entry.key));
  }
  const Node* servers = table_at(*root, "servers");
  if (servers == nullptr) return;
  for (const Entry& entry : servers->entries) {
    if (entry.value.kind == Node::Kind::table) translate_server(entry, defaults, draft);
  }
}

}  // namespace millrace::importer
