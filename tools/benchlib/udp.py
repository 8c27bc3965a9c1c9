"""The UDP traffic. A unit is a datagram that arrived, or an answered query; what did not arrive is the loss, as a part of
what was offered."""

import json
import re
from pathlib import Path

from . import machine
from .clients import run
from .ports import free_port
from .workload import UDP, Workload

DATAGRAM_BYTES = 1200
TRAIN = 32

# The addresses that the answering server has: a proxy that shares its sockets needs fewer with more backends.
SESSION_BACKENDS = 8


def socket_bytes():
    """Buffers of iperf3's sockets: large, so that a loss is the proxy's, but not more than the kernel grants."""
    limits = [int(Path(f"/proc/sys/net/core/{name}").read_text()) for name in ("rmem_max", "wmem_max")]
    return min(4 * 2**20, *limits)


class Udp(Workload):
    """What all of these have in common."""

    protocol = "udp"
    unit = "datagram"
    candidates = UDP

    def failed(self, seconds, why):
        return {**super().failed(seconds, why), "offered": 0, "lost": 0}


class Iperf3(Udp):
    """Datagrams of equal size in bursts of a millisecond, as iperf3 sends them. Rate 0: as many as it can."""

    server = "iperf3"

    def __init__(self, name, rate=0, streams=1, reverse=False, quick=False):
        super().__init__(name, quick)
        self.rate = rate
        self.streams = streams
        self.reverse = reverse

    def run(self, endpoint, seconds):
        command = ["iperf3", "-u", "-c", "127.0.0.1", "-p", str(endpoint.port), "-t", str(max(1, round(seconds))), "-J",
                   "-l", str(DATAGRAM_BYTES), "-P", str(self.streams), "-w", str(socket_bytes()),
                   "-b", str(self.rate * DATAGRAM_BYTES * 8 // self.streams)]
        text, status = run(command + (["-R"] if self.reverse else []), seconds)
        try:
            end = json.loads(text)["end"]
            received = end["sum_received"]
            units = received["bytes"] / DATAGRAM_BYTES
            lost = end["sum"]["lost_packets"]
            # What was still on its way when the test ended is not lost; a proxy that fell silent is an error.
            silent = units + lost < 0.9 * end["sum_sent"]["packets"]
            return {"units": units, "offered": units + lost, "lost": lost, "seconds": received["seconds"],
                    "errors": int(status != 0 or silent)}
        except (ValueError, KeyError, TypeError):
            return self.failed(seconds, text)


class Load(Udp):
    """Datagrams, or trains of them (UDP_SEGMENT), at a fixed pace; the receiver takes trains (UDP_GRO) and checks content and
    order. iperf3 sends no trains, and is too slow for the higher rates when it shares a core with its server."""

    needs = "udp-load"

    def __init__(self, name, rate=0, segments=1, quick=False):
        super().__init__(name, quick)
        self.rate = rate
        self.segments = segments

    def prepare(self, scratch, programs):
        super().prepare(scratch, programs)
        self.backends = (f"127.0.0.1:{free_port()}",)

    def run(self, endpoint, seconds):
        text, status = run([self.program, "trains", "--to", str(endpoint.port), "--listen", self.backends[0].split(":")[1],
                            "--segments", str(self.segments), "--bytes", str(DATAGRAM_BYTES), "--rate", str(self.rate),
                            "--seconds", str(seconds)], seconds)
        try:
            found = json.loads(text)
        except ValueError:
            return self.failed(seconds, text)
        return {"units": found["received"], "offered": found["sent"], "lost": found["sent"] - found["received"],
                "seconds": found["seconds"], "messages": found["messages"],
                "errors": found["bad"] + found["refused"] + int(status != 0)}


class Requests(Udp):
    """DNS queries from 20 sockets, each answered at once. Rate 0: as many as dnsperf can with 100 of them on the way."""

    server = "answer"
    unit = "query"
    # The server's.
    needs = "udp-load"

    def __init__(self, name, rate=0, quick=False):
        super().__init__(name, quick)
        self.rate = rate
        self.queries = None

    def prepare(self, scratch, programs):
        self.queries = scratch / "queries"
        self.queries.write_text("".join(f"host{i}.example.com A\n" for i in range(1000)))

    def run(self, endpoint, seconds):
        command = ["dnsperf", "-s", "127.0.0.1", "-p", str(endpoint.port), "-d", str(self.queries), "-l",
                   str(max(1, round(seconds))), "-c", "20", "-T", "1", "-t", "1"]
        text, status = run(command + (["-Q", str(self.rate)] if self.rate else []), seconds)
        found = {key: re.search(key + r":\s+([\d.]+)", text)
                 for key in ("Queries sent", "Queries completed", r"Run time \(s\)")}
        if not all(found.values()):
            return self.failed(seconds, text)
        sent, completed, run_time = (float(match.group(1)) for match in found.values())
        return {"units": completed, "offered": sent, "lost": sent - completed, "seconds": run_time,
                "errors": int(status != 0)}


class Sessions(Udp):
    """One answered datagram from each of many clients. A unit is a session; they stay, and are asked for their memory."""

    server = "answer"
    unit = "session"
    hosts = SESSION_BACKENDS
    needs = "udp-load"

    def __init__(self, name, count, quick=False):
        super().__init__(name, quick)
        # nginx needs a descriptor for each, and some for itself.
        self.count = max(1000, min(count, machine.descriptors_max() - 2000))

    def run(self, endpoint, seconds):
        resident, descriptors = endpoint.resident_bytes(), endpoint.descriptors()
        text, status = run([self.program, "sessions", "--to", str(endpoint.port), "--count", str(self.count)], seconds)
        try:
            found = json.loads(text)
        except ValueError:
            return self.failed(seconds, text)
        growth = endpoint.resident_bytes() - resident
        return {"units": found["answered"], "offered": found["asked"], "lost": found["asked"] - found["answered"],
                "seconds": found["seconds"], "errors": int(status != 0), "resident_before": resident,
                "resident_growth": growth, "bytes_each": growth / max(1, found["answered"]),
                "descriptors": endpoint.descriptors() - descriptors}


def all_workloads(sessions):
    sweep = [Load(f"udp loss {rate // 1000}k", rate) for rate in (50_000, 100_000, 150_000, 200_000, 300_000)]
    return [Iperf3("udp moderate", 20_000, quick=True), Iperf3("udp moderate reverse", 20_000, reverse=True),
            Iperf3("udp flood 1"), Iperf3("udp flood 8", streams=8),
            Load(f"udp trains {TRAIN}, 40k", 40_000, TRAIN), Load(f"udp trains {TRAIN}, 200k", 200_000, TRAIN, quick=True),
            Load(f"udp trains {TRAIN}, flood", 0, TRAIN),
            Requests("udp requests 5k", 5000), Requests("udp requests max", quick=True),
            *sweep, Sessions("udp sessions", sessions, quick=True)]


def answer_command(port, programs):
    return [str(programs["udp-load"]), "answer", "--port", str(port), "--addresses", str(SESSION_BACKENDS)]
