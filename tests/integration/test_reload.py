"""The file is applied again while everything runs: what changes, what stays, and that nobody is disturbed."""

import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness.backends import RefusedPort, echo, name_server
from harness.config import FAST_HEALTH, PATIENT_HEALTH, make_config, toml_table
from harness.datagrams import ask as ask_datagram
from harness.datagrams import name_and_echo
from harness.servers import Iperf3, Nginx, program
from harness.sockets import RST, ask, connect, ends_unserved, exchange, free_port, receive_all
from harness.supervisor import NotifySocket
from harness.waiting import wait_until


class Reloadable:
    """A balancer with a file that the test rewrites."""

    def __init__(self, millrace, command, folder, **tables):
        self.file = folder / "millrace.toml"
        self.socket = str(folder / "control.sock")
        self._tables = tables
        self._command = command
        self.write_config = lambda backends, **changed: self.write(self.config(backends, **changed))
        self._millrace = millrace

    def config(self, backends, **changed):
        return make_config(backends, **({"admin": {"socket": self.socket}} | self._tables | changed))

    def write(self, text):
        self.file.write_text(text, encoding="utf-8")
        return text

    def start(self, backends, **changed):
        options = {key: changed.pop(key) for key in ("env",) if key in changed}
        self.write_config(backends, **changed)
        self.running = self._millrace(["run", "-c", str(self.file)], **options)
        return self.running

    def operate(self, *arguments, as_json=True):
        done = self._command(*arguments, "--socket", self.socket, *(["--json"] if as_json else []))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if as_json else done.stdout

    def reload(self, backends=None, **changed):
        if backends is not None:
            self.write_config(backends, **changed)
        return self.operate("reload")

    def refused(self, *options):
        """What `millrace reload` says when it cannot."""
        done = self._command("reload", "--socket", self.socket, *options)
        assert done.returncode == 1, done.stdout
        return done.stderr

    def status(self):
        return self.operate("status")

    def backends(self, pool="web"):
        (found,) = [entry for entry in self.status()["pools"] if entry["name"] == pool]
        return {entry["name"]: entry for entry in found["backends"]}

    def listeners(self):
        return {entry["name"]: entry for entry in self.status()["listeners"]}


@pytest.fixture
def reloadable(millrace, command, tmp_path):
    return lambda **tables: Reloadable(millrace, command, tmp_path, **tables)


@pytest.fixture
def two(backend):
    return [backend(name_server, name=name) for name in "ab"]


def refuses(address):
    """True once a connect is refused."""
    try:
        connect(address, timeout=3).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


# What is applied, and how it is told.


@pytest.mark.parametrize("how", ["command", "signal"])
def test_new_connections_follow_the_file(reloadable, two, how):
    balancer = reloadable()
    running = balancer.start(two[:1])
    assert ask(running.address) == b"a"
    balancer.write_config(two[1:])
    if how == "command":
        report = balancer.operate("reload")
        assert report["applied"] and report["generation"] == 2
        (change,) = report["pools_changed"]
        assert (change["name"], change["backends_added"], change["backends_removed"]) == ("web", ["b"], ["a"])
    else:
        running.signal(signal.SIGHUP)
    running.wait_event("reloaded", generation=2)
    assert [ask(running.address) for _ in range(10)] == [b"b"] * 10
    assert balancer.status()["generation"] == 2


def test_the_same_file_changes_nothing(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two)
    assert "nothing differs" in balancer.operate("reload", as_json=False)
    running.wait_event("reloaded", changed=False)
    assert ask(running.address) in (b"a", b"b")


