// nginx: the stream block of nginx.conf. Times without a unit are seconds.

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dialects.hpp"
#include "values.hpp"
#include "words.hpp"

namespace millrace::importer {
namespace {

bool is_one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

void no_counterpart(Table& table, const Statement& statement) {
  table.note(statement.line, fmt::format("{}: no counterpart", statement.joined()));
}

/// "weight=3" for "weight": "3".
std::optional<std::string_view> value_of(std::string_view word, std::string_view key) {
  if (!word.starts_with(key) || word.substr(key.size(), 1) != "=") return std::nullopt;
  return word.substr(key.size() + 1);
}

std::string pool_value(const Table& pool) {
  const std::string name = pool.header.substr(std::string_view("pools.").size());
  return name.starts_with('"') ? name : "\"" + name + "\"";
}

// ---- upstreams ----

void translate_server_word(const Statement& server, std::string_view word, Table& pool, std::string& backend,
                           bool& down) {
  if (word == "backup") {
    backend += ", backup = true";
  } else if (word == "down") {
    down = true;
  } else if (const auto weight = value_of(word, "weight"); weight && parse_number(*weight)) {
    backend += fmt::format(", weight = {}", *parse_number(*weight));
  } else if (const auto most = value_of(word, "max_conns"); most && parse_number(*most)) {
    backend += fmt::format(", max_connections = {}", *parse_number(*most));
  } else if (const auto fails = value_of(word, "max_fails"); fails && parse_number(*fails)) {
    pool.set("passive.failures", std::to_string(*parse_number(*fails)), server.line);
  } else if (const auto time = value_of(word, "fail_timeout"); time && parse_duration(*time, 1000)) {
    pool.set("passive.ejection", *parse_duration(*time, 1000), server.line);
  } else {
    pool.note(server.line, fmt::format("server {} {}: no counterpart", server.word(1), word));
  }
}

void translate_server_line(const Statement& server, Table& pool) {
  const std::string address = listen_address(server.word(1), "");
  std::string backend = fmt::format("{{ address = {}", toml_quoted(address));
  bool down = false;
  for (std::size_t i = 2; i < server.words.size(); ++i) {
    translate_server_word(server, server.word(i), pool, backend, down);
  }
  if (down) {
    pool.note(server.line, fmt::format("server {} is down: {} }}", server.word(1), backend));
  } else {
    pool.backends.push_back({"", backend + " }", server.line});
  }
}

void translate_hash(const Statement& hash, Table& pool) {
  const std::string_view key = hash.word(1);
  if (!is_one_of(key,
                 {"$remote_addr", "$binary_remote_addr", "$remote_addr$remote_port", "$remote_addr:$remote_port"})) {
    pool.note(hash.line, fmt::format("{}: no counterpart, only the client's address is hashed", hash.joined()));
  }
  pool.set("balance", "\"source_hash\"", hash.line);
  if (key.find("$remote_port") != std::string_view::npos) pool.set("hash.key", "\"source_ip_port\"", hash.line);
}

void translate_upstream(const Directive& upstream, Table& pool) {
  bool chosen = false;
  for (const Directive& directive : upstream.block) {
    const std::string_view name = directive.word(0);
    chosen = chosen || is_one_of(name, {"least_conn", "hash", "random", "least_time"});
    if (name == "server") {
      translate_server_line(directive, pool);
    } else if (name == "least_conn") {
      pool.set("balance", "\"least_conn\"", directive.line);
    } else if (name == "hash") {
      translate_hash(directive, pool);
    } else if (name == "random") {
      pool.set("balance", "\"random_two\"", directive.line);
    } else if (name != "zone") {  // memory that nginx's workers share
      no_counterpart(pool, directive);
    }
  }
  if (!chosen) pool.set("balance", "\"round_robin\"", upstream.line);
}

// ---- servers ----

/// What a server has, and then what it has from the stream block around it.
class Settings {
 public:
  Settings(const Directive& server, const Directive& stream) : lists_{&server.block, &stream.block} {}

  [[nodiscard]] const Directive* find(std::string_view name) const {
    for (const auto* list : lists_) {
      for (const Directive& directive : *list) {
        if (directive.word(0) == name) return &directive;
      }
    }
    return nullptr;
  }
  /// All of that name, of the server alone where it has any.
  [[nodiscard]] std::vector<const Directive*> all(std::initializer_list<std::string_view> names) const {
    std::vector<const Directive*> found;
    for (const auto* list : lists_) {
      for (const Directive& directive : *list) {
        if (is_one_of(directive.word(0), names)) found.push_back(&directive);
      }
      if (!found.empty()) break;
    }
    return found;
  }

