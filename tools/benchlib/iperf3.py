"""Bulk over TCP, from the client to the server, with iperf3. A unit is a GiB that arrived."""

import json

from .clients import run
from .workload import TCP_DEFAULT_MODE, Workload

GIB = 2**30


class Iperf3(Workload):
    """Not pinned, client, server and proxy share all cores: whoever needs less CPU has more throughput."""

    server = "iperf3"
    unit = "GiB"

    def __init__(self, streams, pinned=True, quick=False):
        super().__init__(f"iperf3 {streams}" + ("" if pinned else " unpinned"), quick)
        self.streams = streams
        self.pinned = pinned
        if not pinned:
            self.candidates = TCP_DEFAULT_MODE

    def run(self, endpoint, seconds):
        text, status = run(["iperf3", "-c", "127.0.0.1", "-p", str(endpoint.port), "-t", str(max(1, round(seconds))), "-P",
                            str(self.streams), "-J"], seconds, self.pinned)
        try:
            received = json.loads(text)["end"]["sum_received"]
            return {"units": received["bytes"] / GIB, "seconds": received["seconds"], "errors": int(status != 0)}
        except (ValueError, KeyError, TypeError):
            return self.failed(seconds, text)