def test_a_plan_only_tells(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two[:1], pool={"balance": "source_hash"})
    with connect(running.address) as client:
        client.sendall(b"?")
        assert client.recv(10) == b"a"
        balancer.write_config(two[1:], pool={"balance": "source_hash", "retries": 5}, runtime={"workers": 1},
                              more_listeners={"more": {}})
        text = balancer.operate("reload", "--plan", as_json=False)
        for line in ["+ listener more", "~ pool web", "retries: 2 -> 5", "+ backend b", "- backend a",
                     "100.0 % of all clients", "needs a restart: runtime.workers: 2 -> 1", "1 connections", "planned only"]:
            assert line in text, text
        plan = balancer.operate("reload", "--plan")
        assert not plan["applied"] and plan["connections_leaving"] == 1
        assert plan["pools_changed"][0]["hash_moved"] == 1
    assert ask(running.address) == b"a"
    assert balancer.status()["generation"] == 1
    assert not running.find_events("reloaded")


def test_a_bad_file_changes_nothing_and_says_why(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two[:1])
    running.expected_errors = {"reload_failed"}
    balancer.write(balancer.config(two[1:]) + "retires = 3\n[listeners.x]\nbind = 7\n")
    message = balancer.refused()
    assert re.search(r"millrace.toml:\d+:\d+: error: pools.web: unknown key \"retires\"", message), message
    assert message.count("error: ") >= 3, message
    assert "unknown key" in balancer.refused("--plan")
    running.signal(signal.SIGHUP)
    assert "retires" in running.wait_event("reload_failed", count=2)["reason"]
    assert ask(running.address) == b"a"
    status = balancer.status()
    assert status["generation"] == 1 and status["last_reload"]["ok"] is False
    assert "retires" in status["last_reload"]["error"]
    os.unlink(balancer.file)
    assert "cannot open" in balancer.refused()
    balancer.reload(two[1:])
    assert ask(running.address) == b"b"
    assert balancer.status()["last_reload"] == {"ok": True, "error": ""}


def test_an_address_in_use_refuses_all_of_it(reloadable, two):
    balancer = reloadable(runtime={"workers": 1})
    running = balancer.start(two[:1])
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running.expected_errors = {"reload_failed"}
        balancer.write_config(two[1:], more_listeners={"one": {"bind": f"127.0.0.1:{free}"},
                                                       "two": {"bind": f"127.0.0.1:{taken.getsockname()[1]}"}})
        message = balancer.refused()
    assert "listener two: cannot listen on 127.0.0.1" in message
    assert refuses(("127.0.0.1", free))
    assert ask(running.address) == b"a"
    assert list(balancer.listeners()) == ["web"]


def test_without_a_file_there_is_nothing_to_reload(millrace, two):
    running = millrace(["run", "--listen", "127.0.0.1:0", "--backend", two[0].text])
    running.expected_errors = {"reload_failed"}
    running.signal(signal.SIGHUP)
    assert "without a file" in running.wait_event("reload_failed")["reason"]
    assert ask(running.address) == b"a"


def test_runtime_keys(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two)
    report = balancer.reload(two, runtime={"workers": 3, "log_level": "warn", "shutdown_timeout": "1s"})
    assert [change["key"] for change in report["needs_restart"]] == ["runtime.workers"]
    assert {change["key"] for change in report["runtime_changed"]} == {"runtime.log_level", "runtime.shutdown_timeout"}
    assert running.wait_event("reload_needs_restart")["key"] == "runtime.workers"
    balancer.reload(two, runtime={"log_level": "info", "shutdown_timeout": "1s"})
    running.signal(signal.SIGTERM)
    assert float(running.wait_event("stopping")["timeout_s"]) == 1


# What stays.


def test_connections_live_on_with_the_backend_they_have(reloadable, backend):
    servers = [backend(echo, name=name) for name in "ab"]
    balancer = reloadable()
    running = balancer.start(servers[:1])
    with connect(running.address) as client:
        assert exchange(client, b"before")
        balancer.reload(servers[1:])
        assert exchange(client, b"after")
        assert (servers[0].accepted, servers[1].accepted) == (1, 0)
        found = balancer.backends()
        assert (found["a"]["state"], found["a"]["active"], found["b"]["state"]) == ("removed", 1, "up")
        (entry,) = balancer.operate("connections", "--backend", "web/a")
        assert (entry["backend"], entry["pool"]) == ("a", "web")
        with connect(running.address) as other:
            assert exchange(other)
        assert (servers[0].accepted, servers[1].accepted) == (1, 1)
    wait_until(lambda: "a" not in balancer.backends(), what="the removed backend to be gone")