 private:
  std::vector<const std::vector<Directive>*> lists_;
};

void set_duration(Table& table, std::string_view key, const Directive* directive) {
  if (directive == nullptr) return;
  if (const auto duration = parse_duration(directive->word(1), 1000)) {
    table.set(key, *duration, directive->line);
  } else {
    table.note(directive->line, fmt::format("{}: not a duration", directive->joined()));
  }
}

/// nginx takes the first rule that fits; millrace has two lists, of which `deny` wins.
void translate_access(const Settings& settings, Table& listener) {
  std::string allowed;
  std::string denied;
  bool ends_with_deny = false;
  LineNumber line = 0;
  for (const Directive* rule : settings.all({"allow", "deny"})) {
    line = rule->line;
    const bool allow = rule->word(0) == "allow";
    const std::string_view network = rule->word(1);
    if (network == "all") {
      ends_with_deny = !allow;
      break;
    }
    if (allow && !denied.empty()) listener.note(line, "deny before allow: in millrace deny wins wherever it stands");
    if (!allow && !allowed.empty()) listener.note(line, "allow before deny: in millrace deny wins wherever it stands");
    std::string& list = allow ? allowed : denied;
    list += (list.empty() ? "" : ", ") + toml_quoted(network);
  }
  if (ends_with_deny && allowed.empty()) listener.note(line, "deny all: nobody may connect, which has no counterpart");
  if (ends_with_deny && !allowed.empty()) listener.set("allow", "[" + allowed + "]", line);
  if (!denied.empty()) listener.set("deny", "[" + denied + "]", line);
}

struct Listen {
  std::string address;
  const Directive* directive;
};

void translate_listen_words(const Directive& listen, Table& listener) {
  for (std::size_t i = 2; i < listen.words.size(); ++i) {
    const std::string_view word = listen.word(i);
    if (word == "proxy_protocol") {
      listener.set("accept_proxy", "\"any\"", listen.line);
    } else if (const auto backlog = value_of(word, "backlog"); backlog && parse_number(*backlog)) {
      listener.set("backlog", std::to_string(*parse_number(*backlog)), listen.line);
    } else if (word == "so_keepalive=off") {
      listener.set("keepalive", "false", listen.line);
    } else if (word == "ssl") {
      listener.note(listen.line,
                    fmt::format("{}: millrace does not end TLS, it forwards it as it comes", listen.joined()));
    } else if (!is_one_of(word, {"udp", "reuseport", "bind", "ipv6only=on", "so_keepalive=on"}) &&
               !word.starts_with("rcvbuf=") && !word.starts_with("sndbuf=")) {
      listener.note(listen.line, fmt::format("listen ... {}: no counterpart", word));
    }
  }
}

void translate_rest(const Directive& server, Table& listener) {
  static const std::vector<std::string_view> kKnown = {"listen",
                                                       "proxy_pass",
                                                       "proxy_timeout",
                                                       "proxy_connect_timeout",
                                                       "proxy_responses",
                                                       "allow",
                                                       "deny",
                                                       "proxy_protocol",
                                                       "proxy_bind",
                                                       "limit_conn",
                                                       "proxy_next_upstream",
                                                       "proxy_next_upstream_tries",
                                                       "tcp_nodelay",
                                                       "proxy_half_close",
                                                       "proxy_socket_keepalive"};
  for (const Directive& directive : server.block) {
    if (std::find(kKnown.begin(), kKnown.end(), directive.word(0)) == kKnown.end()) no_counterpart(listener, directive);
  }
}

void translate_limits(const Settings& settings, const Directive& stream, Table& listener) {
  for (const Directive* limit : settings.all({"limit_conn"})) {
    const auto by_address = [&](const Directive& zone) {
      return zone.word(0) == "limit_conn_zone" && zone.word(1).ends_with("remote_addr") &&
             zone.word(2).starts_with(fmt::format("zone={}:", limit->word(1)));
    };
    const auto most = parse_number(limit->word(2));
    if (most && std::any_of(stream.block.begin(), stream.block.end(), by_address)) {
      listener.set("max_connections_per_ip", std::to_string(*most), limit->line);
    } else {
      no_counterpart(listener, *limit);
    }
  }
}

/// What nginx has for each server and millrace for each pool.
void translate_upstream_side(const Settings& settings, Table& pool) {
  set_duration(pool, "connect_timeout", settings.find("proxy_connect_timeout"));
  if (const Directive* proxy = settings.find("proxy_protocol"); proxy != nullptr && proxy->word(1) == "on") {
    pool.set("send_proxy", "\"v1\"", proxy->line);
  }
  if (const Directive* bind = settings.find("proxy_bind"); bind != nullptr && bind->word(1) != "off") {
    if (bind->word(2) == "transparent") pool.set("transparent", "true", bind->line);
    if (!bind->word(1).starts_with('$')) pool.set("source", toml_quoted(bind->word(1)), bind->line);
  }
  if (const Directive* next = settings.find("proxy_next_upstream"); next != nullptr && next->word(1) == "off") {
    pool.set("retries", "0", next->line);
  }
  const Directive* tries = settings.find("proxy_next_upstream_tries");
  const auto number = tries == nullptr ? std::nullopt : parse_number(tries->word(1));
  if (number && *number > 0) pool.set("retries", std::to_string(*number - 1), tries->line);
}

class Stream {
 public:
  Stream(const Directive& stream, Draft& draft) : stream_(stream), draft_(draft) {}

