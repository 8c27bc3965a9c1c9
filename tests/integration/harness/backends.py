"""Backends in threads. A backend is a listening socket and a function that handles one connection."""

import contextlib
import hashlib
import select
import socket
import threading

from .sockets import FIN, RST, address_text, digest_all, family_of, receive_all, reset
from .waiting import DEADLINE, wait_until


class Backend:
    """Accepts on `address` and runs `handler(connection, backend)` in a thread per connection.

    What a handler returns is kept in `results`, so that tests can ask what a backend saw. Closing the backend closes
    its connections too; `stop_listening` leaves them alone.
    """

    def __init__(self, handler, address=("127.0.0.1", 0), name="", backlog=1024):
        self.name = name
        self.results = []
        self.accepted = 0
        self.released = threading.Event()  # for handlers that wait for the test
        self._handler = handler
        self._backlog = backlog
        self._lock = threading.Lock()
        self._open = set()
        self._listener = None
        self.address = address
        self.listen()

    def listen(self):
        """Listens, on the same address as before if there was one."""
        listener = socket.socket(family_of(self.address), socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.address)
        listener.listen(self._backlog)
        name = listener.getsockname()
        self.address = name if isinstance(name, str) else name[:2]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    @property
    def text(self):
        return address_text(self.address)

    @property
    def open(self):
        with self._lock:
            return len(self._open)

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.settimeout(DEADLINE)
            with self._lock:
                self.accepted += 1
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            result = self._handler(connection, self)
            with self._lock:
                self.results.append(result)
        except OSError as error:
            with self._lock:
                self.results.append(RST if isinstance(error, (ConnectionResetError, BrokenPipeError)) else error)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def stop_listening(self):
        """From here on connects are refused; accepted connections go on."""
        if self._listener is not None:
            # shutdown wakes the thread in accept(); close alone would leave it, and the port, in place.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None

    def close(self):
        self.stop_listening()
        self.released.set()
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def result(self, index=0):
        """What the handler of the index-th finished connection returned; waits for it."""
        wait_until(lambda: len(self.results) > index, what=f"connection {index} of backend {self.name or self.text}")
        return self.results[index]


# Handlers.


def echo(connection, _backend):
    """Sends everything back; finishes when the peer has."""
    while data := connection.recv(1 << 16):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    return FIN


def name_server(connection, backend):
    """Says its name once it was asked, and closes."""
    data, end = connection.recv(64), FIN
    if data:
        connection.sendall(backend.name.encode())
        connection.shutdown(socket.SHUT_WR)
        _, end = receive_all(connection)
    return end


def greeter(connection, backend):
    """Speaks first, with its name and the number of the connection, then echoes."""
    connection.sendall(f"hello from {backend.name} {backend.accepted}\n".encode())
    return echo(connection, backend)


def sink(connection, _backend):
    """Takes everything and says nothing: (count, digest, end)."""
    return digest_all(connection)


def holder(connection, backend):
    """Reads nothing until the test releases it, then takes everything: (count, digest, end)."""
    backend.released.wait()
    return digest_all(connection)


def collect_then_answer(connection, _backend):
    """Takes everything up to the FIN, then answers with count and digest: what a half-close is for."""
    count, digest, end = digest_all(connection)
    connection.sendall(f"{count} {digest}".encode())
    connection.shutdown(socket.SHUT_WR)
    return end


def watcher(connection, _backend):
    """Returns (bytes, end) of a peer that it never answers."""
    return receive_all(connection)


def source_of(data):
    """A handler that sends `data`, finishes, and waits for the peer to finish."""

    def source(connection, _backend):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)[1]

    return source


def duplex_of(data):
    """A handler that sends `data` and takes everything, both at once: (count, digest, end) of what it took."""

    def duplex(connection, _backend):
        # The kernel tells of a RST once, to whoever asks first: the sender or the receiver.
        send_errors = []
        sender = threading.Thread(target=_send_and_finish, args=(connection, data, send_errors), daemon=True)
        sender.start()
        count, digest, end = digest_all(connection)
        sender.join()
        return count, digest, RST if send_errors else end

    return duplex


def _send_and_finish(connection, data, errors):
    try:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        errors.append(error)


def resetter_of(data):
    """A handler that waits for a byte, sends `data`, and ends with a RST."""

    def resetter(connection, _backend):
        connection.recv(1)
        connection.sendall(data)
        reset(connection)
        return RST

    return resetter


def half_closer_of(data):
    """A handler that sends `data` and its FIN first, and still takes what comes: (count, digest, end)."""

    def half_closer(connection, _backend):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return digest_all(connection)

    return half_closer


# Backends that do not serve.


class RefusedPort:
    """An address where nobody listens and nobody else can: bound, without listen()."""

    name = ""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = self._socket.getsockname()

    @property
    def text(self):
        return address_text(self.address)

    def close(self):
        self._socket.close()


class FullBacklog:
    """Never accepts, and its queue is full: a SYN to it gets no answer, as from a host that is gone."""

    name = ""

    def __init__(self):
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.address = self._listener.getsockname()
        self._fillers = []
        for _ in range(16):
            filler = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex(self.address)
            self._fillers.append(filler)
            if not select.select([], [filler], [], 0.3)[1]:
                return
        raise AssertionError("the kernel keeps accepting for a listener with a backlog of 0")

    @property
    def text(self):
        return address_text(self.address)

    def close(self):
        for filler in self._fillers:
            filler.close()
        self._listener.close()


def sha256(data):
    return hashlib.sha256(data).hexdigest()