def test_drain_timeout_ends_what_is_left_on_a_removed_backend(reloadable, backend):
    servers = [backend(echo, name=name) for name in "ab"]
    balancer = reloadable(pool={"drain_timeout": "100ms"})
    running = balancer.start(servers)
    clients = [connect(running.address) for _ in range(8)]
    for client in clients:
        assert exchange(client)
    balancer.reload(servers[1:])
    assert balancer.status()
    ended = wait_until(lambda: balancer.status()["closes"].get("drain") == 4 and balancer.status()["closes"],
                       what="the end of four connections")
    assert ended == {"drain": 4}
    alive = [client for client in clients if _is_alive(client)]
    assert len(alive) == 4
    for client in clients:
        client.close()


def _is_alive(client):
    try:
        return exchange(client) or True
    except (ConnectionResetError, BrokenPipeError, AssertionError):
        return False


def test_a_backend_that_comes_back_keeps_its_connections(reloadable, backend):
    servers = [backend(echo, name=name) for name in "ab"]
    balancer = reloadable(pool={"drain_timeout": "2s"})
    running = balancer.start(servers)
    with connect(running.address) as one, connect(running.address) as two:
        assert exchange(one) and exchange(two)
        balancer.reload(servers[1:])
        assert balancer.backends()["a"]["state"] == "removed"
        balancer.reload(servers)
        found = balancer.backends()
        assert (found["a"]["state"], found["a"]["active"], found["a"]["connections"]) == ("up", 1, 1)
        assert exchange(one) and exchange(two)
    assert "drain" not in balancer.status()["closes"]


def test_health_counters_and_loads_are_kept(reloadable, backend, closing):
    good, other = backend(echo, name="good"), backend(echo, name="other")
    gone = closing(RefusedPort())
    gone.name = "gone"
    balancer = reloadable(health=FAST_HEALTH | {"interval": "200ms"}, runtime={"workers": 1})
    running = balancer.start([good, gone])
    running.wait_event("backend_down", backend="gone")
    with connect(running.address) as client:
        assert exchange(client)
        # Its settings change too, but for nobody's health.
        balancer.reload([good, gone, other], health=FAST_HEALTH | {"interval": "300ms"})
        found = balancer.backends()
        assert found["gone"]["state"] == "down"
        assert (found["good"]["active"], found["good"]["connections"]) == (1, 1)
        assert balancer.listeners()["web"]["connections"] == 1
        with connect(running.address) as second:  # least_conn knows that `good` has one already
            assert exchange(second)
            assert balancer.backends()["other"]["active"] == 1
    assert len(running.find_events("backend_down")) == 1


def test_orders_and_weights_of_the_operator_are_kept(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two)
    balancer.operate("backend", "web/a", "drain")
    balancer.operate("backend", "web/b", "weight", "7")
    balancer.reload(two, pool={"retries": 1})
    found = balancer.backends()
    assert (found["a"]["state"], found["b"]["weight"]) == ("draining", 7)
    assert {ask(running.address) for _ in range(8)} == {b"b"}
    balancer.reload([two[0], {"name": "b", "address": two[1].text, "weight": 3}])
    assert balancer.backends()["b"]["weight"] == 3  # the file has spoken
    balancer.operate("backend", "web/a", "enable")
    assert {ask(running.address) for _ in range(8)} == {b"a", b"b"}


def test_limits_hold_over_a_reload(reloadable, backend):
    server = backend(echo, name="a")
    balancer = reloadable()
    running = balancer.start([server])
    with connect(running.address) as first, connect(running.address) as second:
        assert exchange(first) and exchange(second)
        balancer.reload([server], listener={"max_connections": 2})
        with connect(running.address) as third:
            third.sendall(b"x")
            assert balancer.listeners()["web"]["active"] == 2
            first.close()
            assert third.recv(1) == b"x"  # there was room for it now
            balancer.reload([server], listener={"max_connections_per_ip": 1})
            fourth = connect(running.address)  # those of before were not counted
            assert exchange(fourth)
            assert ends_unserved(running.address)
            fourth.close()


