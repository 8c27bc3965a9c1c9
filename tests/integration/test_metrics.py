"""/metrics: what it has, that it is well written, and that it says what really happened."""

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import threading

import pytest

prometheus_parser = pytest.importorskip("prometheus_client.parser")

from harness.backends import echo  # noqa: E402
from harness.config import FAST_HEALTH, make_config  # noqa: E402
from harness.datagrams import echo as echo_datagrams  # noqa: E402
from harness.http import HttpClient  # noqa: E402
from harness.servers import Iperf3, Nginx, program  # noqa: E402
from harness.sockets import connect, converse, exchange, pattern, receive_all  # noqa: E402
from harness.waiting import wait_until  # noqa: E402

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]

# The contract's: of these names users' dashboards and alerts are made.
FAMILIES = {
    "millrace_build_info": ("gauge", {"version"}),
    "millrace_start_time_seconds": ("gauge", set()),
    "millrace_connections_limit": ("gauge", set()),
    "millrace_tcp_retransmits_total": ("counter", {"listener"}),
    "millrace_tcp_rtt_seconds": ("histogram", {"listener"}),
    "millrace_backend_tcp_retransmits_total": ("counter", {"pool", "backend"}),
    "millrace_backend_tcp_rtt_seconds": ("histogram", {"pool", "backend"}),
    "millrace_access_log_lines_total": ("counter", set()),
    "millrace_access_log_dropped_total": ("counter", {"reason"}),
    "millrace_config_generation": ("gauge", set()),
    "millrace_config_last_reload_success": ("gauge", set()),
    "millrace_connections_total": ("counter", {"listener"}),
    "millrace_connections_active": ("gauge", {"listener"}),
    "millrace_connections_refused_total": ("counter", {"listener", "reason"}),
    "millrace_bytes_total": ("counter", {"listener", "direction"}),
    "millrace_backend_up": ("gauge", {"pool", "backend"}),
    "millrace_backend_state": ("gauge", {"pool", "backend", "state"}),
    "millrace_backend_weight": ("gauge", {"pool", "backend"}),
    "millrace_backend_connections_total": ("counter", {"pool", "backend"}),
    "millrace_backend_active": ("gauge", {"pool", "backend"}),
    "millrace_backend_bytes_total": ("counter", {"pool", "backend", "direction"}),
    "millrace_backend_connect_failures_total": ("counter", {"pool", "backend", "reason"}),
    "millrace_backend_connect_seconds": ("histogram", {"pool", "backend"}),
    "millrace_backend_health_transitions_total": ("counter", {"pool", "backend", "to", "reason"}),
    "millrace_pool_fail_open": ("gauge", {"pool"}),
    "millrace_closes_total": ("counter", {"reason"}),
    "millrace_forwarded_bytes_total": ("counter", {"path"}),
    "millrace_udp_sessions_active": ("gauge", set()),
    "millrace_udp_datagrams_total": ("counter", {"direction"}),
    "millrace_udp_dropped_total": ("counter", {"reason"}),
    "millrace_worker_busy_seconds_total": ("counter", {"worker"}),
}
# Words that must be there from the start.
REASONS = {
    "millrace_connections_refused_total": {"denied", "source_limit", "rate_limit", "no_backend", "connect_failed"},
    "millrace_closes_total": {"client_fin", "client_reset", "backend_fin", "backend_reset", "idle_timeout",
                              "half_close_timeout", "drain", "killed"},
    "millrace_udp_dropped_total": {"no_backend", "session_limit", "no_session", "denied"},
    "millrace_backend_connect_failures_total": {"refused", "timeout", "unreachable", "reset"},
    "millrace_backend_health_transitions_total": {"succeeded", "refused", "timeout", "failures"},
}


