"""From accept to the first byte: failover, connect timeout, what happens when nobody answers."""

import pytest

from harness.backends import FullBacklog, RefusedPort, echo, greeter, name_server, watcher
from harness.sockets import FIN, ask, connect, ends_unserved, exchange, receive_exactly, reset
from harness.waiting import wait_until

FIRST = {"balance": "first"}  # always the first that can be had: failing over is then certain


def test_failover_from_a_refused_backend(balancer, backend, closing):
    running = balancer([closing(RefusedPort()), backend(name_server, name="good")], pool=FIRST, passive={"failures": 0})
    for _ in range(10):
        assert ask(running.address) == b"good"


def test_failover_keeps_what_the_client_said_already(balancer, backend, closing):
    running = balancer([closing(RefusedPort()), closing(RefusedPort()), backend(echo, name="good")], pool=FIRST)
    with connect(running.address) as client:
        assert exchange(client, b"x" * 50_000)


def test_failover_to_a_server_that_speaks_first(balancer, backend, closing):
    running = balancer([closing(RefusedPort()), backend(greeter, name="good")], pool=FIRST)
    with connect(running.address) as client:
        assert receive_exactly(client, 10) == b"hello from"


def test_connect_timeout_then_failover(balancer, backend, closing):
    running = balancer([closing(FullBacklog()), backend(name_server, name="good")],
                       pool=FIRST | {"connect_timeout": "300ms"})
    for _ in range(3):
        assert ask(running.address) == b"good"


def test_connect_timeout_alone_ends_the_client(balancer, closing):
    running = balancer([closing(FullBacklog())], pool={"connect_timeout": "300ms", "retries": 0})
    assert ends_unserved(running.address)


def test_every_backend_refused_ends_the_client(balancer, closing):
    running = balancer([closing(RefusedPort()) for _ in range(3)], pool={"retries": 2})
    for _ in range(5):
        assert ends_unserved(running.address)


def test_without_retries_one_backend_is_tried(balancer, backend, closing):
    good = backend(name_server, name="good")
    running = balancer([closing(RefusedPort()), good], pool=FIRST | {"retries": 0}, passive={"failures": 0})
    assert ends_unserved(running.address)
    assert good.accepted == 0


def test_client_that_finishes_while_connecting_is_served(balancer, backend, closing):
    """A FIN is no reason to give up: half-close is legal."""
    running = balancer([closing(FullBacklog()), backend(name_server, name="good")],
                       pool=FIRST | {"connect_timeout": "300ms"})
    assert ask(running.address) == b"good"


def test_client_that_resets_while_connecting_leaves_nothing(balancer, backend, closing):
    silent = closing(FullBacklog())
    running = balancer([silent, backend(name_server, name="good")], pool=FIRST | {"connect_timeout": "10s"})
    before = running.descriptors().get("socket", 0)
    clients = [connect(running.address) for _ in range(20)]
    wait_until(lambda: running.descriptors().get("socket", 0) > before, what="connections to the silent backend")
    for client in clients:
        reset(client)
    wait_until(lambda: running.descriptors().get("socket", 0) == before, what="the connections to be gone")


def test_source_addresses(balancer, backend):
    """`source` is the address that backends see; several take turns."""
    peers = []

    def note_peer(connection, _backend):
        peers.append(connection.getpeername()[0])
        return echo(connection, _backend)

    running = balancer([backend(note_peer)], pool={"source": ["127.0.0.7", "127.0.0.8"]})
    for _ in range(8):
        with connect(running.address) as client:
            assert exchange(client)
    assert set(peers) == {"127.0.0.7", "127.0.0.8"}


@pytest.mark.parametrize("workers", [1, 2])
def test_connections_that_come_before_the_backend(balancer, backend, workers):
    """A backend that comes up late is used from then on."""
    server = backend(name_server, name="late")
    server.stop_listening()
    running = balancer([server], runtime={"workers": workers}, passive={"failures": 0})
    assert ends_unserved(running.address)
    server.listen()
    wait_until(lambda: ask_quietly(running.address) == b"late", what="the late backend")


def ask_quietly(address):
    try:
        return ask(address)
    except OSError:
        return None


def test_data_sent_at_once_arrives(balancer, backend):
    """A client that sends and finishes before the backend is even connected."""
    server = backend(watcher)
    running = balancer([server])
    for index in range(20):
        with connect(running.address) as client:
            client.sendall(b"fire and forget")
        assert server.result(index) == (b"fire and forget", FIN)