def test_what_ends_at_a_time_is_not_who_has_the_place_later(reloadable, backend):
    servers = [backend(echo, name=name) for name in "abc"]
    balancer = reloadable(pool={"drain_timeout": "1s", "balance": "first"}, runtime={"workers": 1})
    running = balancer.start([servers[1], servers[0]])
    with connect(running.address) as leaving:
        assert exchange(leaving)
        balancer.reload(servers[1:2])  # nobody is left on a: its place is free
        balancer.reload(servers[2:])  # c has it, and b's connection ends later than a's would have
        with connect(running.address) as staying:
            assert exchange(staying)
            assert receive_all(leaving)[0] == b""
            assert exchange(staying)
    assert balancer.status()["closes"]["drain"] == 1


def test_all_backends_of_a_pool_are_exchanged_under_connects(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two[:1])
    failures, stop = [], threading.Event()

    def ask_on():
        while not stop.is_set():
            try:
                assert ask(running.address) in (b"a", b"b")
            except Exception as error:  # noqa: BLE001: whatever it is, it is a failure
                failures.append(error)

    askers = [threading.Thread(target=ask_on) for _ in range(4)]
    for asker in askers:
        asker.start()
    for turn in range(30):
        balancer.reload([two[(turn + 1) % 2]])
    stop.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert "no_backend" not in balancer.status().get("refused", {})


# Listeners.


def test_listeners_come_and_go(reloadable, two):
    balancer = reloadable()
    running = balancer.start(two[:1])
    port = free_port()
    balancer.reload(two[:1], more_listeners={"more": {"bind": f"127.0.0.1:{port}"}})
    assert ask(("127.0.0.1", port)) == b"a"
    with connect(("127.0.0.1", port)) as client:
        balancer.reload(two[:1])
        wait_until(lambda: refuses(("127.0.0.1", port)), what="the port to be closed")
        assert balancer.listeners()["more"]["active"] == 1  # it is shown while somebody is there
        client.sendall(b"?")
        assert client.recv(10) == b"a"
    wait_until(lambda: list(balancer.listeners()) == ["web"], what="the listener to be gone")
    assert ask(running.address) == b"a"


def test_a_listener_that_goes_loses_nobody_who_waits_in_the_kernel(reloadable, backend):
    server = backend(echo, name="a")
    port = free_port()
    balancer = reloadable(runtime={"workers": 1})
    balancer.start([server], more_listeners={"full": {"bind": f"127.0.0.1:{port}", "max_connections": 1}})
    holder = connect(("127.0.0.1", port))
    assert exchange(holder)
    waiting = [connect(("127.0.0.1", port)) for _ in range(5)]
    for client in waiting:
        client.sendall(b"here I am")
    balancer.reload([server])
    holder.close()
    for client in waiting:  # one after the other, as the limit says
        assert client.recv(100) == b"here I am"
        client.close()
    wait_until(lambda: refuses(("127.0.0.1", port)), what="the port to be closed")


def test_a_listener_that_goes_with_its_pool_loses_nobody_either(reloadable, two, backend):
    server = backend(echo, name="a")
    port = free_port()
    balancer = reloadable(runtime={"workers": 1})
    listener = {"bind": f"127.0.0.1:{port}", "max_connections": 1, "pool": "other"}
    text = balancer.config(two, more_listeners={"full": listener})
    balancer.start(two)
    balancer.write(text + "\n" + toml_table("pools.other", {"backends": [{"address": server.text}],
                                                            "health": {"type": "none"}}))
    balancer.reload()
    holder = connect(("127.0.0.1", port))
    assert exchange(holder)
    waiting = [connect(("127.0.0.1", port)) for _ in range(3)]
    for client in waiting:
        client.sendall(b"here I am")
    balancer.reload(two)
    holder.close()
    for client in waiting:
        assert client.recv(100) == b"here I am"
        client.close()
    wait_until(lambda: refuses(("127.0.0.1", port)), what="the port to be closed")


