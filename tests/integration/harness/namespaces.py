"""Network namespaces, joined by veth pairs: several machines on this one."""

import contextlib
import ctypes
import os
import socket
import subprocess

import pytest

from .servers import program

_CLONE_NEWNET = 0x40000000


class Namespace:
    def __init__(self, name):
        self.name = name
        self.interfaces = 0

    @property
    def prefix(self):
        """What to put before a command that shall run in it."""
        return [program("ip"), "netns", "exec", self.name]

    def ip(self, *arguments):
        subprocess.run([program("ip"), "-n", self.name, *map(str, arguments)], check=True, capture_output=True, text=True)

    def socket(self, family, kind):
        """A socket in it, for this process."""
        with _inside(self.name):
            return socket.socket(family, kind)


class Network:
    """Namespaces of one test. Makes the test a skipped one where it may not have any."""

    _serial = iter(range(1_000_000))

    def __init__(self):
        self._names = []

    def namespace(self):
        name = f"millrace-{os.getpid()}-{next(self._serial)}"
        made = subprocess.run([program("ip"), "netns", "add", name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no network namespaces for us: {made.stderr.strip()}")
        self._names.append(name)
        namespace = Namespace(name)
        namespace.ip("link", "set", "lo", "up")
        try:
            namespace.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        except OSError as error:
            pytest.skip(f"no sockets in other network namespaces: {error}")
        return namespace

    def join(self, left, right, left_addresses, right_addresses, mtu=1500):
        """A cable between two namespaces; addresses are texts like "192.0.2.1/24"."""
        ends = []
        for side in (left, right):
            ends.append(f"veth{side.interfaces}")
            side.interfaces += 1
        try:
            left.ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", right.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no veth: {error.stderr.strip()}")
        for side, end, addresses in ((left, ends[0], left_addresses), (right, ends[1], right_addresses)):
            side.ip("link", "set", end, "mtu", mtu, "up")
            for address in addresses:
                side.ip("address", "add", address, "dev", end, *(["nodad"] if ":" in address else []))

    def close(self):
        for name in self._names:
            subprocess.run([program("ip"), "netns", "delete", name], capture_output=True, check=False)


@contextlib.contextmanager
def _inside(name):
    """Moves this thread into a namespace, and back."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(descriptor):
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)
