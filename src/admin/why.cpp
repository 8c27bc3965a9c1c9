// Which backend a client gets, and why: the very picker of the workers, on a copy of what they see.

#include <fmt/format.h>

#include <algorithm>

#include "millrace/admin/operator.hpp"
#include "millrace/net/ip_endpoint.hpp"

namespace millrace::admin {

namespace {

/// The client as a person writes it: an address with or without a port. Port 0 when there was none.
Result<net::Endpoint> parse_client(const std::string& text) {
  const bool bare_v6 = std::count(text.begin(), text.end(), ':') > 1 && text.front() != '[';
  for (const std::string& form : {text, bare_v6 ? "[" + text + "]:0" : text + ":0"}) {
    const Result<net::AddressText> parsed = net::parse_address(form);
    if (!parsed || parsed.value().kind != net::AddressText::Kind::endpoint || parsed.value().endpoint.is_unix())
      continue;
    return parsed.value().endpoint;
  }
  return Error{
      fmt::format("{} is no client: write an IP address, with or without a port, e.g. 192.0.2.7 or "
                  "[2001:db8::1]:5000",
                  text)};
}

/// What keeps a backend from being chosen; empty when nothing does.
std::string obstacle(const pool::Backend& backend, const pool::BackendTable& table, Order order) {
  if (order == Order::draining) return "draining";
  if (order == Order::disabled) return "disabled";
  if (backend.weight == 0) return "weight 0";
  if (table.health(backend.id) == pool::HealthState::down) return "down";
  if (table.health(backend.id) == pool::HealthState::ejected) return "ejected";
  if (backend.max_connections != 0 && table.active(backend.id) >= backend.max_connections) {
    return fmt::format("full ({} of {})", table.active(backend.id), backend.max_connections);
  }
  return {};
}

std::string describe_hash(const pool::Pool& pool, const net::Endpoint& client, std::uint64_t hash) {
  const bool v6 = client.family() == net::Family::ipv6;
  const bool with_port = pool.hash.key == pool::HashKey::source_ip_port;
  return fmt::format("hash of the client's address, /{} of it{}: {:016x}",
                     v6 ? pool.hash.prefix_v6 : pool.hash.prefix_v4, with_port ? ", and its port" : "", hash);
}

}  // namespace

Result<std::vector<Explanation>> Operator::why(const std::string& client, std::string_view listener) const {
  const Result<net::Endpoint> parsed = parse_client(client);
  if (!parsed) return Error{parsed.error()};
  const std::shared_ptr<const State> now = state();
  std::vector<Explanation> explanations;
  if (!listener.empty()) {
    const Result<std::uint32_t> index = now->find_listener(listener);
    if (!index) return Error{index.error()};
    explanations.push_back(explain(*now, index.value(), parsed.value()));
    return explanations;
  }
  for (std::uint32_t i = 0; i < now->snapshot().listeners.size(); ++i) {
    if (!now->snapshot().listeners[i].retired) explanations.push_back(explain(*now, i, parsed.value()));
  }
  return explanations;
}

Explanation Operator::explain(const State& state, std::uint32_t listener_index, const net::Endpoint& client) const {
  const pool::Listener& listener = state.snapshot().listeners[listener_index];
  const pool::Pool& pool = *state.snapshot().pools[listener.pool];
  Explanation why{.listener = listener.name,
                  .pool = pool.name,
                  .balance = std::string(balance::name(pool.algorithm)),
                  .backend = {},
                  .steps = {}};
  const net::IpEndpoint address = net::IpEndpoint::from(client);
  if (listener.deny.contains(address) || (!listener.allow.empty() && !listener.allow.contains(address))) {
    why.admitted = false;
    why.steps.emplace_back(listener.deny.contains(address) ? "refused: `deny` names the client's address"
                                                           : "refused: `allow` does not name the client's address");
    return why;
  }
  bool any_up = false;
  for (const pool::Backend& backend : pool.backends) {
    const std::string problem = obstacle(backend, table_, state.order(backend.id));
    any_up = any_up || problem.empty();
    why.steps.push_back(fmt::format("{}: {}, weight {}, {} active{}", backend.name,
                                    problem.empty() ? "may be chosen" : problem, backend.weight,
                                    table_.active(backend.id), backend.backup ? ", backup" : ""));
  }
  // The picker counts what it picks: so it gets a table of its own.
  pool::BackendTable table(table_.rows());
  for (const pool::Backend& backend : pool.backends) table.copy_standing(table_, backend.id);
  pool::Picker picker(pool, table);
  pool::PickRequest request;
  const bool hashed = pool.algorithm == balance::Algorithm::source_hash;
  if (hashed) {
    const bool with_port = pool.hash.key == pool::HashKey::source_ip_port;
    request.client_hash = net::hash_client(client, pool.hash.prefix_v4, pool.hash.prefix_v6, with_port);
    why.steps.emplace_back(describe_hash(pool, client, request.client_hash));
    if (pool.primary_table && !pool.primary_table->empty()) {
      why.steps.emplace_back(
          fmt::format("home of this hash: {}", pool.backends[pool.primary_table->at(request.client_hash)].name));
    }
  }
  const pool::Pick pick = picker.pick(request);
  if (pick.outcome != pool::PickOutcome::picked) {
    why.steps.emplace_back(pick.outcome == pool::PickOutcome::all_full ? "refused: every backend is full"
                                                                       : "refused: no backend may be chosen");
    return why;
  }
  if (picker.failing_open()) why.steps.emplace_back("no backend is up: fail_open tries them all");
  why.certain = hashed || pool.algorithm == balance::Algorithm::first;
  const std::string& chosen = pool.backends[pick.index].name;
  if (why.certain) {
    why.backend = chosen;
    why.steps.emplace_back(hashed ? fmt::format("goes to {}", chosen)
                                  : fmt::format("goes to {}: the first that may be", chosen));
  } else {
    why.steps.emplace_back(
        fmt::format("{} does not look at the client: each worker chooses among these at that moment", why.balance));
  }
  return why;
}

}  // namespace millrace::admin