@pytest.mark.parametrize("narrow", ["0.0.0.0", "[::]"])
def test_an_address_becomes_a_wildcard(reloadable, two, narrow):
    balancer = reloadable()
    port = free_port()
    balancer.start(two[:1], more_listeners={"more": {"bind": f"{narrow}:{port}"}})
    for _ in range(2):
        balancer.reload(two[:1], more_listeners={"more": {"bind": f"*:{port}"}})
        for host in ("127.0.0.1", "::1"):
            assert ask((host, port)) == b"a"
        balancer.reload(two[:1], more_listeners={"more": {"bind": f"{narrow}:{port}"}})


def test_a_wildcard_comes_back_whole(reloadable, two):
    port = free_port()
    wild = {"wild": {"bind": f"*:{port}"}}
    balancer = reloadable(runtime={"workers": 1})
    balancer.start(two[:1], more_listeners=wild)
    balancer.reload(two[:1])
    for host in ("127.0.0.1", "::1"):
        wait_until(lambda host=host: refuses((host, port)), what="the port to be closed")
    balancer.reload(two[:1], more_listeners={"more": {}})  # has the number of one of its descriptors
    balancer.reload(two[:1], more_listeners={"more": {}} | wild)
    for host in ("127.0.0.1", "::1"):
        assert ask((host, port)) == b"a"


def test_a_reload_that_fails_leaves_the_files_of_others(reloadable, two, tmp_path):
    balancer = reloadable()
    running = balancer.start(two)
    path = str(tmp_path / "other.sock")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(path)
        other.listen()
        running.expected_errors = {"reload_failed"}
        balancer.write_config(two, more_listeners={"mine": {"bind": f"unix:{tmp_path}/mine.sock"},
                                                   "more": {"bind": f"unix:{path}"}})
        assert "listener more: cannot listen on" in balancer.refused()
        connect(path).close()
    assert not os.path.exists(tmp_path / "mine.sock")


def test_an_address_passes_to_another_listener_without_a_gap(reloadable, two):
    balancer = reloadable()
    port = free_port()
    address = ("127.0.0.1", port)
    bind = {"bind": f"127.0.0.1:{port}"}
    balancer.start(two[:1], more_listeners={"old": bind})
    failures, stop = [], threading.Event()

    def ask_on():
        while not stop.is_set():
            try:
                assert ask(address) == b"a"
            except Exception as error:  # noqa: BLE001: whatever it is, it is a failure
                failures.append(error)

    asker = threading.Thread(target=ask_on)
    asker.start()
    for name in ["new", "old"] * 5:
        balancer.reload(two[:1], more_listeners={name: bind})
        assert name in balancer.listeners()
    stop.set()
    asker.join()
    assert failures == []


def test_an_address_that_comes_back_at_once(reloadable, two):
    port = free_port()
    bind = {"bind": f"127.0.0.1:{port}"}
    for workers in (1, 2):
        balancer = reloadable(runtime={"workers": workers})
        running = balancer.start(two[:1], more_listeners={"more": bind})
        assert ask(("127.0.0.1", port)) == b"a"
        wait_until(lambda: balancer.listeners()["more"]["active"] == 0, what="the end of the connection")
        before = running.descriptors()["socket"]
        for _ in range(5):
            balancer.reload(two[:1])
            balancer.reload(two[:1], more_listeners={"more": bind})
            assert ask(("127.0.0.1", port)) == b"a"
        wait_until(lambda: running.descriptors()["socket"] == before, what="descriptors to be given back")
        running.close()


def test_options_of_a_socket_that_stays_follow(reloadable, two):
    balancer = reloadable(runtime={"workers": 1})
    running = balancer.start(two)
    balancer.reload(two, listener={"backlog": 7})
    listing = subprocess.run(["ss", "-Hltn", f"sport = :{running.address[1]}"], capture_output=True, text=True, check=True)
    assert listing.stdout.split()[2] == "7", listing.stdout


