"""The TCP traffic: what runs through each candidate, against which server, and which figures come out; and the servers of
all workloads."""

import contextlib
import json
import os
import re
import subprocess

from . import candidates, udp
from .peers import on_peer_cores, run

GIB = 2**30


class Tcp:
    """What all of these have in common."""

    protocol = "tcp"
    backends = ()


class Iperf3(Tcp):
    """Bulk, from the client to the server. A unit is a GiB that arrived."""

    server = "iperf3"

    def __init__(self, streams):
        self.streams = streams
        self.name = f"iperf3 {streams}"

    def run(self, endpoint, seconds):
        text, status = run(["iperf3", "-c", "127.0.0.1", "-p", str(endpoint.port), "-t", str(max(1, round(seconds))), "-P",
                            str(self.streams), "-J"], seconds)
        try:
            received = json.loads(text)["end"]["sum_received"]
            return {"units": received["bytes"] / GIB, "seconds": received["seconds"], "errors": int(status != 0)}
        except (ValueError, KeyError):
            return {"units": 0, "seconds": seconds, "errors": 1}

    def show_cost(self, cost):
        return f"{cost * 1000:.0f} ms/GiB"

    def show_rate(self, rate):
        return f"{rate:.2f} GiB/s"


class Wrk(Tcp):
    """HTTP requests, answered by nginx. A unit is an answered request."""

    server = "nginx-http"

    def __init__(self, name, path, connections, close=False):
        self.name = name
        self.path = path
        self.connections = connections
        self.close = close

    def run(self, endpoint, seconds):
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}", "--latency"]
        if self.close:
            command += ["-H", "Connection: close"]
        text, _ = run(command + [f"http://127.0.0.1:{endpoint.port}{self.path}"], seconds)
        requests = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
        p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
        scale = {"us": 1e-6, "ms": 1e-3, "s": 1}
        return {"units": int(requests.group(1)) if requests else 0,
                "seconds": float(requests.group(2)) * scale[requests.group(3)] if requests else seconds,
                "p99": float(p99.group(1)) * scale[p99.group(2)] if p99 else 0.0,
                "errors": (sum(map(int, errors.groups())) if errors else 0) + (int(bad.group(1)) if bad else 0)
                          + (0 if requests else 1)}

    def show_cost(self, cost):
        return f"{cost * 1e6:.1f} µs/request"

    def show_rate(self, rate):
        return f"{rate:,.0f} requests/s"


def all_workloads(sessions):
    return [Iperf3(1), Iperf3(8), Iperf3(64),
            Wrk("wrk 64, 100 B", "/100", 64), Wrk("wrk 512, 100 B", "/100", 512), Wrk("wrk 64, 10 KB", "/10k", 64),
            Wrk("wrk 64, 100 KB", "/100k", 64), Wrk("wrk 64, 1 MB", "/1m", 64),
            Wrk("one request per connection", "/100", 64, close=True), *udp.all_workloads(sessions)]


HTTP = """
worker_processes 1;
worker_rlimit_nofile 19000;
daemon off;
pid @DIR@/nginx-http.pid;
error_log @DIR@/nginx-http.error.log crit;
events { worker_connections 18000; }
http {
  access_log off;
  sendfile on;
  open_file_cache max=16;
  keepalive_requests 1000000000;
  server { listen 127.0.0.1:@PORT@ backlog=4096; root @DIR@/www; default_type application/octet-stream; }
}
"""


def start_nginx(scratch):
    www = scratch / "www"
    www.mkdir()
    for name, size in (("100", 100), ("10k", 10_000), ("100k", 100_000), ("1m", 1_000_000)):
        (www / name).write_bytes(os.urandom(size))
    os.chmod(scratch, 0o755)
    port = candidates.free_port()
    file = scratch / "nginx-http.conf"
    file.write_text(HTTP.replace("@PORT@", str(port)).replace("@DIR@", str(scratch)))
    return port, ["nginx", "-p", "/usr/share/nginx", "-e", "stderr", "-c", str(file)]


def start_iperf3(_scratch):
    port = candidates.free_port()
    return port, ["iperf3", "-s", "-p", str(port)]


@contextlib.contextmanager
def servers(chosen, scratch, udp_load):
    """Starts what the chosen workloads need, and tells each where it is."""
    starters = {"iperf3": start_iperf3, "nginx-http": start_nginx, "answer": lambda _: udp.start_answer(udp_load)}
    with contextlib.ExitStack() as stack:
        for kind in sorted({w.server for w in chosen if w.server}):
            port, command = starters[kind](scratch)
            process = subprocess.Popen(on_peer_cores(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                       stdin=subprocess.DEVNULL)
            stack.callback(candidates.stop, process)
            candidates.wait_for_port(port, process, ("udp",) if kind == "answer" else ("tcp",))
            for workload in chosen:
                if workload.server == kind:
                    workload.backends = tuple(f"{host}:{port}" for host in hosts_of(workload))
        for workload in chosen:
            if workload.protocol == "udp":
                workload.prepare(scratch, udp_load)
        yield


def hosts_of(workload):
    return [f"127.0.0.{i + 1}" for i in range(getattr(workload, "hosts", 1))]