  void translate() {
    for (const Directive& directive : stream_.block) {
      if (directive.word(0) != "upstream") continue;
      Table& pool = draft_.add_pool(directive.word(1), directive.line);
      pools_.emplace(directive.word(1), &pool);
      translate_upstream(directive, pool);
    }
    for (const Directive& directive : stream_.block) {
      if (directive.word(0) == "server") {
        translate_server(directive);
      } else if (directive.has_block && directive.word(0) != "upstream") {
        draft_.note(directive.line, fmt::format("{} {{ ... }}: no counterpart", directive.joined()));
      } else if (!directive.has_block && !directive.word(0).starts_with("proxy_") &&
                 !is_one_of(directive.word(0), {"allow", "deny", "limit_conn", "limit_conn_zone", "tcp_nodelay"})) {
        draft_.note(directive.line, fmt::format("{}: no counterpart", directive.joined()));
      }
    }
  }

 private:
  void translate_server(const Directive& server) {
    std::vector<Listen> tcp;
    std::vector<Listen> udp;
    for (const Directive& directive : server.block) {
      if (directive.word(0) != "listen") continue;
      const bool is_udp = std::find(directive.words.begin(), directive.words.end(), "udp") != directive.words.end();
      std::string address = listen_address(directive.word(1), "0.0.0.0");
      if (address.starts_with("localhost:")) address.replace(0, 9, "127.0.0.1");
      (is_udp ? udp : tcp).push_back({std::move(address), &directive});
    }
    if (tcp.empty() && udp.empty()) {
      draft_.note(server.line, "server without listen: not translated");
      return;
    }
    const Settings settings(server, stream_);
    const Directive* pass = settings.find("proxy_pass");
    Table* pool = pass == nullptr ? nullptr : pool_for(*pass);
    if (pool != nullptr) translate_upstream_side(settings, *pool);
    const std::string name = pool != nullptr && pools_.contains(pass->word(1)) ? std::string(pass->word(1))
                                                                               : fmt::format("server-{}", server.line);
    if (!tcp.empty()) translate_listener(server, settings, tcp, name, pass, pool, false);
    if (!udp.empty()) translate_listener(server, settings, udp, tcp.empty() ? name : name + "-udp", pass, pool, true);
  }

  /// The upstream of that name, or a pool for the one address that stands in its place.
  Table* pool_for(const Directive& pass) {
    const auto found = pools_.find(pass.word(1));
    if (found != pools_.end()) return found->second;
    if (pass.word(1).find('$') != std::string_view::npos) {
      draft_.note(pass.line, fmt::format("{}: no counterpart, a pool has to be named", pass.joined()));
      return nullptr;
    }
    Table& pool = draft_.add_pool(pass.word(1), pass.line);
    pools_.emplace(pass.word(1), &pool);
    pool.backends.push_back(
        {"", fmt::format("{{ address = {} }}", toml_quoted(listen_address(pass.word(1), ""))), pass.line});
    return &pool;
  }

  void translate_listener(const Directive& server, const Settings& settings, const std::vector<Listen>& listens,
                          const std::string& name, const Directive* pass, const Table* pool, bool udp) {
    Table& listener = draft_.add_listener(name, server.line);
    if (udp) listener.set("protocol", "\"udp\"", listens.front().directive->line);
    std::string list;
    for (const Listen& listen : listens) list += (list.empty() ? "" : ", ") + toml_quoted(listen.address);
    listener.set("bind", listens.size() == 1 ? list : "[" + list + "]", listens.front().directive->line);
    if (pool != nullptr) listener.set("pool", pool_value(*pool), pass->line);
    for (const Listen& listen : listens) translate_listen_words(*listen.directive, listener);
    set_duration(listener, "idle_timeout", settings.find("proxy_timeout"));
    if (const Directive* responses = udp ? settings.find("proxy_responses") : nullptr) {
      if (const auto number = parse_number(responses->word(1))) {
        listener.set("responses", std::to_string(*number), responses->line);
      }
    }
    translate_access(settings, listener);
    translate_limits(settings, stream_, listener);
    translate_rest(server, listener);
  }

  const Directive& stream_;
  Draft& draft_;
  std::unordered_map<std::string_view, Table*> pools_;
};

}  // namespace

void translate_nginx(std::string_view text, Draft& draft) {
  Directive bare;  // a file that is included into the stream block
  for (const Directive& directive : parse_blocks(text)) {
    const std::string_view name = directive.word(0);
    if (name == "stream") {
      Stream(directive, draft).translate();
    } else if (is_one_of(name, {"upstream", "server"})) {
      bare.block.push_back(directive);
    } else if (name == "worker_processes") {
      if (const auto number = parse_number(directive.word(1))) {
        draft.runtime().set("workers", std::to_string(*number), directive.line);
      }
    } else if (name == "events") {
      for (const Directive& inner : directive.block) {
        draft.note(inner.line, fmt::format("{}: no counterpart, see runtime.max_connections", inner.joined()));
      }
    } else if (name == "http" || name == "mail") {
      draft.note(directive.line, fmt::format("{} {{ ... }}: only stream is translated", name));
    } else {
      draft.note(directive.line, fmt::format("{}: no counterpart", directive.joined()));
    }
  }
  if (!bare.block.empty()) Stream(bare, draft).translate();
}

}  // namespace millrace::importer