def test_on_down_closes_connections(reloadable, backend):
    servers = [backend(echo, name=name) for name in "ab"]
    balancer = reloadable(health=FAST_HEALTH | {"fall": 1}, pool={"on_down": "close", "balance": "first"})
    running = balancer.start(servers)
    with connect(running.address) as client:
        assert exchange(client)
        servers[0].stop_listening()
        assert receive_all(client)[1] == RST
    wait_until(lambda: balancer.status()["closes"].get("backend_down") == 1, what="the reason to be counted")
    with connect(running.address) as other:
        assert exchange(other)
    assert servers[1].accepted >= 1


# UDP.


def test_udp_listeners_come_sessions_move_and_listeners_go(reloadable, backend, udp_backend, client):
    tcp = backend(echo, name="t")
    one, two = (udp_backend(name_and_echo, name=name) for name in ("one", "two"))
    port = free_port()

    def config(servers):
        backends = ", ".join(f'{{ name = "{s.name}", address = "{s.text}" }}' for s in servers)
        return balancer.config([tcp], more_listeners={"dns": {"protocol": "udp", "bind": f"127.0.0.1:{port}",
                                                              "pool": "dns"}}) + (
            f'\n[pools.dns]\nbackends = [{backends}]\nhealth = {{ type = "none" }}\n')

    balancer = reloadable()
    running = balancer.start([tcp])  # TCP alone
    balancer.write(config([one]))
    balancer.operate("reload")
    peer = client(("127.0.0.1", port))
    assert ask_datagram(peer, b"1").startswith(b"one")
    assert balancer.listeners()["dns"]["active"] == 1
    balancer.write(config([two]))
    balancer.operate("reload")
    assert ask_datagram(peer, b"2").startswith(b"two")  # the same session, its next datagram
    assert balancer.listeners()["dns"]["connections"] == 1
    balancer.write(config([one, two]))
    balancer.operate("reload")
    assert ask_datagram(peer, b"3").startswith(b"two")  # it had no reason to move
    balancer.reload([tcp])
    wait_until(lambda: list(balancer.listeners()) == ["web"], what="the end of the session")
    with connect(running.address) as tcp_client:
        assert exchange(tcp_client)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_udp_address_that_comes_back_at_once(reloadable, udp_backend, client, workers):
    server = udp_backend(name_and_echo, name="one")
    port = free_port()
    dns = {"protocol": "udp", "bind": f"127.0.0.1:{port}"}
    balancer = reloadable(runtime={"workers": workers})
    balancer.start([server], listener={"protocol": "udp"}, more_listeners={"dns": dns})
    for _ in range(3):
        balancer.reload([server], listener={"protocol": "udp"})
        balancer.reload([server], listener={"protocol": "udp"}, more_listeners={"dns": dns})
        for peer in [client(("127.0.0.1", port)) for _ in range(8)]:
            assert ask_datagram(peer, b"?").startswith(b"one")


# systemd.


def test_systemd_is_told(reloadable, two, closing, tmp_path):
    notify = closing(NotifySocket(tmp_path / "notify"))
    balancer = reloadable()
    running = balancer.start(two, env={"NOTIFY_SOCKET": notify.path})
    running.signal(signal.SIGHUP)
    running.wait_event("reloaded")
    wait_until(lambda: notify.lines().count("READY=1") == 2, what="the second READY")
    lines = notify.lines()
    reloading = lines.index("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=[1-9]\d+", lines[reloading + 1])
    assert lines.index("READY=1") < reloading < len(lines) - 1 - lines[::-1].index("READY=1")


# Under load.


