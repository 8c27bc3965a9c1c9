"""What systemd does with a service: a socket for its notifications, listening sockets passed on to it."""

import ctypes
import os
import socket
import threading

from .waiting import DEADLINE, wait_until


class NotifySocket:
    """Receives what the service tells. `messages` holds each datagram as a list of its lines."""

    def __init__(self, path):
        self.path = str(path)
        self.messages = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        self._changed = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        while data := self._socket.recv(65536):
            with self._changed:
                self.messages.append(data.decode().split("\n"))

    def lines(self, since=0):
        with self._changed:
            return [line for message in self.messages[since:] for line in message]

    def __len__(self):
        with self._changed:
            return len(self.messages)

    def wait_line(self, test, since=0, deadline=DEADLINE):
        """The first line for which `test` is true: a text that it begins with, or a function."""
        matches = test if callable(test) else lambda line: line.startswith(test)
        return wait_until(lambda: next((line for line in self.lines(since) if matches(line)), None), deadline,
                          lambda: f"a line {test!r} among {self.lines(since)}")

    def pings(self):
        return self.lines().count("WATCHDOG=1")

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self.path)  # ends the reader
        self._reader.join(DEADLINE)
        self._socket.close()


# Becomes the service with the sockets as descriptors 3, 4, … and says so in its environment, as systemd does. Whatever
# program stands in between (bash here) must not be the one that LISTEN_PID names.
_PASS_ON = """
import os, sys
count = int(sys.argv[1])
fds = [int(fd) for fd in sys.argv[2:2 + count]]
spare = [os.dup2(fd, 200 + i, inheritable=True) for i, fd in enumerate(fds)]
for fd in fds:
    os.close(fd)
for i, fd in enumerate(spare):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2 + count], sys.argv[2 + count:])
"""


def passing_on(sockets, command):
    """(command, fds): a command that runs `command` with `sockets` passed on; `fds` are for Popen's pass_fds."""
    fds = [one.fileno() for one in sockets]
    return ["/usr/bin/python3", "-c", _PASS_ON, str(len(fds)), *map(str, fds), *command], fds


_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_LIBC.ptrace.restype = ctypes.c_long
_PTRACE_DETACH, _PTRACE_SEIZE, _PTRACE_INTERRUPT = 17, 0x4206, 0x4207
_WALL = 0x40000000


class StoppedThread:
    """One thread of another process stands still (SIGSTOP would stop all of them). A context manager."""

    def __init__(self, tid):
        self._tid = tid

    def _call(self, request):
        if _LIBC.ptrace(request, self._tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace request {request:#x} of thread {self._tid}")

    def __enter__(self):
        self._call(_PTRACE_SEIZE)
        self._call(_PTRACE_INTERRUPT)
        os.waitpid(self._tid, _WALL)
        return self

    def __exit__(self, *_):
        self._call(_PTRACE_DETACH)
