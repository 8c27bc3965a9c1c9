"""The access log: each line against what its client and its backend have seen; and that it never gets in the way."""

import contextlib
import datetime
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading

import pytest

from harness.backends import RefusedPort, collect_then_answer, echo, holder, resetter_of, source_of
from harness.config import make_config
from harness.datagrams import ask as ask_datagram
from harness.datagrams import echo as echo_datagram
from harness.datagrams import open_client
from harness.servers import Nginx, program
from harness.sockets import RST, address_text, connect, exchange, pattern, receive_all, reset
from harness.waiting import wait_until

KEYS = ["time", "id", "listener", "pool", "backend", "client", "local", "upstream", "attempts", "connect_ms",
        "first_byte_ms", "duration_ms", "bytes_in", "bytes_out", "close_reason", "path", "client_rtt_ms",
        "client_retransmits", "backend_rtt_ms", "backend_retransmits"]


class Log:
    """A file that lines come to."""

    def __init__(self, path):
        self.path = path

    def lines(self):
        with contextlib.suppress(FileNotFoundError):
            text = self.path.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return []

    def wait(self, count=1):
        """The first `count` lines, once there are so many; and never more."""
        wait_until(lambda: len(self.lines()) >= count, what=lambda: f"{count} lines: {self.lines()}")
        lines = self.lines()
        assert len(lines) == count, lines
        return lines

    def only(self):
        return self.wait(1)[0]


@pytest.fixture
def log(tmp_path):
    return Log(tmp_path / "access.log")


@pytest.fixture
def logging(balancer, log):
    """A balancer whose listener `web` has a log."""

    def start(backends, *, listener=None, **tables):
        return balancer(backends, listener={"access_log": str(log.path)} | (listener or {}), **tables)

    return start


def counted(running):
    """Ends the balancer; how many lines it says it has made and how many of them it has lost."""
    running.close()
    stopped = running.find_events("stopped")[0]
    return stopped["access_log_lines"], stopped["access_log_dropped"]


# ---- TCP ----


def test_a_line_says_what_happened(logging, backend, log):
    server = backend(echo, name="alpha")
    running = logging([server])
    before = datetime.datetime.now(datetime.timezone.utc)
    with connect(running.address) as client:
        here = client.getsockname()
        assert exchange(client, b"x" * 1000)
        assert exchange(client, b"y" * 500)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client)[0] == b""
    line = log.only()
    after = datetime.datetime.now(datetime.timezone.utc)
    assert list(line) == KEYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    ended = datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00"))
    millisecond = datetime.timedelta(milliseconds=2)
    assert before - millisecond <= ended <= after + millisecond
    assert re.fullmatch(r"\d+\.\d+\.\d+", line["id"])
    assert (line["listener"], line["pool"], line["backend"]) == ("web", "web", "alpha")
    assert line["client"] == address_text(here)
    assert line["local"] == address_text(running.address)
    assert line["upstream"] == server.text
    assert line["attempts"] == 1
    assert (line["bytes_in"], line["bytes_out"]) == (1500, 1500)
    assert (line["close_reason"], line["path"]) == ("client_fin", "copy")
    assert 0 <= line["connect_ms"] <= line["first_byte_ms"] <= line["duration_ms"]
    assert line["client_rtt_ms"] > 0 and line["backend_rtt_ms"] > 0
    assert (line["client_retransmits"], line["backend_retransmits"]) == (0, 0)


def test_bulk_bytes_and_the_way_they_took(logging, backend, forwarding, log):
    data = pattern(3_000_000, 1)
    running = logging([backend(source_of(data))], listener={"forwarding": forwarding})
    with connect(running.address) as client:
        assert receive_all(client)[0] == data
    line = log.only()
    assert (line["bytes_in"], line["bytes_out"]) == (0, len(data))
    assert line["path"] == ("copy" if forwarding == "copy" else "splice")
    assert line["close_reason"] == "backend_fin"


def test_half_close(logging, backend, log):
    running = logging([backend(collect_then_answer)])
    with connect(running.address) as client:
        client.sendall(b"question" * 10_000)
        client.shutdown(socket.SHUT_WR)
        answer = receive_all(client)[0]
    line = log.only()
    assert (line["bytes_in"], line["bytes_out"]) == (80_000, len(answer))
    assert line["close_reason"] == "client_fin"


