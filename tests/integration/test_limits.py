"""Limits and shortage: connections wait, nobody is reset, nothing is left behind, nothing spins."""

import concurrent.futures
import contextlib
import pathlib
import resource
import subprocess
import sys
import time

import pytest

from harness.backends import RefusedPort, echo, name_server
from harness.sockets import ask, connect, ends_unserved, exchange, is_quiet, receive_exactly
from harness.waiting import wait_until

HERE = pathlib.Path(__file__).resolve().parent
MIB = 1 << 20


@pytest.mark.parametrize("where", ["listener", "runtime"])
@pytest.mark.parametrize("workers", [1, 2])
def test_clients_above_the_limit_wait(balancer, backend, where, workers):
    server = backend(echo)
    tables = {"runtime": {"workers": workers}}
    tables.setdefault(where, {})["max_connections"] = 2
    running = balancer([server], **tables)
    first, second = connect(running.address), connect(running.address)
    assert exchange(first) and exchange(second)
    with connect(running.address) as third, connect(running.address) as fourth:
        third.sendall(b"wait")
        fourth.sendall(b"wait")
        assert is_quiet(third, 0.3) and is_quiet(fourth, 0)
        assert server.accepted == 2
        first.close()
        wait_until(lambda: not is_quiet(third, 0) or not is_quiet(fourth, 0), what="a place for one more")
        second.close()
        assert receive_exactly(third, 4) == receive_exactly(fourth, 4) == b"wait"
        assert exchange(third) and exchange(fourth)


def test_the_limit_holds_for_a_crowd(balancer, backend):
    """A hundred clients through ten places: each is served, never more than ten at once."""
    seen = []

    def note(connection, owner):
        seen.append(owner.open)
        return echo(connection, owner)

    server = backend(note)
    running = balancer([server], listener={"max_connections": 10})

    def visit(_):
        with connect(running.address) as client:
            return exchange(client)

    with concurrent.futures.ThreadPoolExecutor(40) as crowd:
        assert all(crowd.map(visit, range(100)))
    # A connection that has ended may be counted by the backend a moment longer than by the balancer.
    assert max(seen) <= 20


def short_visits(address, count, threads=4):
    def visit(number):
        with connect(address) as client:
            exchange(client, b"visit %d" % number)

    with concurrent.futures.ThreadPoolExecutor(threads) as visitors:
        list(visitors.map(visit, range(count)))


def test_short_connections_leave_nothing(balancer, backend, forwarding):
    running = balancer([backend(echo)], listener={"forwarding": forwarding})
    before = running.descriptors()
    short_visits(running.address, 5000 if forwarding == "auto" else 1000)
    # Pipes are kept for later on purpose, a bounded number; whether all came back is checked at the end, by `stopped`.
    wait_until(lambda: without_pipes(running.descriptors()) == without_pipes(before),
               what=lambda: f"descriptors as before: {before}, now {running.descriptors()}")


def without_pipes(descriptors):
    return {kind: count for kind, count in descriptors.items() if kind != "pipe"}


def test_backend_limit(balancer, backend):
    small, large = backend(name_then_echo, name="small"), backend(name_then_echo, name="large")
    running = balancer([{"address": small.text, "name": "small", "max_connections": 3}, large],
                       pool={"balance": "least_conn"})
    clients = [connect(running.address) for _ in range(20)]
    names = [receive_exactly(client, 5) for client in clients]
    assert names.count(b"small") == 3 and names.count(b"large") == 17
    for client in clients:
        client.close()
    wait_until(lambda: first_word(running.address) == b"small", what="the full backend to be used again")


def first_word(address):
    with connect(address) as client:
        return receive_exactly(client, 5)


def test_pool_wide_backend_limit_refuses_at_once_when_all_are_full(balancer, backend):
    server = backend(echo)
    running = balancer([server], pool={"max_connections_per_backend": 2})
    with connect(running.address) as one, connect(running.address) as two:
        assert exchange(one) and exchange(two)
        assert ends_unserved(running.address)
        assert exchange(one)
    assert server.accepted == 2
    wait_until(lambda: server.open == 0, what="a free place")
    wait_until(lambda: serves(running.address), what="service")


def name_then_echo(connection, owner):
    connection.sendall(owner.name.encode()[:5])
    return echo(connection, owner)


def serves(address):
    with contextlib.suppress(OSError, AssertionError), connect(address, timeout=5) as client:
        return exchange(client)
    return False


def test_failed_connects_give_their_place_back(balancer, closing):
    """Every way out of a connection counts it down exactly once."""
    running = balancer([closing(RefusedPort())], pool={"max_connections_per_backend": 3, "retries": 0}, passive={"failures": 0},
                       listener={"max_connections": 5})
    for _ in range(50):
        assert ends_unserved(running.address)


