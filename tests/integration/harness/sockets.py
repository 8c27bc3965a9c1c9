"""Clients: connecting, exchanging bytes, and telling a FIN from a RST."""

import contextlib
import hashlib
import pathlib
import random
import select
import socket
import struct
import threading

from .waiting import DEADLINE

FIN = "fin"
RST = "rst"


def family_of(address):
    """An address is a path (unix) or a (host, port) pair."""
    if isinstance(address, str):
        return socket.AF_UNIX
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def parse_address(text):
    """The address in a log line or a configuration: "127.0.0.1:80", "[::1]:80", "unix:/path". "*" is any loopback."""
    if text.startswith("unix:"):
        return text[len("unix:"):]
    host, port = text.rsplit(":", 1)
    host = host.strip("[]")
    return ({"*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), int(port))


def address_text(address):
    """The other way round."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def connect(address, source=None, timeout=DEADLINE):
    sock = socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout)
        if source:
            sock.bind((source, 0))
        sock.connect(address)
        return sock
    except BaseException:
        sock.close()
        raise


def reset(sock):
    """Ends a connection with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def receive_exactly(sock, size):
    parts = []
    while size > 0:
        data = sock.recv(min(size, 1 << 20))
        if not data:
            raise AssertionError(f"the peer finished {size} bytes early")
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def receive_all(sock):
    """Everything up to the end, and how it ended: (bytes, FIN or RST)."""
    parts = []
    while True:
        try:
            data = sock.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            return b"".join(parts), RST
        if not data:
            return b"".join(parts), FIN
        parts.append(data)


def digest_all(sock):
    """As receive_all, without keeping the bytes: (count, SHA-256, FIN or RST)."""
    digest = hashlib.sha256()
    count = 0
    while True:
        try:
            data = sock.recv(1 << 18)
        except (ConnectionResetError, BrokenPipeError):
            return count, digest.hexdigest(), RST
        if not data:
            return count, digest.hexdigest(), FIN
        digest.update(data)
        count += len(data)


def exchange(sock, data=b"ping"):
    """Sends and expects the same back, as from an echo server."""
    sock.sendall(data)
    return receive_exactly(sock, len(data)) == data


def converse(address, data):
    """A connection that sends `data` to an echo, takes it back, and is finished in order by both sides."""
    with connect(address) as sock:
        sender = threading.Thread(target=sock.sendall, args=(data,))
        sender.start()
        assert receive_exactly(sock, len(data)) == data
        sender.join()
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == (b"", FIN)


def ask(address, data=b"?", source=None):
    """One connection to a server that answers and closes: everything it said."""
    with connect(address, source=source) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return receive_all(sock)[0]


def ends_unserved(address):
    """One connection that says something; true when it ends, in whatever way, without a byte in return."""
    try:
        with connect(address) as sock:
            sock.sendall(b"?")
            return receive_all(sock)[0] == b""
    except (ConnectionResetError, BrokenPipeError):
        return True  # it ended before this side was done with connecting and sending


def is_quiet(sock, seconds):
    """True when the socket has neither bytes nor an end to tell within that time."""
    return not select.select([sock], [], [], seconds)[0]


def send_until_blocked(sock, data, still_seconds=1.0):
    """Sends `data` until the socket has taken nothing for `still_seconds`; the number of bytes it took."""
    view = memoryview(data)
    sock.setblocking(False)
    sent = 0
    while sent < len(view) and select.select([], [sock], [], still_seconds)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += sock.send(view[sent:sent + (1 << 16)])
    sock.settimeout(DEADLINE)
    return sent


def pattern(size, seed):
    """Bytes in which a part that is lost, doubled or moved shows."""
    return random.Random(seed).randbytes(size)


def quiet_ports():
    """Ports in no order that the kernel gives to nobody by itself: whoever leaves one finds it free when he comes back."""
    lowest_ephemeral = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    return random.sample(range(10_000, max(lowest_ephemeral, 11_000)), 100)


def free_port(host="127.0.0.1"):
    """A port that TCP and UDP had free a moment ago, for programs that cannot say which one they got. Users retry."""
    for port in quiet_ports():
        with socket.socket(family_of((host, 0)), socket.SOCK_STREAM) as stream, \
                socket.socket(family_of((host, 0)), socket.SOCK_DGRAM) as datagrams, contextlib.suppress(OSError):
            stream.bind((host, port))
            datagrams.bind((host, port))
            return port
    raise AssertionError("no port is free for both TCP and UDP")


def bind_quietly(sock, host):
    """Binds to a free port of quiet_ports()."""
    for port in quiet_ports():
        with contextlib.suppress(OSError):
            return sock.bind((host, port))
    raise AssertionError(f"no port of {host} is free")