def test_resets_name_who_did_it(logging, backend, log):
    running = logging([backend(resetter_of(b"half an answer"))])
    with connect(running.address) as client:
        client.sendall(b"?")
        assert receive_all(client)[1] == RST
    assert log.only()["close_reason"] == "backend_reset"
    server = backend(holder)
    log.path.unlink()
    second = logging([server])
    client = connect(second.address)
    client.sendall(b"hello")
    wait_until(lambda: server.open == 1, what="the connection to be there")
    reset(client)
    line = log.only()
    assert line["close_reason"] == "client_reset"
    assert line["client_rtt_ms"] > 0  # known although it has gone


def test_idle_timeout(logging, backend, log):
    running = logging([backend(holder)], listener={"idle_timeout": "100ms"})
    with connect(running.address) as client:
        client.sendall(b"and then nothing")
        receive_all(client)
    line = log.only()
    assert (line["close_reason"], line["bytes_in"], line["bytes_out"]) == ("idle_timeout", 16, 0)
    assert line["first_byte_ms"] is None


def test_what_is_open_at_the_end_is_logged_too(logging, backend, log):
    server = backend(echo)
    running = logging([server], runtime={"shutdown_timeout": "0s"})
    clients = [connect(running.address) for _ in range(20)]
    assert all(exchange(client) for client in clients)
    running.close()
    assert [line["close_reason"] for line in log.wait(20)] == ["drain"] * 20
    for client in clients:
        client.close()


def test_failed_connects(logging, closing, backend, log):
    ports = [closing(RefusedPort()) for _ in range(2)]
    running = logging(ports, pool={"balance": "first", "retries": 1})
    with connect(running.address) as client:
        receive_all(client)
    line = log.only()
    assert (line["attempts"], line["close_reason"], line["path"]) == (2, "connect_failed", None)
    assert line["upstream"] == ports[1].text == line["backend"]  # the last one tried
    assert line["connect_ms"] is None and line["backend_rtt_ms"] is None
    log.path.unlink()
    server = backend(echo, name="good")
    second = logging([ports[0], server], pool={"balance": "first"})
    with connect(second.address) as client:
        assert exchange(client)
    line = log.only()
    assert (line["attempts"], line["backend"], line["upstream"]) == (2, "good", server.text)


def test_refused_clients(logging, backend, log):
    server = backend(echo)
    running = logging([server], listener={"deny": ["127.0.0.2"], "max_connections_per_ip": 1})
    with connect(running.address, source="127.0.0.3") as first:
        assert exchange(first)
        for source in ("127.0.0.2", "127.0.0.3"):
            with contextlib.suppress(ConnectionResetError), connect(running.address, source=source) as client:
                receive_all(client)
        lines = log.wait(2)
        assert sorted(line["close_reason"] for line in lines) == ["denied", "source_limit"]
        for line in lines:
            assert line["client"].startswith("127.0.0.2:" if line["close_reason"] == "denied" else "127.0.0.3:")
            assert line["local"] == address_text(running.address)
            assert line["backend"] is line["upstream"] is line["id"] is line["path"] is None
            assert line["attempts"] == line["bytes_in"] == line["bytes_out"] == 0
    log.wait(3)


def test_no_backend(logging, backend, log):
    server = backend(echo)
    running = logging([{"address": server.text, "weight": 0}], pool={"fail_open": False})
    with contextlib.suppress(ConnectionResetError), connect(running.address) as client:
        receive_all(client)
    line = log.only()
    assert (line["close_reason"], line["backend"], line["upstream"], line["attempts"]) == ("no_backend", None, None, 0)


def test_killed_and_the_id_that_the_commands_know(logging, backend, log, command, tmp_path):
    control = tmp_path / "control.sock"
    running = logging([backend(echo)], admin={"socket": str(control)})
    with connect(running.address) as client:
        assert exchange(client)
        shown = json.loads(command("connections", "--json", "--socket", control).stdout)
        identity = json.dumps(shown)
        killed = re.search(r'"id": ?"(\d+\.\d+\.\d+)"', identity)[1]
        assert command("connections", "kill", killed, "--socket", control).returncode == 0
        receive_all(client)
    line = log.only()
    assert (line["id"], line["close_reason"]) == (killed, "killed")


def test_unix_sockets_and_text(logging, backend, log, tmp_path):
    server = backend(echo, address=str(tmp_path / "backend.sock"), name="two words")
    running = logging([server], listener={"bind": f"unix:{tmp_path}/front.sock", "access_log_format": "text"})
    with connect(str(tmp_path / "front.sock")) as client:
        assert exchange(client, b"12345")
    wait_until(lambda: log.path.exists() and log.path.read_text().endswith("\n"), what="a line")
    line = log.path.read_text()
    assert line.startswith("time=20") and line.count("\n") == 1
    assert ' listener=web pool=web backend="two words" ' in line
    assert f" local=unix:{tmp_path}/front.sock upstream=unix:{tmp_path}/backend.sock attempts=1 " in line
    assert " bytes_in=5 bytes_out=5 " in line
    assert " client_rtt_ms=- client_retransmits=- backend_rtt_ms=- backend_retransmits=-\n" in line