def test_few_descriptors_at_start(balancer, backend):
    """A low limit of open files: the balancer derives its own limit from it, and clients wait for each other."""
    server = backend(echo)
    running = balancer([server], open_files=96)

    def visit(_):
        with connect(running.address) as client:
            return exchange(client)

    with concurrent.futures.ThreadPoolExecutor(60) as crowd:
        assert all(crowd.map(visit, range(300)))


def test_out_of_descriptors_does_not_spin(balancer, backend):
    """The limit of open files falls below what is needed while it runs (EMFILE from accept and socket)."""
    server = backend(echo)
    running = balancer([server], runtime={"max_connections": 1000})
    running.expected_errors.add("accept_paused")
    with connect(running.address) as client:
        assert exchange(client)
        in_use = sum(running.descriptors().values())
        running.limit_open_files(in_use + 5)
        crowd = [connect(running.address) for _ in range(40)]
        for other in crowd:
            with contextlib.suppress(OSError):
                other.sendall(b"starved?")
        # Observed over a while: this is about how much of it is spent computing.
        begin, cpu_before = time.monotonic(), running.cpu_seconds()
        assert is_quiet(client, 1.5)
        busy = (running.cpu_seconds() - cpu_before) / (time.monotonic() - begin)
        assert busy < 0.3, f"{busy:.0%} of a CPU while starved"
        assert exchange(client), "an established connection goes on"
        for other in crowd:
            other.close()
        wait_until(lambda: serves(running.address), what="service to resume")
        running.limit_open_files(1024)
        assert exchange(client)
    short_visits(running.address, 50)


IDLE_CONNECTIONS = 10_000
IDLE_RSS_MAX = 5 * MIB
SPARE_DESCRIPTORS = 300


@pytest.mark.limit(120)
def test_idle_connections_are_cheap(balancer, closing, sanitized):
    """10,000 of them, or as many as the limit of open files allows; the memory they may take is in proportion."""
    if sanitized:
        pytest.skip("a sanitizer's memory says nothing about the program's")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(IDLE_CONNECTIONS, (hard - SPARE_DESCRIPTORS) // 2)  # the balancer needs two each
    if count < IDLE_CONNECTIONS // 2:
        pytest.skip(f"a process may have {hard} open files here: too few for {IDLE_CONNECTIONS // 2} connections")
    holder = closing(IdleBackend())
    running = balancer([holder], open_files=hard, runtime={"max_connections": count + 20})
    clients = [connect(running.address)]
    clients[0].sendall(b"x")
    wait_until(lambda: holder.held() == 1, what="the first connection")
    before = running.rss_bytes()
    with own_limit(count + SPARE_DESCRIPTORS):
        try:
            for number in range(count):
                clients.append(connect(running.address, source=f"127.0.0.{2 + number % 4}"))
            wait_until(lambda: holder.held() == count + 1, deadline=60, what="all connections at the backend")
            grown = running.rss_bytes() - before
            print(f"{count} idle connections: {grown / 1024:.0f} KiB more, {grown / count:.0f} bytes each")
            assert grown <= IDLE_RSS_MAX * count / IDLE_CONNECTIONS
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: holder.held() == 0, deadline=60, what="all connections to end")


@contextlib.contextmanager
def own_limit(wanted):
    """This process's own limit of open files, raised for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(wanted, hard)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class IdleBackend:
    """Holds connections in a process of its own, which has its own limit of open files."""

    name = "idle"

    def __init__(self):
        self._process = subprocess.Popen([sys.executable, str(HERE / "harness" / "idle_backend.py")],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = ("127.0.0.1", int(self._process.stdout.readline()))

    @property
    def text(self):
        return f"127.0.0.1:{self.address[1]}"

    def held(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


def test_a_full_pool_of_names(balancer, backend):
    """As many backends as people have: 200, each reached."""
    servers = [backend(name_server, name=f"s{number}") for number in range(200)]
    running = balancer(servers, pool={"balance": "round_robin"}, runtime={"workers": 1})
    assert len({ask(running.address) for _ in range(200)}) == 200


def test_the_kernels_table_of_descriptors_has_its_size_from_the_start(balancer, backend):
    """Each time it grows, whoever wants a descriptor waits for an RCU grace period."""
    running = balancer([backend(echo)], open_files=3000)
    assert running.descriptor_slots() >= 3000


def test_busy_polling_answers_and_comes_to_rest(balancer, backend):
    running = balancer([backend(echo)], runtime={"workers": 2, "busy_poll_us": 1000})

    with connect(running.address) as sock:
        for _ in range(100):
            assert exchange(sock, b"ping")

        def rests():
            # Observed over a while: this is about how much of it is spent computing.
            before = running.cpu_seconds()
            assert is_quiet(sock, 0.3)
            return running.cpu_seconds() - before <= 0.03

        wait_until(rests, what="a process that sleeps while nothing comes")
        assert exchange(sock, b"again")
