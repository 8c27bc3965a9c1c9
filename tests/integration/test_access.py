"""Who may connect: allow, deny, and the limits of one address; for TCP and for UDP. Any of 127.0.0.0/8 is a source."""

import concurrent.futures
import contextlib
import socket
import threading
import time

import pytest

from harness.backends import RefusedPort, echo
from harness.servers import has_ipv6
from harness.sockets import RST, address_text, connect, ends_unserved, exchange, family_of, receive_all, reset
from harness.waiting import DEADLINE, wait_until


def stop(running):
    """Ends the balancer; its last words. Whatever was counted by address has been released."""
    running.close()
    stopped = running.find_events("stopped")[0]
    assert stopped["sources_counted"] == 0
    return stopped


# ---- TCP ----


def enter(address, source=None):
    """A connection that is served, or None when it was reset."""
    try:
        client = connect(address, source=source)
    except ConnectionResetError:
        return None  # the reset came before connect() had returned
    try:
        if exchange(client, b"may I?"):
            return client
    except (ConnectionResetError, BrokenPipeError):
        pass
    client.close()
    return None


def is_reset(address, source=None):
    """True when a client that says nothing is told RST, at once and without a byte."""
    try:
        with connect(address, source=source) as client:
            return receive_all(client) == (b"", RST)
    except ConnectionResetError:
        return True


def is_served(address, source=None):
    client = enter(address, source)
    if client:
        client.close()
    return bool(client)


@pytest.mark.parametrize("workers", [1, 2])
def test_denied_clients_are_reset(balancer, backend, workers):
    server = backend(echo)
    running = balancer([server], runtime={"workers": workers}, listener={"deny": ["127.0.0.2", "127.1.0.0/16"]})
    assert is_served(running.address, "127.0.0.1")
    for source in ("127.0.0.2", "127.1.0.1", "127.1.255.255", "127.0.0.2"):
        assert is_reset(running.address, source)
    assert is_served(running.address, "127.0.0.3")
    assert is_served(running.address, "127.2.0.1")
    stopped = stop(running)
    assert stopped["denied"] == stopped["refused"] == 4
    assert stopped["accepted"] == 7
    assert server.accepted == 3


def test_only_allowed_clients_are_served(balancer, backend):
    server = backend(echo)
    running = balancer([server], listener={"allow": ["127.0.1.0/24", "127.3.0.1/32"]})
    for source in ("127.0.1.0", "127.0.1.255", "127.3.0.1"):
        assert is_served(running.address, source)
    for source in ("127.0.0.1", "127.0.0.255", "127.0.2.0", "127.3.0.2"):
        assert is_reset(running.address, source)
    assert stop(running)["denied"] == 4
    assert server.accepted == 3


def test_deny_wins(balancer, backend):
    running = balancer([backend(echo)], listener={"allow": ["127.0.0.0/8", "127.0.2.1"], "deny": ["127.0.2.0/24"]})
    assert is_served(running.address, "127.0.1.1")
    assert is_reset(running.address, "127.0.2.1")
    assert is_reset(running.address, "127.0.2.2")
    assert stop(running)["denied"] == 2


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6_clients(balancer, backend):
    server = backend(echo)
    for listener, served in [
            ({"allow": ["::1"]}, True),
            ({"allow": ["::/0"]}, True),
            ({"allow": ["0.0.0.0/0"]}, False),
            ({"deny": ["0.0.0.0/0"]}, True),
            ({"deny": ["::/64"]}, False),
            ({"deny": ["::2"], "max_connections_per_ip": 1}, True),
    ]:
        running = balancer([server], listener={"bind": "[::1]:0"} | listener)
        assert is_served(running.address) == served, listener
        assert stop(running)["denied"] == (0 if served else 1)


def test_every_address_of_both_families(balancer, backend):
    """Clients of IPv4 are told by IPv4 networks, also where the listener takes both families."""
    running = balancer([backend(echo)], listener={"bind": "*:0", "allow": ["127.0.0.2", "::1"]})
    v4, v6 = running.addresses()
    assert is_served(v4, "127.0.0.2")
    assert is_reset(v4, "127.0.0.1")
    if has_ipv6():
        assert is_served(v6)


