"""UDP: a backend in a thread, clients, and trains of datagrams."""

import select
import socket
import struct
import threading
import time

from .sockets import address_text, bind_quietly, family_of
from .waiting import DEADLINE, wait_until

DATAGRAM_BYTES_MAX = 65507  # over IPv4
UDP_SEGMENT = 103  # linux/udp.h; Python has no name for it
_BUFFER_BYTES = 4 << 20  # as far as net.core.rmem_max allows


class UdpBackend:
    """Receives on `address` and sends what `handler(datagram, peer, backend)` returns, a list of datagrams or None.

    `received` has each datagram with the address it came from, in order; without `keep` it is only counted.
    """

    def __init__(self, handler, address=("127.0.0.1", 0), name="", new_socket=socket.socket, keep=True):
        self.name = name
        self.address = address
        self.received = []
        self.count = 0
        self.released = threading.Event()  # for handlers that wait for the test
        self._handler = handler
        self._new_socket = new_socket
        self._keep = keep
        self._socket = self._thread = None
        self.listen()

    def listen(self):
        """Receives, on the same address as before if there was one."""
        self._socket = self._new_socket(family_of(self.address), socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        if self.address[1] == 0:
            bind_quietly(self._socket, self.address[0])  # while it is stopped nobody, the balancer included, gets it
        else:
            self._socket.bind(self.address)
        self.address = self._socket.getsockname()[:2]
        self._stop, stopping = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, args=(self._socket, stopping), daemon=True)
        self._thread.start()

    @property
    def text(self):
        return address_text(self.address)

    @property
    def datagrams(self):
        return [data for data, _ in list(self.received)]

    @property
    def sources(self):
        """The addresses that datagrams came from, in the order of their first ones."""
        return list(dict.fromkeys(peer for _, peer in list(self.received)))

    def _serve(self, sock, stopping):
        poller = select.poll()
        poller.register(sock, select.POLLIN)
        poller.register(stopping, select.POLLIN)
        with stopping:
            while stopping.fileno() not in [fd for fd, _ in poller.poll()]:
                for _ in range(256):
                    try:
                        data, peer = sock.recvfrom(1 << 16, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        break
                    self.count += 1
                    if self._keep:
                        self.received.append((data, peer[:2]))
                    for answer in self._handler(data, peer, self) or ():
                        sock.sendto(answer, peer)

    def say(self, data, peer):
        """Sends on its own account."""
        self._socket.sendto(data, peer)

    def say_train(self, payload, segment_bytes, peer):
        send_train(self._socket, payload, segment_bytes, peer)

    def stop(self):
        """Ends as a killed process does: datagrams to it are answered with ICMP errors. Call it when it owes nothing."""
        if self._thread is None:
            return
        self._stop.close()
        self.released.set()
        self._thread.join(DEADLINE)
        self._socket.close()
        self._thread = None

    close = stop


# Handlers.


def echo(data, _peer, _backend):
    return [data]


def name_and_echo(data, _peer, backend):
    return [backend.name.encode() + b" " + data]


GOODBYE = b"goodbye"


def sink(data, _peer, _backend):
    """Takes everything and answers nothing but a good-bye. (A balancer that stops waits for answers that it is owed.)"""
    return [data] if data == GOODBYE else None


# Clients.


def open_client(address, source=None, new_socket=socket.socket):
    """A connected socket. It takes datagrams from exactly `address`, and from nobody else.

    `source` is a local address, or one with a port, which then may be shared by several clients.
    """
    sock = new_socket(family_of(address), socket.SOCK_DGRAM)
    try:
        sock.settimeout(DEADLINE)
        if isinstance(source, tuple):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source:
            sock.bind(source if isinstance(source, tuple) else (source, 0))
        sock.connect(address)
        return sock
    except BaseException:
        sock.close()
        raise


def ask(sock, data=b"?", deadline=DEADLINE):
    """Sends one datagram and returns the next that comes."""
    sock.settimeout(deadline)
    sock.send(data)
    return sock.recv(1 << 16)


def ask_all(clients, questions):
    """Sends each client's question and returns each one's answer."""
    for client, question in zip(clients, questions, strict=True):
        client.send(question)
    return [answers[0] for answers in receive_from_each(clients)]


def receive_from_each(clients, count=1):
    """At least `count` datagrams of every client, and what else has come by then: a list for each."""
    by_descriptor = {client.fileno(): (client, []) for client in clients}
    poller = select.poll()
    for descriptor in by_descriptor:
        poller.register(descriptor, select.POLLIN)
    missing = len(by_descriptor)
    give_up_at = time.monotonic() + DEADLINE
    while missing:
        for descriptor, _ in poller.poll(100):
            client, answers = by_descriptor[descriptor]
            answers.append(client.recv(1 << 16))
            missing -= len(answers) == count
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{missing} of {len(clients)} clients have not received {count} datagrams")
    return [answers for _, answers in by_descriptor.values()]


def ask_patiently(sock, data=b"?", timeout=0.2):
    """Asks again, as a client of a lossy network does, until there is an answer: (answer, number of questions)."""
    questions = 0

    def answered():
        nonlocal questions
        questions += 1
        try:
            return [ask(sock, data, timeout)]
        except (TimeoutError, ConnectionRefusedError):
            return None

    return wait_until(answered, what="an answer")[0], questions


def pending(clients):
    """Those that have something to receive now."""
    poller = select.poll()
    for client in clients:
        poller.register(client, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll(0)}
    return [client for client in clients if client.fileno() in ready]


def send_once(address, source, data=b"once"):
    """One datagram of a client that is gone at once."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(data, address)


# Trains.


def send_train(sock, payload, segment_bytes, peer=None):
    """Hands the kernel many datagrams of `segment_bytes` in one go; the last may be shorter."""
    sock.sendmsg([payload], [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("=H", segment_bytes))], 0, peer)


def segments(payload, segment_bytes):
    """The datagrams that send_train makes of it."""
    return [payload[at:at + segment_bytes] for at in range(0, len(payload), segment_bytes)]


def has_segmentation():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            return True
        except OSError:
            return False