def test_stderr_and_a_listener_without(balancer, backend):
    running = balancer([backend(echo)], listener={"access_log": "stderr"}, more_listeners={"quiet": {}})
    running.is_expected_line = lambda line: '"close_reason"' in line
    for listener in ("quiet", "web"):
        with connect(running.addresses(listener)[0]) as client:
            assert exchange(client)

    def logged():
        return [line for line in running.lines if running.is_expected_line(line)]

    wait_until(logged, what="a line on stderr")
    assert counted(running) == (1, 0)
    assert [json.loads(line)["listener"] for line in logged()] == ["web"]


# ---- UDP ----


def test_udp_sessions(logging, udp_backend, log):
    server = udp_backend(echo_datagram, name="u")
    running = logging([server], listener={"protocol": "udp", "idle_timeout": "300ms"})
    with open_client(running.address) as client:
        here = client.getsockname()
        for data in (b"a" * 100, b"", b"c" * 11):
            assert ask_datagram(client, data) == data
    line = log.only()
    assert line["id"].startswith("u")
    assert (line["listener"], line["backend"], line["upstream"]) == ("web", "u", server.text)
    assert (line["client"], line["local"]) == (address_text(here), address_text(running.address))
    assert (line["bytes_in"], line["bytes_out"], line["attempts"]) == (111, 111, 1)
    assert (line["close_reason"], line["path"], line["connect_ms"], line["client_rtt_ms"]) == ("idle_timeout",) + (None,) * 3
    assert 0 <= line["first_byte_ms"] <= line["duration_ms"]


def test_udp_responses_on_every_address(logging, udp_backend, log):
    running = logging([udp_backend(echo_datagram)], listener={"protocol": "udp", "bind": "*:0", "responses": 1})
    port = running.addresses()[0][1]
    with open_client(("127.0.0.9", port)) as client:
        assert ask_datagram(client, b"question") == b"question"
    line = log.only()
    assert line["close_reason"] == "responses"
    assert line["local"] == f"127.0.0.9:{port}"  # the one that the client has sent to
    assert (line["bytes_in"], line["bytes_out"]) == (8, 8)


# ---- files ----


def test_the_file_is_not_for_everybody_and_listeners_share_it(logging, backend, log):
    running = logging([backend(echo)], more_listeners={"other": {"access_log": str(log.path)}})
    for listener in ("web", "other"):
        with connect(running.addresses(listener)[0]) as client:
            assert exchange(client)
    assert sorted(line["listener"] for line in log.wait(2)) == ["other", "web"]
    assert stat.S_IMODE(log.path.stat().st_mode) & ~0o640 == 0
    files = [os.readlink(f"/proc/{running.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{running.pid}/fd")]
    assert files.count(str(log.path)) == 1


def test_a_file_that_cannot_be_opened_is_said_at_the_start(millrace, backend, tmp_path):
    running = millrace(make_config([backend(echo)], listener={"access_log": f"{tmp_path}/no/such.log"}), wait=False)
    running.expect_status = 1
    running.expected_errors = {"start_failed"}
    reason = running.wait_event("start_failed")["reason"]
    assert reason == (f"listener web: cannot open the access log {tmp_path}/no/such.log: No such file or directory; "
                      "make its folder")


class Knocking:
    """Connections, one after the other, until it is closed; `count` of them were served."""

    def __init__(self, address):
        self.count = 0
        self._address = address
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            with connect(self._address) as client:
                assert exchange(client)
                self.count += 1

    def close(self):
        self._stop.set()
        self._thread.join()


def test_rotation_under_load_loses_no_line(logging, backend, log):
    running = logging([backend(echo)])
    knocking = [Knocking(running.address) for _ in range(4)]
    old = [log.path.with_suffix(f".{i}") for i in range(10)]
    for i, path in enumerate(old):
        wait_until(lambda: log.lines(), what="lines in the new file")
        log.path.rename(path)
        running.signal(signal.SIGUSR1)
        running.wait_event("access_logs_reopened", count=i + 1)
        wait_until(log.path.exists, what="a new file")
    for each in knocking:
        each.close()
    lines, dropped = counted(running)
    assert dropped == 0
    assert lines == sum(each.count for each in knocking)
    files = [Log(path).lines() for path in [*old, log.path]]
    assert all(files[:-1])
    assert sum(len(file) for file in files) == lines
    identities = [(line["id"], line["client"], line["time"]) for file in files for line in file]
    assert len(set(identities)) == lines