def test_a_client_on_a_unix_socket_is_in_no_network(balancer, backend, tmp_path):
    path = tmp_path / "web.sock"
    bind = {"bind": f"unix:{path}"}
    running = balancer([backend(echo)], listener=bind | {"allow": ["0.0.0.0/0", "::/0"]})
    assert ends_unserved(str(path))  # there is no RST on unix sockets
    assert stop(running)["denied"] == 1
    running = balancer([backend(echo)], listener=bind | {"deny": ["0.0.0.0/0", "::/0"], "max_connections_per_ip": 1,
                                                        "connection_rate_per_ip": 1})
    with contextlib.ExitStack() as clients:
        for _ in range(5):
            assert clients.enter_context(enter(str(path)))
    assert stop(running)["refused"] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_of_one_address(balancer, backend, workers):
    """Over all workers: the kernel spreads the connections of one address over them."""
    running = balancer([backend(echo)], runtime={"workers": workers}, listener={"max_connections_per_ip": 3})
    clients = [enter(running.address, "127.0.0.2") for _ in range(20)]
    served = [client for client in clients if client]
    assert len(served) == 3
    others = [enter(running.address, "127.0.0.3") for _ in range(3)]
    assert all(others) and is_reset(running.address, "127.0.0.3")
    assert all(exchange(client) for client in served + others)
    served.pop().close()
    served.append(wait_until(lambda: enter(running.address, "127.0.0.2"), what="a place after a FIN"))
    assert is_reset(running.address, "127.0.0.2")
    reset(served.pop())
    served.append(wait_until(lambda: enter(running.address, "127.0.0.2"), what="a place after a RST"))
    assert is_reset(running.address, "127.0.0.2")
    for client in served + others:
        client.close()
    stopped = stop(running)
    assert stopped["source_limited"] == stopped["refused"] >= 20
    assert stopped["denied"] == stopped["rate_limited"] == 0


def test_a_crowd_of_one_address(balancer, backend):
    """Many at the same moment, at both workers: never more than the limit, and all of it can be had."""
    running = balancer([backend(echo)], listener={"max_connections_per_ip": 10})
    with concurrent.futures.ThreadPoolExecutor(16) as crowd:
        clients = list(crowd.map(lambda _: enter(running.address, "127.0.0.2"), range(100)))
    served = [client for client in clients if client]
    assert len(served) <= 10
    while client := enter(running.address, "127.0.0.2"):
        served.append(client)
    assert len(served) == 10
    for client in served:
        client.close()
    stop(running)


def test_the_refused_take_nobody_s_place(balancer, backend):
    running = balancer([backend(echo)], listener={"max_connections": 3, "max_connections_per_ip": 1, "deny": ["127.0.0.9"]})
    with enter(running.address, "127.0.0.2") as first:
        with concurrent.futures.ThreadPoolExecutor(8) as crowd:
            assert all(crowd.map(lambda n: is_reset(running.address, f"127.0.0.{2 if n % 2 else 9}"), range(100)))
        with enter(running.address, "127.0.0.3") as second, enter(running.address, "127.0.0.4") as third:
            assert exchange(first) and exchange(second) and exchange(third)
    stopped = stop(running)
    assert stopped["denied"] == stopped["source_limited"] == 50


def test_every_end_of_a_connection_is_counted(balancer, closing):
    """Also of those that no backend serves."""
    running = balancer([closing(RefusedPort())], pool={"retries": 0}, passive={"failures": 0},
                       listener={"max_connections_per_ip": 2})
    for _ in range(50):
        assert not is_served(running.address, "127.0.0.2")
    assert stop(running)["accepted"] == 50


def test_listeners_count_apart(millrace, backend):
    server = backend(echo)
    running = millrace(f"""
[runtime]
workers = 2
log_format = "json"
[defaults.listener]
pool = "web"
bind = "127.0.0.1:0"
max_connections_per_ip = 1
[listeners.one]
[listeners.two]
[listeners.open]
max_connections_per_ip = 0
[pools.web]
backends = ["{server.text}"]
health.type = "none"
""")
    one, two, free = (running.addresses(name)[0] for name in ("one", "two", "open"))
    with enter(one) as first, enter(two) as second, enter(free) as third, enter(free) as fourth:
        assert is_reset(one) and is_reset(two)
        assert all(exchange(client) for client in (first, second, third, fourth))
    stop(running)


