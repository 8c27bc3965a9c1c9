"""Where the CPU time of a proxy goes: tools/bench --profile. Shares of samples of perf's cpu-clock, which needs no hardware
counters; times the CPU of a unit."""

import re
import shutil
import subprocess
import sys

from . import machine, tables, units

# What a column sums up: kernel functions that are not inside one another. "Segments" is inside all of them.
PARTS = {
    "receiving": ("tcp_recvmsg", "tcp_splice_read"),
    "sending": ("tcp_sendmsg",),
    "connecting, accepting, closing": ("inet_stream_connect", "inet_accept", "__sock_release", "inet_shutdown", "__sys_socket"),
}
SEGMENTS = ("__tcp_transmit_skb",)
LINE = re.compile(r"^\s*([\d.]+)%\s+([\d.]+)%\s+\[([k.])\]\s+(\S+)")


def missing():
    """Why it cannot be done; None if it can."""
    return None if shutil.which("perf") else "perf is missing: apt-get install linux-perf"


def sample(workload, candidate, seconds, scratch):
    """(figure, report of perf). The candidate runs once."""
    file = scratch / "perf.data"
    with candidate.running(workload.backends, scratch, workload.pinned) as endpoint:
        pids = ",".join(map(str, endpoint.processes()))
        with subprocess.Popen(["perf", "record", "-q", "-e", "cpu-clock", "-F", "1999", "-g", "-o", str(file), "-p", pids],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as perf:
            cpu, segments = endpoint.cpu_seconds(), machine.segments_sent()
            figure = workload.run(endpoint, seconds)
            figure.setdefault("cpu", endpoint.cpu_seconds() - cpu)
            figure["segments"] = machine.segments_sent() - segments
            perf.terminate()
            perf.wait()
    text = subprocess.run(["perf", "report", "-i", str(file), "--children", "-g", "none", "--sort", "symbol", "--stdio"],
                          capture_output=True, text=True, check=False).stdout
    file.unlink(missing_ok=True)
    return figure, text


def shares(text):
    """{part: share of all samples}, from what perf reports."""
    children, user = {}, 0.0
    for line in text.splitlines():
        found = LINE.match(line)
        if not found:
            continue
        with_children, own, space, symbol = found.groups()
        children[symbol] = max(children.get(symbol, 0.0), float(with_children) / 100)
        user += float(own) / 100 if space == "." else 0.0

    def total(symbols):
        return sum(children.get(symbol, 0.0) for symbol in symbols)

    parts = {name: total(symbols) for name, symbols in PARTS.items()}
    parts["in the program and its libraries"] = user
    parts["the rest of the kernel: waiting, pipes, the ring or epoll"] = max(1.0 - sum(parts.values()), 0.0)
    parts["segments, of all that"] = total(SEGMENTS)
    return parts


def row(workload, candidate, figure, parts):
    scale, text, _ = units.UNITS[workload.unit]
    cost = figure["cpu"] / figure["units"] * scale
    return [workload.name, candidate.name, text.format(cost), *(f"{cost * share:.1f} ({share:.0%})" for share in parts.values()),
            f"{figure['segments'] / figure['units']:.1f}"]


def markdown(plan, seconds, scratch):
    """One table; candidates that cannot be sampled (no proxy, an error) are left out."""
    titles, rows = [], []
    for workload, chosen in plan:
        for candidate in chosen:
            if candidate.name == "direct":
                continue
            print(f"\r{workload.name} by {candidate.name}{' ' * 30}", end="", file=sys.stderr, flush=True)
            figure, text = sample(workload, candidate, seconds, scratch)
            if not figure.get("units"):
                continue
            parts = shares(text)
            titles = ["workload", "candidate", "CPU per unit", *parts, "segments per unit, all ends"]
            rows.append(row(workload, candidate, figure, parts))
    print(file=sys.stderr)
    return tables.markdown(titles, rows) if rows else "nothing could be sampled"