def _variants(nginx, iperf3, port):
    """Configurations that differ in everything a reload may change, but for what the load uses."""
    def bulk(extra):
        return "\n" + toml_table("pools.bulk", {"backends": [iperf3.text], "health": {"type": "none"}, **extra})

    listeners = {"bulk": {"pool": "bulk"}}
    a, b, c = nginx
    return [
        ([a, b], {"more_listeners": listeners}, bulk({})),
        ([a, b, c], {"more_listeners": listeners, "pool": {"balance": "round_robin"}}, bulk({"retries": 1})),
        ([b, c], {"more_listeners": listeners | {"more": {"bind": f"127.0.0.1:{port}"}}}, bulk({})),
        ([{"name": "a", "address": a.text, "weight": 5}, c], {"more_listeners": listeners | {"udp": {"protocol": "udp", "pool": "bulk"}},
                                                              "pool": {"balance": "source_hash"}}, bulk({})),
        ([a, c], {"more_listeners": listeners, "listener": {"idle_timeout": "5m", "max_connections_per_ip": 5000}}, bulk({})),
    ]


SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


@pytest.mark.limit(150)
def test_reloads_under_load_disturb_nobody(reloadable, closing, tmp_path, long_run, sanitized, capsys):
    """wrk with and without keep-alive, iperf3 both ways. MILLRACE_LONG=1: 500 reloads in 60 s."""
    seconds, reloads = (60, 500) if long_run else (6, 50)
    nginx = [closing(Nginx(tmp_path, name)) for name in "abc"]
    iperf3 = closing(Iperf3(tmp_path))
    balancer = reloadable(health=PATIENT_HEALTH)
    variants = _variants(nginx, iperf3, free_port())

    def write(number):
        servers, tables, more = variants[number % len(variants)]
        balancer.write(balancer.config(servers, **tables) + more)

    servers, tables, more = variants[0]
    balancer.write(balancer.config(servers, **tables) + more)
    running = balancer._millrace(["run", "-c", str(balancer.file)])
    balancer.running = running
    (web,), (bulk,) = running.addresses("web"), running.addresses("bulk")
    url = f"http://{web[0]}:{web[1]}/10k"
    wrk = [program("wrk"), "-t1", "-c16", f"-d{seconds}s", "--timeout", "10s"]
    loads = [
        [*wrk, url],
        [*wrk, "-H", "Connection: close", url],
        [program("iperf3"), "-c", bulk[0], "-p", str(bulk[1]), "-t", str(seconds), "-b", "2G", "-J"],
    ]
    processes = [subprocess.Popen(load, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                 for load in loads]
    outputs = [None] * len(processes)
    readers = [threading.Thread(target=lambda i=i, p=p: outputs.__setitem__(i, p.communicate()[0]))
               for i, p in enumerate(processes)]
    for reader in readers:
        reader.start()
    done, samples = 0, []
    pace = threading.Event()
    while any(p.poll() is None for p in processes):
        if done < reloads:
            done += 1
            write(done)
            running.signal(signal.SIGHUP)
            running.wait_event("reloaded", count=done)
            samples.append((running.rss_bytes(), sum(running.descriptors().values()),
                            len(os.listdir(f"/proc/{running.pid}/task"))))
        pace.wait(seconds / reloads / 2 if done < reloads else 0.2)  # a rate of reloads, not a wait for anything
    for reader in readers:
        reader.join()
    for load, process, output in zip(loads, processes, outputs):
        assert process.returncode == 0, output
        assert "Non-2xx" not in output
        errors = SOCKET_ERRORS.search(output)
        assert errors is None, f"{load}: {errors.group(0)}\n{output}"
    assert "error" not in json.loads(outputs[2])
    assert done == reloads
    closes = balancer.status()["closes"]  # wrk ends its last connections by resets
    assert not {"killed", "drain", "connect_failed", "backend_down"} & set(closes), closes
    with capsys.disabled():
        print(f"\n  {done} reloads, {sum(closes.values())} connections; memory {samples[0][0] >> 10} to {samples[-1][0] >> 10} KiB, "
              f"threads {samples[0][2]} to {samples[-1][2]}")
    assert samples[0][2] == samples[-1][2]
    wait_until(lambda: running.descriptors().get("socket", 0) <= 40, what="descriptors to be given back")
    if not sanitized:  # memory of the second half, when everything has been there once
        middle = samples[len(samples) // 2][0]
        assert samples[-1][0] < middle * 1.1 + (2 << 20), [rss >> 10 for rss, _, _ in samples]
