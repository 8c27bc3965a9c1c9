"""HTTP with wrk, answered by nginx. A unit is an answered request."""

import json

from .clients import run
from .workload import FLOOR, WORKERS, Workload

# wrk itself prints no percentile between 99 and 100. A script without a function for each request costs nothing.
SCRIPT = """
done = function(summary, latency, requests)
  local e = summary.errors
  print(string.format('{"bench": 1, "requests": %d, "seconds": %.6f, "errors": %d, "p50": %.6f, "p99": %.6f, "p999": %.6f}',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, latency:percentile(99.9) / 1e6))
end
"""


class Wrk(Workload):
    """A connection sends its next request when the last one is answered, so latencies are those of a full house."""

    server = "nginx-http"

    def __init__(self, name, path, connections, close=False, workers=False, quick=False):
        super().__init__(name, quick)
        self.path = path
        self.connections = connections
        self.close = close
        self.candidates = WORKERS if workers else FLOOR
        self.pinned = not workers
        self.script = None

    def prepare(self, scratch, programs):
        self.script = scratch / "percentiles.lua"
        self.script.write_text(SCRIPT)

    def run(self, endpoint, seconds):
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}", "-s", str(self.script)]
        if self.close:
            command += ["-H", "Connection: close"]
        text, status = run(command + [f"http://127.0.0.1:{endpoint.port}{self.path}"], seconds, self.pinned)
        return self.parsed(text, status, seconds)

    def parsed(self, text, status, seconds):
        lines = [line for line in text.splitlines() if line.startswith('{"bench"')]
        try:
            found = json.loads(lines[-1])
        except (ValueError, IndexError):
            return self.failed(seconds, text)
        return {"units": found["requests"], "seconds": found["seconds"], "errors": found["errors"] + int(status != 0),
                **{key: found[key] for key in ("p50", "p99", "p999")}}


def keep_alive():
    sizes = (("100 B", "/100"), ("10 KB", "/10k"), ("100 KB", "/100k"), ("1 MB", "/1m"))
    return [Wrk(f"wrk {connections}, {size}", path, connections, quick=connections == 64 and size != "1 MB")
            for size, path in sizes for connections in (64, 512)]