RATE = 20


def test_rate_of_one_address(balancer, backend):
    running = balancer([backend(echo)], listener={"connection_rate_per_ip": RATE})
    begin = time.monotonic()
    served = sum(is_served(running.address, "127.0.0.2") for _ in range(3 * RATE))
    elapsed = time.monotonic() - begin
    assert RATE <= served <= RATE + RATE * elapsed + 1
    assert sum(is_served(running.address, "127.0.0.3") for _ in range(RATE)) == RATE  # another address
    wait_until(lambda: is_served(running.address, "127.0.0.2"), what="a connection in its turn")
    stopped = stop(running)
    assert stopped["rate_limited"] == stopped["refused"] >= 3 * RATE - served
    assert stopped["source_limited"] == stopped["denied"] == 0


def test_a_client_that_is_gone_at_once_is_no_way_round(balancer, backend):
    """It may be gone before it was accepted; no backend is connected to for it then."""
    server = backend(echo)
    running = balancer([server], listener={"connection_rate_per_ip": 1})
    begin = time.monotonic()
    for _ in range(200):
        with contextlib.suppress(ConnectionResetError):
            reset(connect(running.address, "127.0.0.2"))
    wait_until(lambda: is_served(running.address, "127.0.0.3"), what="service for others")
    elapsed = time.monotonic() - begin
    assert server.accepted <= 1 + elapsed + 2
    stopped = stop(running)
    assert stopped["accepted"] >= 200


# ---- UDP ----


class UdpEcho:
    """Sends every datagram back."""

    name = ""

    def __init__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self.address = self._socket.getsockname()
        self.payloads = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def text(self):
        return address_text(self.address)

    def _serve(self):
        while not self._ended.is_set():
            try:
                data, peer = self._socket.recvfrom(65535)
            except TimeoutError:
                continue
            except OSError:  # what ICMP says about a peer that is gone
                continue
            self.payloads.append(data)
            self._socket.sendto(data, peer)

    def close(self):
        self._ended.set()
        self._thread.join(DEADLINE)
        self._socket.close()


def udp_client(closing, address, source="127.0.0.1"):
    """A socket with a port of its own: a session."""
    client = closing(socket.socket(family_of(address), socket.SOCK_DGRAM))
    client.settimeout(DEADLINE)
    if family_of(address) == socket.AF_INET:
        client.bind((source, 0))
    client.connect(address)
    return client


def answered(client, data):
    """True when the answer comes. Only for those that may expect one."""
    client.send(data)
    return client.recv(65535) == data


def has_answer(client):
    """Whether an answer has come so far."""
    client.setblocking(False)
    try:
        client.recv(65535)
        return True
    except BlockingIOError:
        return False
    finally:
        client.settimeout(DEADLINE)


@pytest.fixture
def udp(balancer, closing):
    """A balancer for UDP, its backend, and a way to make clients: udp(listener keys, workers=…)."""

    def start(listener, workers=1):
        server = closing(UdpEcho())
        running = balancer([server], runtime={"workers": workers}, listener={"protocol": "udp"} | listener)
        return running, server, lambda source="127.0.0.1": udp_client(closing, running.address, source)

    return start


def test_udp_allow_and_deny(udp):
    """One worker takes datagrams in their order: the answer to the last one says that all have been looked at."""
    running, server, client = udp({"allow": ["127.0.0.0/16"], "deny": ["127.0.0.2"]})
    for source in ("127.0.0.2", "127.1.0.1", "127.0.0.2"):
        client(source).send(b"no")
    assert answered(client("127.0.0.1"), b"yes")
    assert answered(client("127.0.255.255"), b"yes")
    stopped = stop(running)
    assert server.payloads == [b"yes", b"yes"]
    assert stopped["denied"] == stopped["datagrams_dropped"] == 3
    assert stopped["udp_sessions"] == 2
    assert stopped["refused"] == 0  # these are connections


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_udp_ipv6(udp):
    running, server, client = udp({"bind": "[::1]:0", "allow": ["::1"], "deny": ["0.0.0.0/0"],
                                   "max_connections_per_ip": 1})
    first = client()
    assert answered(first, b"one")
    client().send(b"too many")
    assert answered(first, b"two")
    assert stop(running)["source_limited"] == 1
    assert server.payloads == [b"one", b"two"]