class Metrics:
    """What one scrape said, parsed strictly."""

    def __init__(self, answer):
        assert answer.status == 200, answer
        assert answer.fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        self.text = answer.text
        self.families = {}
        for family in prometheus_parser.text_string_to_metric_families(self.text):
            # The parser names a counter without its suffix.
            name = family.name + ("_total" if family.type == "counter" else "")
            assert name not in self.families, f"{name} twice"
            self.families[name] = family
        self.samples = {(s.name, frozenset(s.labels.items())): s.value
                        for family in self.families.values() for s in family.samples}
        assert len(self.samples) == sum(len(family.samples) for family in self.families.values())

    def __call__(self, name, **labels):
        """The value of one series."""
        return self.samples[name, frozenset((key, str(value)) for key, value in labels.items())]

    def sum(self, name, **labels):
        return sum(value for (one, its), value in self.samples.items() if one == name and labels.items() <= dict(its).items())

    @property
    def counters(self):
        return {key: value for key, value in self.samples.items() if key[0].endswith(("_total", "_bucket", "_count", "_sum"))}


@pytest.fixture
def measured(balancer):
    """A balancer with metrics: (balancer, a function that scrapes, its HTTP client)."""

    def start(backends, *, admin=None, **tables):
        running = balancer(backends, admin={"http": "127.0.0.1:0"} | (admin or {}), **tables)
        http = HttpClient(running.http_address)
        return running, lambda: Metrics(http.get("/metrics")), http

    return start


def access_log_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def udp_table(pool="web"):
    return {"protocol": "udp", "pool": pool}


# What there is.


def test_families_are_those_of_the_contract(measured, backend):
    _, scrape, _ = measured([backend(echo, name="a")], more_listeners={"dns": udp_table()})
    metrics = scrape()
    assert {name: family.type for name, family in metrics.families.items()} == {
        name: kind for name, (kind, _) in FAMILIES.items()}
    for name, family in metrics.families.items():
        assert family.documentation.endswith("."), name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == FAMILIES[name][1], sample
    for name, words in REASONS.items():
        assert words <= {sample.labels["reason"] for sample in metrics.families[name].samples}, name
    assert {dict(labels)["to"] for name, labels in metrics.samples if "transitions" in name} == {"up", "down", "ejected"}


def test_the_documentation_has_every_family(measured, backend):
    table = {}
    for line in (PROJECT_ROOT / "docs/metrics.md").read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| `(millrace_\w+)` \| (\w+) \| ([^|]*) \|", line)
        if match:
            table[match[1]] = (match[2], set(re.findall(r"`(\w+)`", match[3])))
    assert table == FAMILIES


def test_everything_begins_at_zero(measured, backend):
    _, scrape, _ = measured([backend(echo, name="a")], more_listeners={"dns": udp_table()})
    counted = {key: value for key, value in scrape().counters.items()
               if value and key[0] != "millrace_worker_busy_seconds_total"}
    assert counted == {}


def test_a_name_with_signs_of_the_format_is_read_as_it_is(measured, backend):
    server = backend(echo)
    name = "a b,c={d}#"
    _, scrape, _ = measured([{"address": server.text, "name": name}])
    assert scrape()("millrace_backend_up", pool="web", backend=name) == 1


# What really happened.


def converse_often(address, count, size, seed):
    """So many connections, each with so many bytes both ways."""
    data = pattern(size, seed)
    for _ in range(count):
        converse(address, data)


