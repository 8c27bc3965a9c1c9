"""The proxies that are measured: how each is configured, started, pinned and accounted."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def proxy_core():
    return sorted(os.sched_getaffinity(0))[0]


def peer_cores():
    cores = sorted(os.sched_getaffinity(0))
    return cores[1:] or cores


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    """Whether some socket of this machine listens on the port. Asked of the kernel: a connection to try it out would reach
    the server behind a proxy, and iperf3 takes any connection for a test."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError), open(table, encoding="ascii") as rows:
            for row in list(rows)[1:]:
                fields = row.split()
                if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                    return True
    return False


def wait_for_port(port, process, deadline=10.0):
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the program on port {port} ended with status {process.returncode}")
        if listens(port):
            return
        time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def process_tree(pid):
    pids = [pid]
    for p in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{p}/task").iterdir():
                pids += [int(c) for c in (task / "children").read_text().split() if int(c) not in pids]
    return pids


class Endpoint:
    """A running candidate: the port to connect to, and the CPU time that it has used."""

    def __init__(self, port, pid):
        self.port = port
        self.pid = pid

    def cpu_seconds(self):
        """User + system time of all its processes and threads, threads that have ended included (10 ms steps)."""
        if self.pid is None:
            return 0.0
        ticks = 0
        for pid in process_tree(self.pid):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / CLOCK_TICKS


class Direct:
    name = "direct"

    def describe(self):
        return "no proxy at all"

    @contextlib.contextmanager
    def running(self, backend_port, scratch):
        yield Endpoint(backend_port, None)


class Proxy:
    def __init__(self, name, template, command):
        self.name = name
        self.template = template
        self.command = command

    def describe(self):
        return self.template.strip()

    @contextlib.contextmanager
    def running(self, backend_port, scratch):
        port = free_port()
        file = scratch / f"{self.name}.conf"
        text = self.template
        for key, value in (("@PORT@", port), ("@BACKEND@", backend_port), ("@DIR@", scratch)):
            text = text.replace(key, str(value))
        file.write_text(text)
        log = open(scratch / f"{self.name}.log", "w", encoding="utf-8")
        process = subprocess.Popen(["taskset", "-c", str(proxy_core())] + self.command(file), stdout=log, stderr=log,
                                   stdin=subprocess.DEVNULL)
        try:
            wait_for_port(port, process)
            yield Endpoint(port, process.pid)
        finally:
            stop(process)
            log.close()


HAPROXY = """
global
  maxconn 8500
  nbthread 1
  tune.pipesize 262144
  maxpipes 1000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  @SPLICE@
listen bench
  bind 127.0.0.1:@PORT@ backlog 4096
  balance leastconn
  server s1 127.0.0.1:@BACKEND@
"""

NGINX = """
load_module modules/ngx_stream_module.so;
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid @DIR@/nginx-stream.pid;
error_log @DIR@/nginx-stream.error.log crit;
events { worker_connections 18000; }
stream {
  upstream bench { least_conn; server 127.0.0.1:@BACKEND@; }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    proxy_pass bench;
    proxy_buffer_size 64k;
    proxy_timeout 1h;
  }
}
"""

MILLRACE = """
[runtime]
workers = 1
pin_workers = false
[listeners.bench]
bind = "127.0.0.1:@PORT@"
pool = "bench"
forwarding = "@FORWARDING@"
[pools.bench]
backends = [{ address = "127.0.0.1:@BACKEND@" }]
[pools.bench.health]
type = "none"
"""


def all_candidates(binary):
    def haproxy(name, splice):
        return Proxy(name, HAPROXY.replace("@SPLICE@", splice), lambda file: ["haproxy", "-db", "-q", "-f", str(file)])

    def millrace(forwarding):
        return Proxy(f"millrace-{forwarding}", MILLRACE.replace("@FORWARDING@", forwarding),
                     lambda file: [binary, "run", "-c", str(file)])

    nginx = Proxy("nginx", NGINX, lambda file: ["nginx", "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file)])
    return [Direct(), haproxy("haproxy-splice", "option splice-request\n  option splice-response"),
            haproxy("haproxy-auto", "option splice-auto"), nginx, millrace("auto"), millrace("copy"), millrace("splice")]
