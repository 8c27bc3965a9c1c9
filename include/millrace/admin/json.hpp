#pragma once
// What the protocol's objects look like as JSON, both ways. The names are those of docs/control.md.

#include <nlohmann/json.hpp>

#include "millrace/admin/operator.hpp"
#include "millrace/admin/reload_report.hpp"
#include "millrace/admin/status.hpp"

namespace millrace::admin {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Bytes, in, out)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ConnectTimes, count, mean_ms, p50_ms, p99_ms, total_seconds, classes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(TcpStatus, retransmits, rtt)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ListenerStatus, name, protocol, addresses, pool, active, connections,
                                                refused, bytes, tcp)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(BackendStatus, name, address, state, health, weight, backup, active,
                                                connections, connect_failures, bytes, connect_times, tcp,
                                                health_changes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PoolStatus, name, balance, failing_open, backends)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(WorkerStatus, index, active, connections, bytes, busy_seconds)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ForwardedBytes, copy, splice)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(UdpStatus, sessions, datagrams, dropped)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(HealthChange, time, pool, backend, from, to, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(LastReload, ok, error)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(AccessLogStatus, lines, dropped, lost)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Status, version, pid, started, uptime_seconds, max_connections,
                                                generation, last_reload, connect_bounds_ms, listeners, pools, workers,
                                                closes, forwarded_bytes, udp, access_log, transitions)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(KeyChange, key, before, after)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(NamedChange, name, keys)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(PoolChange, name, keys, backends_added, backends_removed,
                                                backends_changed, hash_moved)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ReloadReport, applied, generation, listeners_added, listeners_removed,
                                                listeners_changed, pools_added, pools_removed, pools_changed,
                                                runtime_changed, needs_restart, connections_leaving)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ConnectionStatus, id, listener, pool, backend, client, stage,
                                                age_seconds, in, out)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(ConnectionPage, connections, next)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Explanation, listener, pool, balance, admitted, backend, certain, steps)

/// One line of JSON. Names may come from files and the network: what is not UTF-8 is replaced, never thrown at.
[[nodiscard]] inline std::string to_line(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n';
}

}  // namespace millrace::admin