def test_udp_sessions_of_one_address(udp):
    running, server, client = udp({"max_connections_per_ip": 3})
    first = [client("127.0.0.2") for _ in range(3)]
    assert all(answered(each, b"one") for each in first)
    late = [client("127.0.0.2") for _ in range(5)]
    for each in late:
        each.send(b"too many")
    assert all(answered(each, b"two") for each in first)  # sessions that are there go on
    assert answered(client("127.0.0.3"), b"another")
    assert not any(has_answer(each) for each in late)
    stopped = stop(running)
    assert stopped["source_limited"] == stopped["datagrams_dropped"] == 5
    assert stopped["udp_sessions"] == 4
    assert b"too many" not in server.payloads


def test_udp_sessions_of_one_address_over_two_workers(udp):
    running, server, client = udp({"max_connections_per_ip": 4}, workers=2)
    clients = [client("127.0.0.2") for _ in range(40)]
    for _ in range(3):
        for number, each in enumerate(clients):
            each.send(b"%d" % number)
    # Others, who are spread over both workers: their answers say that what came before them has been looked at.
    assert all(answered(client(f"127.0.1.{number}"), b"") for number in range(24))
    served = {data for data in server.payloads if data}
    assert len(served) == 4
    assert all(clients[int(data)].recv(65535) == data for data in served)
    assert not any(has_answer(each) for number, each in enumerate(clients) if b"%d" % number not in served)
    stopped = stop(running)
    assert stopped["udp_sessions"] == 4 + 24
    assert stopped["source_limited"] == stopped["datagrams_dropped"] == 3 * 36


def test_udp_places_come_back(udp):
    """With responses = 1 a session is over when its answer leaves."""
    running, _, client = udp({"max_connections_per_ip": 1, "responses": 1}, workers=2)
    for number in range(50):
        assert answered(client("127.0.0.2"), b"%d" % number)
    stopped = stop(running)
    assert stopped["udp_sessions"] == 50
    assert stopped["source_limited"] == 0


def test_udp_who_is_over_its_limit_evicts_nobody(udp):
    running, _, client = udp({"max_connections_per_ip": 1, "max_sessions": 2})
    greedy, other = client("127.0.0.2"), client("127.0.0.3")
    assert answered(greedy, b"one") and answered(other, b"one")  # both could be evicted: one datagram each
    for _ in range(10):
        client("127.0.0.2").send(b"more")
    assert answered(greedy, b"two") and answered(other, b"two")
    stopped = stop(running)
    assert stopped["udp_evicted"] == 0
    assert stopped["udp_sessions"] == 2
    assert stopped["source_limited"] == 10


def test_udp_the_evicted_give_their_place_back(udp):
    running, _, client = udp({"max_connections_per_ip": 2, "max_sessions": 2})
    for number in range(20):  # each a new session of one of two addresses, which evicts the oldest
        assert answered(client(f"127.0.0.{2 + number % 2}"), b"%d" % number)
    stopped = stop(running)
    assert stopped["udp_evicted"] == 18
    assert stopped["source_limited"] == 0


def test_udp_rate_of_one_address(udp):
    running, server, client = udp({"connection_rate_per_ip": RATE})
    begin = time.monotonic()
    clients = [client("127.0.0.2") for _ in range(3 * RATE)]
    for each in clients:
        each.send(b"new")
    assert answered(client("127.0.0.3"), b"last")
    elapsed = time.monotonic() - begin
    served = server.payloads.count(b"new")
    assert RATE <= served <= RATE + RATE * elapsed + 1
    served_clients = [each for each in clients if has_answer(each)]
    assert all(answered(each, b"known") for each in served_clients)  # sessions that are there are not counted
    stopped = stop(running)
    assert stopped["rate_limited"] == 3 * RATE - served
    assert stopped["udp_sessions"] == served + 1
