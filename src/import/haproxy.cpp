// HAProxy: global, defaults, frontend, backend and listen sections. Times without a unit are milliseconds.

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "dialects.hpp"
#include "values.hpp"
#include "words.hpp"

namespace millrace::importer {
namespace {

struct Section {
  std::string kind;
  std::string name;
  LineNumber line = 0;
  std::vector<Statement> own;
  std::vector<Statement> inherited;  // of the defaults section before it
};

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// What says nothing that millrace would do otherwise.
bool is_neutral(const Statement& statement) {
  const std::string_view keyword = statement.word(0);
  if (keyword == "option") {
    return is_one_of(statement.word(1), {"tcpka", "clitcpka", "srvtcpka", "redispatch", "splice-auto",
                                         "tcp-smart-accept", "tcp-smart-connect", "dontlognull", "tcp-check"});
  }
  if (keyword == "mode") return statement.word(1) == "tcp";
  return is_one_of(keyword, {"daemon", "maxconn", "retries", "balance", "hash-type", "description", "enabled"});
}

std::vector<Section> split_sections(std::string_view text, Draft& draft) {
  std::vector<Section> sections;
  std::vector<Statement> defaults;
  for (Statement& statement : split_lines(text)) {
    const std::string_view keyword = statement.word(0);
    if (is_one_of(keyword, {"global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist",
                            "cache", "program", "ring", "mailers", "http-errors", "fcgi-app", "log-forward"})) {
      if (keyword == "defaults") defaults.clear();
      Section section{std::string(keyword), std::string(statement.word(1)), statement.line, {}, defaults};
      if (keyword == "listen" && statement.words.size() > 2) {  // an address in the header, as it was in old times
        section.own.push_back({statement.line, {"bind", std::string(statement.word(2))}});
      }
      sections.push_back(std::move(section));
    } else if (sections.empty()) {
      draft.note(statement.line, fmt::format("{}: stands in no section", statement.joined()));
    } else {
      if (sections.back().kind == "defaults") defaults.push_back(statement);
      sections.back().own.push_back(std::move(statement));
    }
  }
  return sections;
}

/// The last one counts, as HAProxy has it; the section's own before the inherited ones.
const Statement* find(const Section& section, std::string_view first, std::string_view second = {}) {
  const auto fits = [&](const Statement& s) { return s.word(0) == first && (second.empty() || s.word(1) == second); };
  for (const auto* list : {&section.own, &section.inherited}) {
    const auto found = std::find_if(list->rbegin(), list->rend(), fits);
    if (found != list->rend()) return &*found;
  }
  return nullptr;
}

void set_number(Table& table, std::string_view key, const Statement& statement, std::size_t index) {
  if (const auto number = parse_number(statement.word(index))) {
    table.set(key, std::to_string(*number), statement.line);
  } else {
    table.note(statement.line, fmt::format("{}: not a number", statement.joined()));
  }
}

std::optional<std::string> timeout_of(const Section& section, std::string_view name, Table& table) {
  const Statement* statement = find(section, "timeout", name);
  if (statement == nullptr) return std::nullopt;
  auto duration = parse_duration(statement->word(2), 1);
  if (!duration) table.note(statement->line, fmt::format("{}: not a duration", statement->joined()));
  return duration;
}

/// Two timeouts of which either may be missing; millrace has one for both directions, so the longer counts.
void set_longer(Table& table, std::string_view key, const Section& front, std::string_view client, const Section* back,
                std::string_view server) {
  const auto a = timeout_of(front, client, table);
  const auto b = back == nullptr ? std::nullopt : timeout_of(*back, server, table);
  if (!a && !b) return;
  const bool first = a && (!b || milliseconds_of(*a) >= milliseconds_of(*b));
  const Statement* statement = first ? find(front, "timeout", client) : find(*back, "timeout", server);
  table.set(key, first ? *a : *b, statement->line);
  if (a && b && *a != *b) {
    table.note(statement->line,
               fmt::format("timeout {} and timeout {} differ, the longer one is taken", client, server));
  }
}

// ---- listeners ----

std::string bind_address(std::string text) {
  for (const std::string_view prefix : {"ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"}) {
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  }
  if (text.starts_with("unix@")) return "unix:" + text.substr(5);
  if (text.starts_with("abns@")) return "unix:@" + text.substr(5);
  const std::size_t colon = text.rfind(':');
  const bool bare_ipv6 = !text.starts_with('[') && std::count(text.begin(), text.end(), ':') > 1;
  if (bare_ipv6) return fmt::format("[{}]{}", text.substr(0, colon), text.substr(colon));
  // A "*" of HAProxy is IPv4 only.
  return listen_address(text, "0.0.0.0");
}

void translate_bind(const Statement& bind, Table& table, std::vector<std::string>& addresses) {
  const bool both = std::find(bind.words.begin(), bind.words.end(), "v4v6") != bind.words.end();
  std::string_view rest = bind.word(1);
  while (!rest.empty()) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    std::string address = bind_address(std::string(rest.substr(0, comma)));
    if (both && address.starts_with("[::]:")) address = "*" + address.substr(4);
    addresses.push_back(std::move(address));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  for (std::size_t i = 2; i < bind.words.size(); ++i) {
    const std::string_view word = bind.word(i);
    if (word == "accept-proxy") {
      table.set("accept_proxy", "\"any\"", bind.line);
    } else if (is_one_of(word, {"backlog", "maxconn"})) {
      set_number(table, word == "backlog" ? "backlog" : "max_connections", bind, ++i);
    } else if (word == "name") {
      ++i;
    } else if (is_one_of(word, {"ssl", "crt", "alpn", "verify", "ca-file"})) {
      table.note(bind.line,
                 fmt::format("bind ... {}: millrace does not end TLS, it forwards it as it comes", bind.joined(i)));
      return;
    } else if (!is_one_of(word, {"v4v6", "v6only", "reuseport", "defer-accept", "tfo"})) {
      table.note(bind.line, fmt::format("bind ... {}: no counterpart", bind.joined(i)));
      return;
    }
  }
}

void set_addresses(Table& table, const std::vector<std::string>& addresses, LineNumber line) {
  if (addresses.empty()) return;
  std::string list;
  for (const std::string& address : addresses) list += (list.empty() ? "" : ", ") + toml_quoted(address);
  table.set("bind", addresses.size() == 1 ? list : "[" + list + "]", line);
}

void translate_front(const Section& section, const Section* back, Table& table, std::string_view pool_header,
                     LineNumber pool_line) {
  std::vector<std::string> addresses;
  LineNumber bind_line = section.line;
  for (const Statement& statement : section.own) {
    const std::string_view keyword = statement.word(0);
    if (keyword == "bind") {
      translate_bind(statement, table, addresses);
      bind_line = statement.line;
    } else if (keyword == "mode" && statement.word(1) == "http") {
      table.note(statement.line, "mode http: forwarded as TCP, what needs HTTP is lost");
    } else if (keyword == "backlog") {
      set_number(table, "backlog", statement, 1);
    } else if (is_one_of(keyword, {"use_backend", "acl", "tcp-request"})) {
      table.note(statement.line, fmt::format("{}: no counterpart, connections are not told apart", statement.joined()));
    } else if (section.kind == "frontend" && keyword != "default_backend" && keyword != "timeout" &&
               !is_neutral(statement)) {
      table.note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
    }
  }
  set_addresses(table, addresses, bind_line);
  if (!pool_header.empty()) table.set("pool", std::string(pool_header), pool_line);
  if (const Statement* maxconn = find(section, "maxconn")) set_number(table, "max_connections", *maxconn, 1);
  const Section* other = back != nullptr ? back : (section.kind == "listen" ? &section : nullptr);
  if (find(section, "timeout", "tunnel") != nullptr) {
    set_longer(table, "idle_timeout", section, "tunnel", nullptr, {});
  } else if (other != nullptr && find(*other, "timeout", "tunnel") != nullptr) {
    set_longer(table, "idle_timeout", *other, "tunnel", nullptr, {});
  } else {
    set_longer(table, "idle_timeout", section, "client", other, "server");
  }
  set_longer(table, "half_close_timeout", section, "client-fin", other, "server-fin");
}

// ---- pools ----

void translate_balance(const Section& section, Table& pool) {
  const Statement* balance = find(section, "balance");
  const std::string_view name = balance == nullptr ? "roundrobin" : balance->word(1);
  const LineNumber line = balance == nullptr ? section.line : balance->line;
  if (is_one_of(name, {"roundrobin", "static-rr"})) return pool.set("balance", "\"round_robin\"", line);
  if (name == "leastconn") return pool.set("balance", "\"least_conn\"", line);
  if (name == "source") return pool.set("balance", "\"source_hash\"", line);
  if (name == "first") return pool.set("balance", "\"first\"", line);
  if (name.starts_with("random")) return pool.set("balance", "\"random_two\"", line);
  pool.note(line, fmt::format("balance {}: no counterpart, least_conn is used", balance->joined(1)));
}

/// Settings of probes and of the PROXY protocol are those of the pool.
bool translate_pool_word(const Statement& server, std::size_t& i, Table& pool) {
  const std::string_view word = server.word(i);
  if (word == "send-proxy") return pool.set("send_proxy", "\"v1\"", server.line), true;
  if (word.starts_with("send-proxy-v2")) return pool.set("send_proxy", "\"v2\"", server.line), true;
  if (word == "inter" || word == "slowstart") {
    const auto duration = parse_duration(server.word(++i), 1);
    if (!duration) return false;
    pool.set(word == "inter" ? "health.interval" : "slow_start", *duration, server.line);
    return true;
  }
  if (is_one_of(word, {"rise", "fall", "port"})) {
    set_number(pool, fmt::format("health.{}", word), server, ++i);
    return true;
  }
  if (word == "source") {
    const std::string_view address = server.word(++i);
    pool.set("source", toml_quoted(address.substr(0, address.find(':'))), server.line);
    return true;
  }
  if (word == "on-marked-down" && server.word(i + 1) == "shutdown-sessions") {
    ++i;
    pool.set("on_down", "\"close\"", server.line);
    return true;
  }
  return false;
}

/// The words behind the address; true when the server is to be probed. `from` is where they begin.
bool translate_server_words(const Statement& server, std::size_t from, Table& pool, std::string& backend,
                            bool& disabled) {
  bool checked = false;
  for (std::size_t i = from; i < server.words.size(); ++i) {
    const std::string_view word = server.word(i);
    if (word == "check") {
      checked = true;
    } else if (word == "no-check") {
      checked = false;
    } else if (word == "disabled") {
      disabled = true;
    } else if (word == "backup") {
      backend += ", backup = true";
    } else if (is_one_of(word, {"weight", "maxconn"}) && parse_number(server.word(i + 1))) {
      backend +=
          fmt::format(", {} = {}", word == "weight" ? "weight" : "max_connections", *parse_number(server.word(i + 1)));
      ++i;
    } else if (!translate_pool_word(server, i, pool) && !is_one_of(word, {"enabled", "tfo"})) {
      const std::string_view why = is_one_of(word, {"ssl", "verify", "sni", "ca-file"})
                                       ? "millrace speaks no TLS to backends"
                                       : "no counterpart";
      pool.note(server.line, fmt::format("server {} ... {}: {}", server.word(1), server.joined(i), why));
      break;
    }
  }
  return checked;
}

std::string server_address(std::string_view text) {
  for (const std::string_view prefix : {"ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"}) {
    if (text.starts_with(prefix)) text.remove_prefix(prefix.size());
  }
  if (text.starts_with("unix@")) return fmt::format("unix:{}", text.substr(5));
  if (text.starts_with('/')) return fmt::format("unix:{}", text);
  return std::string(text);
}

/// Adds a backend; true when it is probed.
bool translate_server(const Statement& server, const Statement* defaults, Table& pool) {
  std::string backend = fmt::format("{{ name = {}, address = {}", toml_quoted(server.word(1)),
                                    toml_quoted(server_address(server.word(2))));
  bool disabled = false;
  std::string unused;
  bool checked = translate_server_words(server, 3, pool, backend, disabled);
  if (defaults != nullptr) {
    std::string inherited;
    Table others;  // what the servers say themselves comes first
    checked |= translate_server_words(*defaults, 1, others, inherited, disabled);
    for (const Setting& setting : others.settings) {
      if (pool.find(setting.key) == nullptr) pool.settings.push_back(setting);
    }
    for (const Note& note : others.notes) pool.note(note.line, note.message);
    for (const std::string_view key : {", weight", ", max_connections", ", backup"}) {
      const std::size_t at = inherited.find(key);
      if (at == std::string::npos || backend.find(key) != std::string::npos) continue;
      backend += inherited.substr(at, inherited.find(',', at + 1) - at);
    }
  }
  if (disabled) {
    pool.note(server.line, fmt::format("server {} is disabled: {} }}", server.word(1), backend));
  } else {
    pool.backends.push_back({"", backend + " }", server.line});
  }
  return checked;
}

void translate_probes(const Section& section, Table& pool, int servers, int checked) {
  if (servers > 0 && checked == 0) pool.set("health.type", "\"none\"", section.line);
  if (checked > 0 && checked < servers) {
    pool.note(section.line, "only some servers have a check, millrace probes all of a pool");
  }
  if (checked == 0) return;
  if (const auto timeout = timeout_of(section, "check", pool)) {
    pool.set("health.timeout", *timeout, find(section, "timeout", "check")->line);
  } else if (const Setting* interval = pool.find("health.interval")) {
    if (milliseconds_of(interval->value) < 1000) pool.set("health.timeout", interval->value, interval->line);
  }
}

void translate_back(const Section& section, Table& pool) {
  translate_balance(section, pool);
  if (const auto timeout = timeout_of(section, "connect", pool)) {
    pool.set("connect_timeout", *timeout, find(section, "timeout", "connect")->line);
  }
  if (const auto timeout = timeout_of(section, "queue", pool)) {
    pool.set("queue_timeout", *timeout, find(section, "timeout", "queue")->line);
  }
  if (const Statement* retries = find(section, "retries")) set_number(pool, "retries", *retries, 1);
  const Statement* defaults = find(section, "default-server");
  int servers = 0;
  int checked = 0;
  for (const Statement& statement : section.own) {
    const std::string_view keyword = statement.word(0);
    if (keyword == "server") {
      ++servers;
      checked += translate_server(statement, defaults, pool) ? 1 : 0;
    } else if (keyword == "hash-balance-factor" && parse_number(statement.word(1))) {
      const auto percent = *parse_number(statement.word(1));
      if (percent != 0)
        pool.set("hash.load_factor", fmt::format("{}.{:02}", percent / 100, percent % 100), statement.line);
    } else if (keyword == "source") {
      std::size_t i = 0;
      translate_pool_word(statement, i, pool);
      if (statement.word(2) == "usesrc") pool.set("transparent", "true", statement.line);
    } else if (keyword == "tcp-check" && is_one_of(statement.word(1), {"send", "expect"})) {
      const std::size_t text = statement.word(1) == "send" ? 2 : 3;
      pool.set(fmt::format("health.{}", statement.word(1)), toml_quoted(statement.word(text)), statement.line);
    } else if (keyword == "option" && statement.word(1).ends_with("chk")) {
      pool.note(statement.line, fmt::format("{}: no counterpart, probes connect only", statement.joined()));
    } else if (!is_one_of(keyword, {"default-server", "timeout", "bind", "backlog", "default_backend", "use_backend",
                                    "acl", "tcp-request"}) &&
               !is_neutral(statement) && !(keyword == "mode" && section.kind == "listen")) {
      pool.note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
    }
  }
  translate_probes(section, pool, servers, checked);
}

void translate_global(const Section& section, Draft& draft) {
  for (const Statement& statement : section.own) {
    const std::string_view keyword = statement.word(0);
    if (keyword == "maxconn" || keyword == "nbthread") {
      set_number(draft.runtime(), keyword == "maxconn" ? "max_connections" : "workers", statement, 1);
    } else if (keyword == "hard-stop-after" && parse_duration(statement.word(1), 1)) {
      draft.runtime().set("shutdown_timeout", *parse_duration(statement.word(1), 1), statement.line);
    } else if (!is_neutral(statement)) {
      draft.runtime().note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
    }
  }
}

void note_defaults(const Section& section, Draft& draft) {
  for (const Statement& statement : section.own) {
    const bool used = is_one_of(statement.word(0), {"timeout", "default-server", "default_backend"});
    if (statement.word(0) == "mode" && statement.word(1) == "http") {
      draft.note(statement.line, "mode http: forwarded as TCP, what needs HTTP is lost");
    } else if (statement.word(0) == "timeout" &&
               !is_one_of(statement.word(1),
                          {"client", "server", "connect", "client-fin", "server-fin", "tunnel", "check", "queue"})) {
      draft.note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
    } else if (!used && !is_neutral(statement)) {
      draft.note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
    }
  }
}

/// The part of a table's header behind the first dot, as a value: the names of pools in `pool = "..."`.
std::string pool_value(const Table& pool) {
  const std::string name = pool.header.substr(std::string_view("pools.").size());
  return name.starts_with('"') ? name : "\"" + name + "\"";
}

}  // namespace

void translate_haproxy(std::string_view text, Draft& draft) {
  const std::vector<Section> sections = split_sections(text, draft);
  std::unordered_map<std::string, std::pair<const Section*, std::string>> backends;
  for (const Section& section : sections) {
    if (section.kind != "backend") continue;
    Table& pool = draft.add_pool(section.name, section.line);
    translate_back(section, pool);
    backends.emplace(section.name, std::pair(&section, pool_value(pool)));
  }
  for (const Section& section : sections) {
    if (section.kind == "global") {
      translate_global(section, draft);
    } else if (section.kind == "defaults") {
      note_defaults(section, draft);
    } else if (section.kind == "listen") {
      Table& pool = draft.add_pool(section.name, section.line);
      translate_back(section, pool);
      translate_front(section, nullptr, draft.add_listener(section.name, section.line), pool_value(pool), section.line);
    } else if (section.kind == "frontend") {
      const Statement* target = find(section, "default_backend");
      const auto back = target == nullptr ? backends.end() : backends.find(std::string(target->word(1)));
      const bool known = back != backends.end();
      const std::string pool = known ? back->second.second : (target == nullptr ? "" : toml_quoted(target->word(1)));
      translate_front(section, known ? back->second.first : nullptr, draft.add_listener(section.name, section.line),
                      pool, target == nullptr ? section.line : target->line);
    } else if (section.kind != "backend") {
      draft.note(section.line, fmt::format("section {} {}: no counterpart", section.kind, section.name));
    }
  }
}

}  // namespace millrace::importer