@pytest.mark.parametrize("workers", [1, 2])
def test_totals_of_tcp_are_exactly_what_clients_counted(measured, backend, workers, tmp_path):
    """In the metrics, in the status and in the access log."""
    log = tmp_path / "access.log"
    running, scrape, http = measured([backend(echo, name=name) for name in "ab"], runtime={"workers": workers},
                                     listener={"access_log": str(log)})
    plan = [(60, 10, 1), (30, 5000, 2), (4, 700_000, 3), (2, 3_000_000, 4)]
    threads = [threading.Thread(target=converse_often, args=(running.address, *one)) for one in plan]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until(lambda: scrape()("millrace_connections_active", listener="web") == 0, what="the end of all connections")
    connections = sum(count for count, _, _ in plan)
    total = sum(count * size for count, size, _ in plan)
    metrics, status = scrape(), http.get("/api/v1/status").json
    assert metrics("millrace_connections_total", listener="web") == connections
    assert metrics.sum("millrace_connections_refused_total") == 0
    assert metrics.sum("millrace_closes_total") == connections
    assert metrics("millrace_closes_total", reason="client_fin") == connections
    for direction in ("in", "out"):
        assert metrics("millrace_bytes_total", listener="web", direction=direction) == total
        assert metrics.sum("millrace_backend_bytes_total", direction=direction) == total
    assert metrics.sum("millrace_forwarded_bytes_total") == 2 * total
    assert metrics("millrace_forwarded_bytes_total", path="splice") > 0
    assert metrics.sum("millrace_backend_connections_total", pool="web") == connections
    assert metrics.sum("millrace_backend_connect_seconds_count") == connections
    assert metrics.sum("millrace_backend_connect_seconds_bucket", le="+Inf") == connections
    assert metrics.sum("millrace_backend_active") == 0
    # And the status has the very same numbers.
    assert status["listeners"][0]["bytes"] == {"in": total, "out": total}
    assert status["forwarded_bytes"]["copy"] + status["forwarded_bytes"]["splice"] == 2 * total
    assert sum(status["closes"].values()) == status["listeners"][0]["connections"] == connections
    # TCP_INFO was asked for all of them, as there is an access log.
    assert metrics("millrace_tcp_rtt_seconds_count", listener="web") == connections
    assert metrics.sum("millrace_backend_tcp_rtt_seconds_count") == connections
    assert status["listeners"][0]["tcp"]["rtt"]["count"] == connections
    wait_until(lambda: scrape()("millrace_access_log_lines_total") == connections, what="all lines of the log")
    assert metrics.sum("millrace_access_log_dropped_total") == 0
    lines = access_log_of(log)
    assert len(lines) == connections
    assert sum(line["bytes_in"] for line in lines) == sum(line["bytes_out"] for line in lines) == total
    assert {line["close_reason"] for line in lines} == {"client_fin"}
    assert sum(line["client_retransmits"] for line in lines) == metrics("millrace_tcp_retransmits_total", listener="web")
    for name in "ab":
        mine = [line for line in lines if line["backend"] == name]
        assert len(mine) == metrics("millrace_backend_connections_total", pool="web", backend=name)
        assert sum(line["bytes_in"] for line in mine) == metrics("millrace_backend_bytes_total", pool="web", backend=name,
                                                                 direction="in")


def test_totals_of_udp_are_exactly_what_clients_counted(measured, udp_backend, client, tmp_path):
    log = tmp_path / "access.log"
    running, scrape, http = measured([udp_backend(echo_datagrams, name="a")],
                                     listener={"protocol": "udp", "access_log": str(log)})
    socks = [client(running.address) for _ in range(20)]
    sent = 0
    for round_ in range(10):
        for number, sock in enumerate(socks):
            data = bytes([number]) * (10 + round_)
            sock.send(data)
            assert sock.recv(100) == data
            sent += len(data)
    metrics = scrape()
    for direction in ("in", "out"):
        assert metrics("millrace_udp_datagrams_total", direction=direction) == 200
        assert metrics("millrace_bytes_total", listener="web", direction=direction) == sent
        assert metrics("millrace_backend_bytes_total", pool="web", backend="a", direction=direction) == sent
    assert metrics("millrace_udp_sessions_active") == metrics("millrace_connections_active", listener="web") == 20
    assert metrics("millrace_connections_total", listener="web") == 20
    assert metrics("millrace_backend_active", pool="web", backend="a") == 20
    assert metrics.sum("millrace_udp_dropped_total") == 0
    assert metrics.sum("millrace_forwarded_bytes_total") == 0
    assert http.get("/api/v1/status").json["udp"] == {
        "sessions": 20, "datagrams": {"in": 200, "out": 200}, "dropped": {}}
    running.close()
    lines = access_log_of(log)
    assert len(lines) == 20
    assert sum(line["bytes_in"] for line in lines) == sum(line["bytes_out"] for line in lines) == sent


def test_refused_connections_by_reason(measured, backend):
    running, scrape, _ = measured([backend(echo, name="a")], listener={"deny": ["127.0.0.0/8"]})
    for _ in range(5):
        with contextlib.suppress(OSError), connect(running.address) as sock:
            receive_all(sock)
    wait_until(lambda: scrape()("millrace_connections_refused_total", listener="web", reason="denied") == 5)
    metrics = scrape()
    assert metrics.sum("millrace_connections_refused_total") == 5
    assert metrics("millrace_connections_total", listener="web") == 5
    assert metrics("millrace_connections_active", listener="web") == 0


