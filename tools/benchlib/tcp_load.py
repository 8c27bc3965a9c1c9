"""Workloads of tools/tcp-load: what iperf3 and wrk cannot show."""

import json
import subprocess
import time

from .candidates import connections_max
from .clients import placed, run
from .iperf3 import GIB
from .workload import POLLING, TCP_DEFAULT_MODE, Workload

IDLE_SECONDS = 1.0
PERCENTILES = ("p50", "p99", "p999")


class TcpLoad(Workload):
    server = "echo"
    needs = "tcp-load"

    def server_port(self):
        return self.backends[0].rsplit(":", 1)[1]

    def measured(self, arguments, seconds):
        """What the program found, and a failed figure in place of that."""
        text, status = run([self.program, *map(str, arguments)], seconds, self.pinned)
        try:
            if status == 0:
                return json.loads(text), None
        except ValueError:
            pass
        return None, self.failed(seconds, text)


class PingPong(TcpLoad):
    """One message at a time on one connection. Slices of direct exchanges alternate with slices through the candidate, so that
    what the proxy adds is a difference of two figures of the same moment."""

    unit = "exchange"
    candidates = POLLING

    def __init__(self, name, size, quick=False):
        super().__init__(name, quick)
        self.size = size

    def run(self, endpoint, seconds):
        found, failure = self.measured(["pingpong", "--to", endpoint.port, "--direct", self.server_port(), "--bytes", self.size,
                                        "--seconds", seconds], seconds)
        if failure:
            return failure
        figure = {"units": found["exchanges"], "seconds": found["seconds"], "errors": 0}
        figure |= {key: found[key] for key in PERCENTILES}
        figure |= {"direct_" + key: found["direct_" + key] for key in PERCENTILES}
        if endpoint.pid is not None:
            figure["added_p50"] = found["p50"] - found["direct_p50"]
        return figure


class Idle(TcpLoad):
    """Connections that were used once and are kept. A unit is such a connection; CPU is for opening it, the echo, and doing
    nothing for a second."""

    unit = "connection"
    candidates = TCP_DEFAULT_MODE

    def __init__(self, name, count, quick=False):
        super().__init__(name, quick)
        self.count = max(100, min(count, connections_max() - 200))

    def run(self, endpoint, seconds):
        resident, descriptors, cpu = endpoint.resident_bytes(), endpoint.descriptors(), endpoint.cpu_seconds()
        client = subprocess.Popen(placed([self.program, "idle", "--to", str(endpoint.port), "--count", str(self.count)]),
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            # Ends without a line when the client gives up, which it does by itself.
            line = client.stdout.readline()
            time.sleep(IDLE_SECONDS)
            used = {"resident_before": resident, "resident_growth": endpoint.resident_bytes() - resident,
                    "descriptors": endpoint.descriptors() - descriptors, "cpu": endpoint.cpu_seconds() - cpu}
            _, said = client.communicate(timeout=30)
        finally:
            client.kill()
            client.wait()
        try:
            found = json.loads(line)
        except ValueError:
            return self.failed(seconds, said)
        opened = found["opened"]
        if not opened:
            return self.failed(seconds, "no connection was answered")
        return {"units": opened, "seconds": found["seconds"], "errors": found["asked"] - opened, **used,
                "bytes_each": used["resident_growth"] / opened}


class Fairness(TcpLoad):
    """Small requests at a fixed pace beside one bulk flow without any. A unit is a GiB of that; latencies are those of the
    small ones, from the time at which they should have left."""

    unit = "GiB"

    def __init__(self, name, connections, quick=False):
        super().__init__(name, quick)
        self.connections = connections

    def run(self, endpoint, seconds):
        found, failure = self.measured(["fair", "--to", endpoint.port, "--connections", self.connections, "--seconds", seconds],
                                       seconds)
        if failure:
            return failure
        return {"units": found["bytes"] / GIB, "seconds": found["seconds"], "errors": found["broken"],
                "answers": found["answers"], **{key: found[key] for key in PERCENTILES}}
