"""Real servers: nginx, iperf3, redis, dnsmasq. Each on a port that was free a moment ago, tried again when somebody took it."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest

from .millrace import state_of
from .sockets import connect, free_port
from .waiting import wait_until

FILE_SIZES = {"100": 100, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}


def program(name):
    """The path of a program; the test is skipped when the system does not have it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"{name} is not installed (tools/install-deps test)")
    return path


def answers(address):
    with contextlib.suppress(OSError), connect(address, timeout=1):
        return True
    return False


class Server:
    """A process and the port it listens on. `command(port)` says how to start it."""

    def __init__(self, command, log, attempts=5):
        self.name = ""
        self._command = command
        self._log = pathlib.Path(log)
        for _ in range(attempts):
            self.address = ("127.0.0.1", free_port())
            if self._start():
                return
        raise AssertionError(f"does not start: {command(0)}\n{self._log.read_text(errors='replace')[-2000:]}")

    def _start(self):
        with open(self._log, "ab") as log:
            # A session of its own, so that a kill reaches its workers too.
            self.process = subprocess.Popen(
                self._command(self.address[1]), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        wait_until(lambda: self.process.poll() is not None or answers(self.address), what=f"{self.process.args[0]}")
        return self.process.poll() is None

    @property
    def text(self):
        return f"{self.address[0]}:{self.address[1]}"

    def kill(self, number=signal.SIGKILL):
        """Ends the process and its children at once; connects are refused afterwards."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        self.process.wait()
        wait_until(lambda: not answers(self.address), what=f"{self.text} to be gone")

    def start_again(self):
        """On the same port."""
        assert wait_until(self._start, what=f"{self.text} to come back")

    def close(self):
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


# One process, so that a kill ends listening and serving in one go, as nearly as the kernel does that.
NGINX = """
daemon off; master_process off; {user}
pid {prefix}/nginx.pid; error_log {prefix}/error.log warn;
events {{ worker_connections 8192; }}
http {{
  access_log {prefix}/access.log combined;
  client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy; fastcgi_temp_path {prefix}/fastcgi;
  uwsgi_temp_path {prefix}/uwsgi; scgi_temp_path {prefix}/scgi;
  keepalive_requests 1000000000; keepalive_timeout 300s; sendfile on; tcp_nopush on; reset_timedout_connection off;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /name {{ access_log {access}; return 200 "{name}\\n"; }}
    location / {{ root {prefix}/files; }}
  }}
}}
"""


class Nginx(Server):
    """nginx with one server that tells its name at /name, and has files of several sizes (see FILE_SIZES)."""

    def __init__(self, folder, name, access_log=False):
        self.prefix = pathlib.Path(folder, f"nginx-{name}")
        files = self.prefix / "files"
        files.mkdir(parents=True)
        for file_name, size in FILE_SIZES.items():
            (files / file_name).write_bytes(name[:1].encode() * size)
        access = f"{self.prefix}/access.log" if access_log else "off"
        binary = program("nginx")

        def command(port):
            text = NGINX.format(prefix=self.prefix, port=port, name=name, access=access,
                                user="user root;" if os.getuid() == 0 else "")
            (self.prefix / "nginx.conf").write_text(text, encoding="ascii")
            return [binary, "-p", str(self.prefix), "-c", str(self.prefix / "nginx.conf"), "-e",
                    str(self.prefix / "error.log")]

        super().__init__(command, self.prefix / "output.log")
        self.name = name

    def requests(self):
        """Requests for /name so far, from the access log."""
        with open(self.prefix / "access.log", "rb") as log:
            return sum(1 for _ in log)

    def connections(self):
        """Established connections to it now."""
        return established_to(self.address[1])


def established_to(port):
    """Established connections whose local port is `port`. The kernel's list is not a snapshot: the highest of three."""
    arguments = [program("ss"), "-H", "-t", "-n", "state", "established", "sport", "=", f":{port}"]
    outputs = [subprocess.run(arguments, capture_output=True, text=True, check=True).stdout for _ in range(3)]
    return max(output.count("\n") for output in outputs)


class Iperf3(Server):
    def __init__(self, folder):
        binary = program("iperf3")
        super().__init__(lambda port: [binary, "-s", "-p", str(port), "-B", "127.0.0.1"], f"{folder}/iperf3.log")


class Redis(Server):
    def __init__(self, folder):
        binary = program("redis-server")
        super().__init__(
            lambda port: [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                          "--dir", str(folder)], f"{folder}/redis.log")


class Dnsmasq(Server):
    """A DNS server that answers every name below example.test with one address, and "name.test" with its own name."""

    ADDRESS = "192.0.2.53"

    def __init__(self, folder, name):
        binary = program("dnsmasq")
        super().__init__(
            lambda port: [binary, "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file", "--user=", "--no-resolv",
                          "--no-hosts", "--log-facility=-", "--listen-address=127.0.0.1", "--bind-interfaces",
                          f"--port={port}", f"--address=/example.test/{self.ADDRESS}", f"--txt-record=name.test,{name}"],
            f"{folder}/dnsmasq-{name}.log")
        self.name = name

    def answered(self):
        """Queries that it has answered since its start, as it says in its log when it is asked to."""
        before = len(self._counts())
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(self._counts()) > before, what=f"counts in the log of {self.name}")
        return int(self._counts()[-1])

    def _counts(self):
        return re.findall(r"queries answered locally (\d+)", self._log.read_text(errors="replace"))

    def is_idle(self):
        """It sleeps, and nothing waits for it: it owes no answer."""
        local = f"0100007F:{self.address[1]:04X}"
        sockets = [line.split() for line in pathlib.Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]]
        waiting = [int(fields[4].split(":")[1], 16) for fields in sockets if fields[1] == local]
        return waiting == [0] and state_of(pathlib.Path(f"/proc/{self.process.pid}")) == "S"


def redis_ping(address):
    with connect(address) as sock:
        sock.sendall(b"PING\r\n")
        return sock.recv(64) == b"+PONG\r\n"


class Flood:
    """A process that sends as much as it can, "udp" or "tcp", until it is closed."""

    def __init__(self, kind, address):
        script = pathlib.Path(__file__).with_name("flood.py")
        self.process = subprocess.Popen([sys.executable, str(script), kind, address[0], str(address[1])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"begun\n"

    @property
    def runs(self):
        return self.process.poll() is None

    def close(self):
        self.process.communicate(timeout=20)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
        return True
    except OSError:
        return False
