#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "load.hpp"
#include "millrace/config/config.hpp"
#include "millrace/config/node.hpp"
#include "problems.hpp"
#include "text.hpp"

namespace millrace::config {
namespace {

constexpr std::string_view kName = "main";  // of the listener and of the pool

Node text_node(std::string_view text, std::string label = {}) {
  Node node;
  node.kind = Node::Kind::string;
  node.text = text;
  node.label = std::move(label);
  return node;
}

Node list_node() {
  Node node;
  node.kind = Node::Kind::list;
  return node;
}

void put(Node& table, std::string_view key, Node value) {
  table.entries.push_back({std::string(key), {}, std::move(value)});
}

std::string label_of(std::string_view option, std::string_view argument) {
  return std::string(option) + ' ' + printable(argument);
}

/// What stands behind `key=` on the command line has no quotes to tell its type; a name is always text.
Node value_node(std::string_view key, std::string_view text) {
  Node node = text_node(text);
  if (key == "name") return node;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), node.integer);
  if (error == std::errc() && end == text.data() + text.size() && !text.empty()) node.kind = Node::Kind::integer;
  if (text == "true" || text == "false") {
    node.kind = Node::Kind::boolean;
    node.boolean = text == "true";
  }
  return node;
}

/// One `key=value` of a backend; the error is the empty string when there is none.
std::string put_option(Node& backend, std::string_view option) {
  const std::size_t equals = option.find('=');
  if (equals == std::string_view::npos) {
    return "expected key=value after the comma, found " + quoted(option);
  }
  const std::string_view key = option.substr(0, equals);
  if (backend.find(key) != nullptr) return quoted(key) + " is given twice";
  put(backend, key, value_node(key, option.substr(equals + 1)));
  return {};
}

/// "ADDR[,key=value…]" as the table that a file would have.
Node backend_node(std::string_view argument, Problems& problems) {
  Node backend;
  backend.label = label_of("--backend", argument);
  std::size_t comma = argument.find(',');
  put(backend, "address", text_node(argument.substr(0, comma), backend.label));
  while (comma != std::string_view::npos) {
    argument.remove_prefix(comma + 1);
    comma = argument.find(',');
    const std::string problem = put_option(backend, argument.substr(0, comma));
    if (!problem.empty()) problems.add_at({}, backend.label + ": " + problem);
  }
  return backend;
}

/// Several of them shall run on one machine without being in each other's way.
Node admin_node() {
  Node admin;
  put(admin, "http", text_node(""));
  return admin;
}

Node listeners_node(const QuickForm& quick) {
  Node bind = list_node();
  for (const std::string& listen : quick.listen) bind.items.push_back(text_node(listen, label_of("--listen", listen)));
  Node listener;
  if (quick.udp) put(listener, "protocol", text_node("udp"));
  put(listener, "bind", std::move(bind));
  put(listener, "pool", text_node(kName));
  Node listeners;
  put(listeners, kName, std::move(listener));
  return listeners;
}

Node pools_node(const QuickForm& quick, Problems& problems) {
  Node backends = list_node();
  for (const std::string& backend : quick.backends) backends.items.push_back(backend_node(backend, problems));
  Node pool;
  put(pool, "backends", std::move(backends));
  if (!quick.balance.empty()) put(pool, "balance", text_node(quick.balance, label_of("--balance", quick.balance)));
  Node pools;
  put(pools, kName, std::move(pool));
  return pools;
}

}  // namespace

Loaded from_quick_form(const QuickForm& quick) {
  Problems problems;
  if (quick.listen.empty())
    problems.add_at({}, "--listen is missing, say where to listen, for example --listen *:8080");
  if (quick.backends.empty()) problems.add_at({}, "--backend is missing, for example --backend 10.0.0.1:80");
  Node root;
  put(root, "admin", admin_node());
  put(root, "listeners", listeners_node(quick));
  put(root, "pools", pools_node(quick, problems));
  if (quick.listen.empty() || quick.backends.empty()) return {std::nullopt, problems.take()};
  Loaded loaded = load(root);
  if (problems.empty()) return loaded;
  Loaded failed{std::nullopt, problems.take()};
  failed.diagnostics.insert(failed.diagnostics.end(), loaded.diagnostics.begin(), loaded.diagnostics.end());
  return failed;
}

}  // namespace millrace::config