def test_a_file_that_cannot_be_reopened(logging, backend, log):
    running = logging([backend(echo)])
    log.path.rename(log.path.with_suffix(".old"))
    log.path.mkdir()
    running.expected_errors = {"access_log_not_reopened"}
    running.signal(signal.SIGUSR1)
    assert "Is a directory" in running.wait_event("access_log_not_reopened")["reason"]
    with connect(running.address) as client:
        assert exchange(client)
    Log(log.path.with_suffix(".old")).only()  # it goes on with the one that it has


def test_a_full_device_stalls_nobody(balancer, backend):
    running = balancer([backend(echo)], listener={"access_log": "/dev/full"})
    running.expected_errors = {"access_log_failed"}
    for _ in range(300):
        with connect(running.address) as client:
            assert exchange(client)
    failed = running.wait_event("access_log_failed")
    assert (failed["path"], failed["reason"]) == ("/dev/full", "No space left on device")
    assert counted(running) == (300, 300)
    assert len(running.find_events("access_log_failed")) <= 2  # one when it begins, one at the end


def test_a_fifo_that_nobody_reads_stalls_nobody(balancer, backend, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = balancer([backend(echo)], listener={"access_log": str(fifo)})
    for _ in range(400):  # more than a pipe holds
        with connect(running.address) as client:
            assert exchange(client)
    lines, dropped = counted(running)
    assert lines == 400
    assert 0 < dropped < 400
    assert running.find_events("access_log_dropped")


def test_a_slow_reader_gets_every_line_whole(balancer, backend, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = balancer([backend(echo)], listener={"access_log": str(fifo)})
    for _ in range(400):
        with connect(running.address) as client:
            assert exchange(client)
    text = []
    with open(fifo, encoding="utf-8") as reader:
        thread = threading.Thread(target=lambda: text.append(reader.read()), daemon=True)
        thread.start()
        assert counted(running) == (400, 0)
        thread.join()
    assert len([json.loads(line) for line in text[0].splitlines()]) == 400


# ---- programs ----


def test_wrk_and_curl_through_nginx(logging, closing, tmp_path, log):
    """The totals of the log are those of the servers and of the balancer."""
    servers = [closing(Nginx(tmp_path, name, access_log=True)) for name in ("alpha", "beta")]
    running = logging(servers)
    url = f"http://{address_text(running.address)}/name"
    assert subprocess.run([program("curl"), "-sf", url], capture_output=True, check=True).stdout in (b"alpha\n", b"beta\n")
    subprocess.run([program("wrk"), "-t1", "-c20", "-d1s", "-H", "Connection: close", url], capture_output=True, check=True)
    lines, dropped = counted(running)
    assert dropped == 0
    stopped = running.find_events("stopped")[0]
    logged = log.lines()
    assert len(logged) == lines == stopped["accepted"]
    answered = [line for line in logged if line["bytes_out"]]
    for server in servers:
        server.close()
        mine = sum(1 for line in answered if line["backend"] == server.name)
        # A request that wrk has given up at its end may or may not be in the log of the server.
        assert abs(server.requests() - mine) <= 20
    assert len(answered) > 100


def test_reload_changes_the_files(millrace, backend, tmp_path):
    """What ends after a reload is in the new file; a file that cannot be opened changes nothing."""
    server = backend(echo, name="alpha")
    first, second = Log(tmp_path / "first.log"), Log(tmp_path / "second.log")

    def text(path):
        return make_config([server], listener={"access_log": str(path)})

    running = millrace(text(first.path))
    file = tmp_path / "millrace-0.toml"
    assert file.exists()
    with connect(running.address) as client:
        assert exchange(client)
    first.only()
    with connect(running.address) as client:
        assert exchange(client)
        file.write_text(text(second.path), encoding="utf-8")
        running.signal(signal.SIGHUP)
        running.wait_event("reloaded")
        assert exchange(client)
    line = second.only()
    assert (line["backend"], line["bytes_in"]) == ("alpha", 8)
    running.expected_errors = {"reload_failed"}
    file.write_text(text(tmp_path / "no" / "such.log"), encoding="utf-8")
    running.signal(signal.SIGHUP)
    assert "make its folder" in running.wait_event("reload_failed")["reason"]
    with connect(running.address) as client:
        assert exchange(client)
    second.wait(2)
    first.only()
