"""The control socket and the commands that use it."""

import contextlib
import grp
import json
import os
import re
import socket
import stat
import subprocess
import threading

import pytest

from harness.backends import echo, greeter, sink
from harness.config import backend_entry
from harness.servers import Nginx, program
from harness.sockets import FIN, RST, connect, converse, exchange, pattern, receive_all
from harness.waiting import DEADLINE, wait_until


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "control.sock")


@pytest.fixture
def operated(balancer, path):
    """A balancer with a control socket."""
    return lambda backends, **tables: balancer(backends, admin={"socket": path}, **tables)


@pytest.fixture
def operate(command, path):
    """Runs a command on the balancer, which must succeed: its output, or what its JSON says."""

    def run(*arguments, as_json=False):
        done = command(*arguments, "--socket", path, *(["--json"] if as_json else []))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if as_json else done.stdout

    return run


@pytest.fixture
def status(operate):
    return lambda: operate("status", as_json=True)


def open_control(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(DEADLINE)
    sock.connect(path)
    return sock


def ask_control(sock, request):
    with contextlib.suppress(BrokenPipeError):  # it may have answered, and closed, before it was asked
        sock.sendall(request + b"\n")
    answer = b""
    while not answer.endswith(b"\n"):
        part = sock.recv(1 << 16)
        assert part, f"closed after {answer!r}"
        answer += part
    return json.loads(answer)


STATUS = b'{"version":1,"command":"status"}'


def backends_of(status, pool="web"):
    (found,) = [entry for entry in status["pools"] if entry["name"] == pool]
    return {entry["name"]: entry for entry in found["backends"]}


# What it counts.


@pytest.mark.parametrize("workers", [1, 2])
def test_totals_are_what_clients_counted(operated, backend, status, forwarding, workers):
    servers = [backend(echo, name=name) for name in "ab"]
    running = operated(servers, runtime={"workers": workers}, listener={"forwarding": forwarding})
    sizes = [1, 100, 4096, 70_000, 300_000] * 4
    for seed, size in enumerate(sizes):
        converse(running.address, pattern(size, seed))
    wait_until(lambda: status()["listeners"][0]["active"] == 0, what="the end of all connections")
    seen = status()
    (listener,) = seen["listeners"]
    total = {"in": sum(sizes), "out": sum(sizes)}
    assert listener["connections"] == len(sizes)
    assert listener["bytes"] == total
    assert listener["refused"] == {}
    of_backends = backends_of(seen).values()
    assert sum(entry["connections"] for entry in of_backends) == len(sizes)
    assert {way: sum(entry["bytes"][way] for entry in of_backends) for way in total} == total
    assert sum(entry["connect_times"]["count"] for entry in of_backends) == len(sizes)
    assert sum(sum(entry["connect_times"]["classes"]) for entry in of_backends) == len(sizes)
    assert {len(entry["connect_times"]["classes"]) for entry in of_backends} == {len(seen["connect_bounds_ms"]) + 1}
    assert {entry["active"] for entry in of_backends} == {0}
    assert sum(worker["connections"] for worker in seen["workers"]) == len(sizes)
    assert sum(seen["closes"].values()) == len(sizes)


def test_bytes_are_counted_while_a_connection_lives(operated, backend, status):
    running = operated([backend(echo, name="a")])
    with connect(running.address) as sock:
        assert exchange(sock, b"12345")
        seen = status()
    assert seen["listeners"][0]["bytes"] == {"in": 5, "out": 5}
    assert seen["listeners"][0]["active"] == 1
    assert backends_of(seen)["a"]["active"] == 1


def test_refused_and_failed_connections_are_counted_by_reason(operated, backend, status):
    server = backend(echo, name="gone")
    server.stop_listening()
    running = operated([server], pool={"retries": 0}, passive={"failures": 0})
    for _ in range(3):
        with contextlib.suppress(ConnectionResetError), connect(running.address) as sock:
            receive_all(sock)
    wait_until(lambda: status()["listeners"][0]["active"] == 0)
    seen = status()
    assert seen["listeners"][0]["refused"] == {"connect_failed": 3}
    assert backends_of(seen)["gone"]["connect_failures"] == {"refused": 3}
    assert backends_of(seen)["gone"]["connections"] == 0


def test_datagrams_are_counted(balancer, udp_backend, client, status, path):
    from harness.datagrams import echo as echo_datagrams
    running = balancer([udp_backend(echo_datagrams, name="a")], listener={"protocol": "udp"}, admin={"socket": path})
    socks = [client(running.address) for _ in range(5)]
    for sock in socks:
        sock.send(b"1234")
        assert sock.recv(100) == b"1234"
    seen = status()
    assert seen["listeners"][0]["connections"] == 5
    assert seen["listeners"][0]["active"] == 5
    assert seen["listeners"][0]["bytes"] == {"in": 20, "out": 20}
    assert backends_of(seen)["a"]["bytes"] == {"in": 20, "out": 20}


def test_status_for_people(operated, backend, operate):
    running = operated([backend(echo, name="first-one")])
    host, port = running.address
    text = operate("status")
    assert re.search(rf"^web +tcp {host}:{port} +web +0 +0 +0 +0 B +0 B$", text, re.M), text
    assert re.search(r"^first-one +\S+ +up +1 +0 +0 +0 +0 B +0 B +- +-$", text, re.M), text
    assert "\x1b" not in text


# Changing backends.


class Load:
    """Connections one after another, from several threads, each with an exchange; what goes wrong is kept."""

    def __init__(self, address, threads=4):
        self.count = 0
        self.failures = []
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                with connect(self._address) as sock:
                    sock.sendall(b"?")
                    sock.shutdown(socket.SHUT_WR)
                    data, end = receive_all(sock)
                    if not data.endswith(b"?") or end != FIN:
                        self.failures.append((data, end))
            except OSError as error:
                self.failures.append(error)
            self.count += 1

    def more(self, count=40):
        """Waits for as many more."""
        target = self.count + count
        wait_until(lambda: self.count >= target or self.failures, what=f"{target} connections")

    def close(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)
        assert not self.failures, self.failures[:5]


@pytest.mark.parametrize("action", [["drain"], ["disable"], ["weight", "0"]])
@pytest.mark.parametrize("balance", ["least_conn", "round_robin", "random_two", "source_hash", "first"])
def test_a_backend_is_taken_out_and_back_under_load(operated, backend, operate, closing, action, balance):
    servers = {name: backend(greeter, name=name) for name in "ab"}
    running = operated(list(servers.values()), pool={"balance": balance})
    load = closing(Load(running.address))
    load.more()
    victim = max(servers.values(), key=lambda server: server.accepted)  # of a hash and of `first` the one that has all
    operate("backend", f"web/{victim.name}", *action)
    load.more()  # those that were on their way
    before = victim.accepted
    load.more()
    assert victim.accepted == before
    operate("backend", f"web/{victim.name}", *(["weight", "1"] if action[0] == "weight" else ["enable"]))
    wait_until(lambda: victim.accepted > before, what="new connections of the backend that is back")


@pytest.mark.parametrize("action", ["drain", "disable"])
def test_connections_of_a_backend_that_is_taken_out_live_on(operated, backend, operate, status, action):
    running = operated([backend(echo, name="a")])
    with connect(running.address) as sock:
        assert exchange(sock)
        operate("backend", "web/a", action)
        assert exchange(sock)
        seen = backends_of(status())["a"]
        assert seen["state"] == {"drain": "draining", "disable": "disabled"}[action]
        assert seen["active"] == 1
        with contextlib.suppress(ConnectionResetError), connect(running.address) as late:  # no fail_open for these
            assert receive_all(late)[0] == b""


def test_weights_shift_the_load(operated, backend, operate):
    servers = {name: backend(greeter, name=name) for name in "ab"}
    running = operated(list(servers.values()), pool={"balance": "round_robin"}, runtime={"workers": 1})
    assert "weight 3" in operate("backend", "web/a", "weight", "3")
    for _ in range(40):
        with connect(running.address) as sock:
            assert sock.recv(100)
    assert {name: server.accepted for name, server in servers.items()} == {"a": 30, "b": 10}


def test_drain_waits_for_the_last_connection(operated, backend, path, operate, status):
    from conftest import BINARY
    running = operated([backend(echo, name=name) for name in "ab"])
    socks = [connect(running.address) for _ in range(6)]
    assert all(exchange(sock) for sock in socks)
    with subprocess.Popen([BINARY, "backend", "web/a", "drain", "--wait", "--socket", path], stdout=subprocess.PIPE,
                          text=True) as waiting:
        assert waiting.stdout.readline().startswith("web/a: draining, weight 1, 3 active")
        for sock in socks:
            sock.close()
        assert waiting.stdout.read().endswith("web/a: drained\n")
        assert waiting.wait(DEADLINE) == 0
    assert backends_of(status())["a"]["state"] == "draining"


def test_drain_over_a_time_ends_what_is_left(operated, backend, operate, status):
    running = operated([backend(echo, name=name) for name in "ab"])
    socks = [connect(running.address) for _ in range(20)]
    assert all(exchange(sock) for sock in socks)
    said = operate("backend", "web/a", "drain", "--over", "1s")
    assert said.startswith("web/a: ends 10 connections over 1.0s\n")
    assert said.endswith("web/a: drained\n")
    assert status()["closes"] == {"killed": 10}
    assert sum(is_open(sock) for sock in socks) == 10
    for sock in socks:
        sock.close()


def is_open(sock):
    try:
        return exchange(sock)
    except (ConnectionResetError, BrokenPipeError, AssertionError):
        return False


def test_sessions_leave_a_drained_backend(balancer, udp_backend, client, operate, path):
    from harness.datagrams import name_and_echo
    running = balancer([udp_backend(name_and_echo, name=name) for name in "ab"], listener={"protocol": "udp"},
                       admin={"socket": path})
    sock = client(running.address)
    sock.send(b"?")
    first = sock.recv(100).decode().split()[0]
    operate("backend", f"web/{first}", "drain")
    sock.send(b"?")
    assert {first, sock.recv(100).decode().split()[0]} == {"a", "b"}

# Draining under load, by other people's programs.


def drain_lines(output):
    """How many connections it said are left, in order."""
    return [int(number) for number in re.findall(r"draining, weight \d+, (\d+) active", output)]


def test_drain_under_load(operated, operate, status, path, closing, tmp_path, binary):
    """wrk with and without keep-alive, and a download in the middle: no new connection, the old ones finish."""
    nginx = [closing(Nginx(tmp_path, name)) for name in "ab"]
    running = operated(nginx)
    url = f"http://{running.address[0]}:{running.address[1]}"
    slow = connect(running.address)  # it is read when everything else is over
    slow.sendall(b"GET /1m HTTP/1.0\r\n\r\n")
    wait_until(lambda: sum(entry["bytes"]["out"] for entry in backends_of(status()).values()), what="the download")
    held = [connect(running.address) for _ in range(8)]
    for sock in held:  # keep-alive connections that rest
        sock.sendall(b"GET /100 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096)
    loads = [subprocess.Popen([program("wrk"), "-t1", f"-c{count}", "-d3s", "--timeout", "10s", *headers, f"{url}/10k"],
                              stdout=subprocess.PIPE, text=True)
             for count, headers in [(10, []), (10, ["-H", "Connection: close"])]]
    wait_until(lambda: all(entry["connections"] > 50 for entry in backends_of(status()).values()), what="load on both")
    mine = "127.0.0.1:%d" % slow.getsockname()[1]
    (slow_backend,) = [entry["backend"] for entry in operate("connections", as_json=True) if entry["client"] == mine]
    draining = subprocess.Popen([str(binary), "backend", f"web/{slow_backend}", "drain", "--wait", "--socket", path],
                                stdout=subprocess.PIPE, text=True)
    wait_until(lambda: backends_of(status())[slow_backend]["state"] == "draining", what="the drain to begin")
    wait_until(lambda: all(entry["stage"] != "connecting" for entry in operate(
        "connections", "--backend", f"web/{slow_backend}", as_json=True)), what="connects that had begun")
    before = backends_of(status())
    outputs = [load.communicate()[0] for load in loads]
    assert [load.returncode for load in loads] == [0, 0]
    assert not any("Socket errors" in output or "Non-2xx" in output for output in outputs), outputs
    after = backends_of(status())
    other = "b" if slow_backend == "a" else "a"
    assert after[slow_backend]["connections"] == before[slow_backend]["connections"]
    assert after[other]["connections"] > before[other]["connections"] + 50
    wait_until(lambda: 1 < backends_of(status())[slow_backend]["active"] <= 9, what="the end of the load")
    assert draining.poll() is None  # it waits for the resting ones, and for the download
    for sock in held:
        sock.close()
    wait_until(lambda: backends_of(status())[slow_backend]["active"] == 1, what="the end of the resting ones")
    assert draining.poll() is None
    assert receive_all(slow)[0].endswith(slow_backend.encode() * 1_000_000)
    slow.close()
    said, _ = draining.communicate(timeout=DEADLINE)
    assert draining.returncode == 0
    assert said.rstrip().endswith("drained")
    left = drain_lines(said)
    assert left == sorted(left, reverse=True) and left[0] >= 2, said
    assert not {"killed", "drain", "backend_reset"} & set(status()["closes"])


def test_drain_over_a_time_under_load_is_steady(operated, status, path, closing, tmp_path, binary):
    servers = [closing(Nginx(tmp_path, name)) for name in "ab"]
    running = operated(servers)
    held = [connect(running.address) for _ in range(80)]
    for sock in held:  # keep-alive connections that rest
        sock.sendall(b"GET /100 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(4096)
    load = subprocess.Popen([program("wrk"), "-t1", "-c4", "-d4s", "-H", "Connection: close",
                             f"http://{running.address[0]}:{running.address[1]}/100"], stdout=subprocess.PIPE, text=True)
    draining = subprocess.Popen([str(binary), "backend", "web/a", "drain", "--over", "2s", "--socket", path],
                                stdout=subprocess.PIPE, text=True)
    ended = []  # (of the process's life, how many so far)
    over = False
    while not over:
        over = draining.poll() is not None  # then one more look, at the end
        now = status()
        ended.append((now["uptime_seconds"], now["closes"].get("killed", 0)))
    assert draining.returncode == 0, draining.communicate()[0]
    begun = next(time for time, count in ended if count >= 1)
    done = next(time for time, count in ended if count >= 40)
    halfway = max(count for time, count in ended if time <= (begun + done) / 2)
    assert 10 <= halfway <= 30  # neither all at the beginning nor all at the end
    assert "Socket errors" not in load.communicate()[0]
    assert backends_of(status())["a"]["active"] == 0
    for sock in held:
        sock.close()


# Connections.


def test_connections_are_listed_and_filtered(operated, backend, operate):
    running = operated([backend(echo, name=name) for name in "ab"], more_listeners={"other": {}})
    socks = [connect(running.address) for _ in range(4)] + [connect(running.addresses("other")[0])]
    assert all(exchange(sock) for sock in socks)
    every = operate("connections", as_json=True)
    assert {entry["client"] for entry in every} == {"127.0.0.1:%d" % sock.getsockname()[1] for sock in socks}
    assert {(entry["in"], entry["out"], entry["stage"], entry["pool"]) for entry in every} == {(4, 4, "relaying", "web")}
    assert len(operate("connections", "--listener", "web", as_json=True)) == 4
    assert len(operate("connections", "--pool", "web", as_json=True)) == 5
    of_a = operate("connections", "--backend", "web/a", as_json=True)
    of_b = operate("connections", "--pool", "web", "--backend", "b", as_json=True)
    assert {entry["id"] for entry in of_a + of_b} == {entry["id"] for entry in every}
    assert {entry["backend"] for entry in of_a} == {"a"}
    assert len(operate("connections").splitlines()) == 6
    for sock in socks:
        sock.close()


def test_a_long_list_comes_in_pages(operated, backend, path):
    running = operated([backend(echo, name="a")])
    socks = [connect(running.address) for _ in range(300)]
    assert all(exchange(sock) for sock in socks)
    seen, after = [], ""
    with open_control(path) as control:
        while True:
            page = ask_control(control, json.dumps({"version": 1, "command": "connections", "limit": 20, "after": after}).encode())
            seen += [entry["client"] for entry in page["result"]["connections"]]
            after = page["result"]["next"]
            if not after:
                break
    assert sorted(seen) == sorted("127.0.0.1:%d" % sock.getsockname()[1] for sock in socks)
    for sock in socks:
        sock.close()


def test_kill_resets_that_connection_only(operated, backend, operate, status, command, path):
    server = backend(echo, name="a")
    running = operated([server])
    socks = [connect(running.address) for _ in range(5)]
    assert all(exchange(sock) for sock in socks)
    victim = socks.pop(2)
    client = "127.0.0.1:%d" % victim.getsockname()[1]
    (id_,) = [entry["id"] for entry in operate("connections", as_json=True) if entry["client"] == client]
    assert operate("connections", "kill", id_) == f"{id_}: killed\n"
    assert receive_all(victim) == (b"", RST)
    assert server.result() == RST
    assert all(exchange(sock) for sock in socks)
    assert status()["closes"] == {"killed": 1}
    again = command("connections", "kill", id_, "--socket", path)
    assert (again.returncode, again.stderr) == (1, f"millrace: error: connection {id_} is not there, or not any more\n")
    victim.close()
    for sock in socks:
        sock.close()


# Why.


@pytest.mark.parametrize("drained", [False, True])
def test_why_says_where_a_client_goes(operated, backend, operate, drained):
    running = operated([backend(greeter, name=name) for name in "abcd"], pool={"balance": "source_hash"})
    if drained:
        (home,) = [why["backend"] for why in operate("why", "127.0.0.3", as_json=True)]
        operate("backend", f"web/{home}", "drain")
    for last in range(2, 12):
        source = f"127.0.0.{last}"
        (why,) = operate("why", source, as_json=True)
        with connect(running.address, source=source) as sock:
            assert sock.recv(100).decode().split()[2] == why["backend"], why
        assert why["certain"]


# Who may, and who only disturbs.


def test_socket_is_there_while_it_runs(operated, backend, path):
    running = operated([backend(echo)])
    found = os.stat(path)
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660
    running.close()
    assert not os.path.exists(path)


def test_stale_socket_is_replaced(operated, backend, path, status):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(path)
    operated([backend(echo)])
    assert status()["pid"]


def test_live_socket_is_left_alone(operated, backend, path, status):
    first = operated([backend(echo)])
    second = operated([backend(echo)])
    assert "another process listens on" in second.wait_event("control_off")["reason"]
    second.close()
    assert status()["pid"] == first.pid


def test_file_in_the_way_is_left_alone(operated, backend, path):
    with open(path, "w", encoding="ascii") as file:
        file.write("precious")
    running = operated([backend(echo)])
    assert "is no socket" in running.wait_event("control_off")["reason"]
    running.close()
    with open(path, encoding="ascii") as file:
        assert file.read() == "precious"


def test_missing_folder_is_a_warning(balancer, backend, tmp_path):
    running = balancer([backend(echo)], admin={"socket": str(tmp_path / "no" / "control.sock")})
    assert f"the folder {tmp_path}/no does not exist" in running.wait_event("control_off")["reason"]
    with connect(running.address) as sock:
        assert exchange(sock)


def test_nobody_there(command, path):
    done = command("status", "--socket", path)
    assert done.returncode == 1
    assert done.stderr == (f"millrace: error: cannot connect to {path}: No such file or directory; no balancer runs there: "
                           "start one, or say which with --socket PATH\n")


@pytest.mark.parametrize("arguments, status, message", [
    (["backend", "web", "drain"], 2, "web: write POOL/NAME"),
    (["backend", "web/a", "explode"], 2, "explode"),
    (["backend", "web/a", "weight", "1001"], 2, "from 0 to 1000"),
    (["backend", "web/a", "weight"], 2, "from 0 to 1000"),
    (["backend", "web/a", "enable", "--wait"], 2, "--wait goes with drain"),
    (["backend", "web/x", "drain"], 1, "pool web has no backend x; it has: a"),
    (["backend", "web/a", "enable", "--over", "5s"], 2, "--over goes with drain"),
    (["backend", "web/a", "drain", "--over", "5"], 2, "--over"),
    (["backend", "web/a", "drain", "--over", "-5s"], 2, "--over"),
    (["connections", "--listener", "x"], 1, "there is no listener x; there are: web"),
    (["why", "nonsense"], 1, "nonsense is no client"),
])
def test_errors_say_what_and_how(operated, backend, command, path, arguments, status, message):
    operated([backend(echo, name="a")])
    done = command(*arguments, "--socket", path)
    assert done.returncode == status
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_strangers_are_refused(operated, backend, path):
    """Even when the mode of the file was opened for them; the file's group may."""
    operated([backend(echo)])
    os.chmod(path, 0o666)
    for folder in (os.path.dirname(path), os.path.dirname(os.path.dirname(path)),
                   os.path.dirname(os.path.dirname(os.path.dirname(path)))):
        os.chmod(folder, os.stat(folder).st_mode | 0o011)

    def ask_as(uid, gid, groups):
        """What a process of that user gets."""
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)
                with open_control(path) as sock:
                    os.write(theirs, json.dumps(ask_control(sock, STATUS)).encode()[:200])
            os._exit(0)
        os.close(theirs)
        with os.fdopen(ours, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        return answer

    nogroup = grp.getgrnam("nogroup").gr_gid
    assert b'"code": "forbidden"' in ask_as(65534, nogroup, [])
    os.chown(path, 0, 4242)
    assert b'"code": "forbidden"' in ask_as(65534, nogroup, [4241])
    assert b'"ok": true' in ask_as(65534, nogroup, [4241, 4242]) or b'"result"' in ask_as(65534, nogroup, [4241, 4242])


GARBAGE = [b"\n", b"hello\n", b"\x00\xff\xfe\n", b"{}\n", b"[" * 16_000 + b"\n", b'{"version":1,"command":"status"' + b"\n",
           b'{"version":1,"command":"kill","id":"' + b"9" * 1000 + b'"}\n', b'{"version":1,"command":["status"]}\n']


def test_garbage_is_answered_and_survived(operated, backend, path, status):
    operated([backend(echo)])
    with open_control(path) as sock:
        for line in GARBAGE:
            answer = ask_control(sock, line[:-1])
            assert not answer["ok"]
            assert answer["error"]["message"]
        assert ask_control(sock, STATUS)["ok"]
    with open_control(path) as sock:
        sock.sendall(b"x" * 17_000)
        data, _ = receive_all(sock)
        assert json.loads(data)["error"]["code"] == "too_long"
    with open_control(path) as sock:
        sock.sendall(b"\n" * 16_000 + STATUS + b"\n")
        lines = b""
        while lines.count(b"\n") < 16_001:
            lines += sock.recv(1 << 20)
        assert json.loads(lines.splitlines()[-1])["ok"]
    assert status()["pid"]


def test_hostile_clients_disturb_nobody(operated, backend, path, status):
    """A hundred that say half a line, that say nothing, or ask and never read: the others are served meanwhile."""
    running = operated([backend(sink, name="a")])
    hostile = []
    asks = (STATUS + b"\n") * 500
    for number in range(102):
        sock = open_control(path)
        if number % 3 == 0:
            sock.sendall(STATUS[:10])
        elif number % 3 == 1:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                for _ in range(50):
                    sock.send(asks)
        hostile.append(sock)
        if number % 25 == 0:
            assert status()["pid"] == running.pid
    with connect(running.address) as sock:
        sock.sendall(b"x" * 1000)
    wait_until(lambda: status()["listeners"][0]["bytes"]["in"] == 1000, what="the bytes of an honest client")
    assert running.descriptors()["socket"] < 100
    for sock in hostile:
        sock.close()


def test_status_works_while_it_drains(operated, backend, status):
    running = operated([backend(echo, name="a")])
    with connect(running.address) as sock:
        assert exchange(sock)
        running.signal()
        running.wait_event("stopping")
        assert status()["listeners"][0]["active"] == 1
        assert exchange(sock)


def test_weight_needs_numbers_of_backends_that_are_there(operated, backend, operate, status):
    """Weights are kept with the backend, and the hash moves only what it must."""
    operated([backend(echo, name=name) for name in "abc"], pool={"balance": "source_hash"})
    clients = [f"10.0.{high}.{low}" for high in range(2) for low in range(20)]
    before = {client: operate("why", client, as_json=True)[0]["backend"] for client in clients[:20]}
    operate("backend", "web/a", "weight", "0")
    assert backends_of(status())["a"]["weight"] == 0
    after = {client: operate("why", client, as_json=True)[0]["backend"] for client in clients[:20]}
    assert all(after[client] == home for client, home in before.items() if home != "a")
    assert "a" not in after.values()


def test_entry_of_a_backend_has_its_address(operated, backend, status):
    server = backend(echo, name="a")
    operated([server])
    assert backends_of(status())["a"]["address"] == backend_entry(server)["address"]