def test_refused_datagrams_by_listener(measured, udp_backend, client):
    running, scrape, http = measured([udp_backend(echo_datagrams, name="a")],
                                     listener={"protocol": "udp", "deny": ["127.0.0.0/8"]})
    sock = client(running.address)
    for _ in range(3):
        sock.send(b"x")
    wait_until(lambda: scrape()("millrace_udp_dropped_total", reason="denied") == 3)
    assert scrape().sum("millrace_connections_refused_total", listener="web", reason="denied") > 0
    assert http.get("/api/v1/status").json["listeners"][0]["refused"].keys() == {"denied"}


def test_failed_connects_and_health(measured, backend):
    server = backend(echo, name="a")
    running, scrape, http = measured([server], health=FAST_HEALTH, pool={"retries": 0}, passive={"failures": 0})
    running.expected_errors |= {"pool_down"}

    def state(**labels):
        return scrape()("millrace_backend_state", pool="web", backend="a", **labels)

    server.stop_listening()
    wait_until(lambda: state(state="down") == 1, what="the backend to be down")
    metrics = scrape()
    assert state(state="up") == 0
    assert metrics("millrace_backend_up", pool="web", backend="a") == 0
    assert metrics("millrace_pool_fail_open", pool="web") == 1
    assert metrics.sum("millrace_backend_health_transitions_total") == 1
    assert metrics("millrace_backend_health_transitions_total", pool="web", backend="a", to="down", reason="refused") == 1
    with contextlib.suppress(OSError), connect(running.address) as sock:
        receive_all(sock)
    wait_until(lambda: scrape()("millrace_backend_connect_failures_total", pool="web", backend="a", reason="refused") == 1)
    server.listen()
    wait_until(lambda: state(state="up") == 1, what="the backend to be up")
    metrics = scrape()
    assert metrics("millrace_pool_fail_open", pool="web") == 0
    assert metrics("millrace_backend_health_transitions_total", pool="web", backend="a", to="up", reason="succeeded") == 1
    down, up = http.get("/api/v1/status").json["transitions"]
    assert (down["pool"], down["backend"], down["from"], down["to"]) == ("web", "a", "up", "down")
    assert down["reason"] == "connect refused"
    assert (up["from"], up["to"], up["reason"]) == ("down", "up", "probe succeeded")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", down["time"])
    assert down["time"] < up["time"]


def test_what_an_operator_does_is_seen(measured, backend):
    token = "secret"
    running, scrape, http = measured([backend(echo, name=name) for name in "ab"], admin={"token": token})
    http.token = token

    def change(**arguments):
        assert http.post("/api/v1/backend", {"pool": "web", "backend": "a", **arguments}).status == 200

    change(action="weight", weight=9)
    change(action="drain")
    metrics = scrape()
    assert metrics("millrace_backend_weight", pool="web", backend="a") == 9
    assert metrics("millrace_backend_up", pool="web", backend="a") == 1
    assert {dict(labels)["state"]: value for (name, labels), value in metrics.samples.items()
            if name == "millrace_backend_state" and ("backend", "a") in labels} == {
        "up": 0, "down": 0, "ejected": 0, "draining": 1, "disabled": 0, "removed": 0}
    change(action="enable")


# While it works.


