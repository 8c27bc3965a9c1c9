"""Ports for proxies and servers that no client's connection can have meanwhile: outside of the range that the kernel picks
from for sockets that ask for no port."""

import contextlib
import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 10_000  # below are the ports of well-known services
HIGHEST = 65_535

_given = set()


def outside_of(low, high):
    """The ports that are not in low…high; unprivileged, and above the well-known ones if those leave enough."""
    for lowest in (LOWEST, 1024):
        ports = [*range(lowest, min(low, HIGHEST + 1)), *range(max(high + 1, lowest), HIGHEST + 1)]
        if len(ports) >= 100:
            return ports
    return list(range(LOWEST, HIGHEST + 1))  # everything is ephemeral: what is free now has to do


def is_free(port):
    """For TCP and for UDP, on every address: iperf3 needs both, and some servers have more than one address."""
    with socket.socket() as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams, contextlib.suppress(OSError):
        stream.bind(("", port))
        datagrams.bind(("", port))
        return True
    return False


def free_port():
    """One that was not given before either: who got that may just be between two processes."""
    low, high = map(int, EPHEMERAL.read_text(encoding="ascii").split())
    ports = outside_of(low, high)
    for _ in range(1000):
        port = random.choice(ports)
        if port not in _given and is_free(port):
            _given.add(port)
            return port
    raise RuntimeError("no port is free for both TCP and UDP")