def test_values_never_fall_while_traffic_flows(measured, closing, tmp_path):
    server = closing(Nginx(tmp_path, "a"))
    running, scrape, _ = measured([server], more_listeners={"bulk": {"forwarding": "splice"}})
    host, port = running.address
    load = subprocess.Popen([program("wrk"), "-t", "1", "-c", "8", "-d", "3", "-H", "Connection: close",
                             f"http://{host}:{port}/"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    before, scrapes = scrape(), 0
    while load.poll() is None:
        now = scrape()
        assert now.samples.keys() == before.samples.keys()
        fallen = {key: (before.samples[key], value) for key, value in now.counters.items() if value < before.samples[key]}
        assert not fallen
        for name in ("millrace_connections_active", "millrace_backend_active"):
            assert 0 <= now.sum(name) <= 100
        before, scrapes = now, scrapes + 1
    output = load.communicate()[0]
    assert load.returncode == 0, output
    assert "Socket errors" not in output, output
    assert scrapes > 20
    done = int(re.search(r"(\d+) requests in", output)[1])
    wait_until(lambda: scrape().sum("millrace_connections_active") == 0)
    metrics = scrape()
    accepted = metrics("millrace_connections_total", listener="web")
    assert done <= accepted <= done + 8 + 1  # wrk ends in the middle of some, and looks at the first
    assert metrics.sum("millrace_closes_total") == accepted
    assert metrics.sum("millrace_worker_busy_seconds_total") > 0


def test_a_hundred_backends(measured, backend):
    server = backend(echo)
    backends = [{"address": server.text, "name": f"b{number:03}"} for number in range(100)]
    running, scrape, _ = measured(backends, pool={"balance": "round_robin"})
    for _ in range(100):
        with connect(running.address) as sock:
            assert exchange(sock, b"x")
    metrics = scrape()
    assert len(metrics.families["millrace_backend_up"].samples) == 100
    assert metrics.sum("millrace_backend_connections_total") == 100
    assert metrics.sum("millrace_backend_bytes_total", direction="in") == 100


def test_bulk_traffic_does_not_mind_scrapes(measured, closing, tmp_path):
    server = closing(Iperf3(tmp_path))
    running, scrape, http = measured([server])
    host, port = running.address
    load = subprocess.Popen([program("iperf3"), "-c", host, "-p", str(port), "-t", "2", "-P", "4", "-J"],
                            stdout=subprocess.PIPE, text=True)
    slow = []
    while load.poll() is None:
        scrape()
        sock = socket.create_connection(running.http_address)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n")  # and no more
        slow.append(sock)
    report = json.loads(load.communicate()[0])
    for sock in slow:
        sock.close()
    assert "error" not in report
    sent, received = (report["end"][f"sum_{word}"]["bytes"] for word in ("sent", "received"))
    wait_until(lambda: scrape().sum("millrace_connections_active") == 0)
    forwarded = scrape()("millrace_bytes_total", listener="web", direction="in")
    control = 10_000  # what iperf3 says on its own connection, and the cookies of the others
    assert received <= forwarded <= sent + control  # neither end of iperf3 counts to the last byte


def test_reloads_are_counted_and_a_refused_one_is_seen(millrace, backend, config_file):
    server = backend(echo, name="a")

    def text(weight):
        return make_config([{"address": server.text, "name": "a", "weight": weight}],
                           admin={"http": "127.0.0.1:0", "token": "secret"})

    path = config_file(text(1))
    running = millrace(["run", "-c", str(path)])
    running.expected_errors.add("reload_failed")
    http = HttpClient(running.http_address, "secret")

    def config():
        metrics = Metrics(http.get("/metrics"))
        return [metrics(f"millrace_config_{name}") for name in ("generation", "last_reload_success")]

    assert config() == [1, 1]
    with connect(running.address) as sock:
        assert exchange(sock, b"12345")
    wait_until(lambda: Metrics(http.get("/metrics")).sum("millrace_connections_active") == 0)
    before = Metrics(http.get("/metrics"))
    path.write_text(text(5), encoding="utf-8")
    assert http.post("/api/v1/reload", {"plan": True}).json["applied"] is False
    assert http.post("/api/v1/reload", {}).json["applied"] is True
    assert config() == [2, 1]
    after = Metrics(http.get("/metrics"))
    assert after("millrace_backend_weight", pool="web", backend="a") == 5
    assert not [key for key, value in before.counters.items() if after.samples[key] < value]
    assert after("millrace_bytes_total", listener="web", direction="in") == 5
    path.write_text("nonsense", encoding="utf-8")
    assert http.post("/api/v1/reload", {}).status == 422
    assert config() == [2, 0]
    path.write_text(text(6), encoding="utf-8")
    assert http.post("/api/v1/reload", {}).status == 200
    assert config() == [3, 1]
