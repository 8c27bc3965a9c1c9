"""What a relay owes both sides: every byte, in order, and the end as it was meant."""

import socket
import threading

import pytest

from harness.backends import (
    collect_then_answer, duplex_of, echo, greeter, half_closer_of, holder, resetter_of, sha256, sink, source_of, watcher)
from harness.servers import has_ipv6
from harness.sockets import (
    FIN, RST, connect, digest_all, exchange, is_quiet, pattern, receive_all, receive_exactly, reset, send_until_blocked)
from harness.waiting import wait_until

MIB = 1 << 20
QUEUED_BYTES_MAX = 48 * MIB  # in all buffers together, almost all of it the kernel's: receive buffers may grow to 32 MiB
RSS_GROWTH_MAX = 4 * MIB  # of that, the balancer's own part


@pytest.fixture
def relay(balancer, forwarding):
    """A balancer before one backend, in each mode of forwarding."""

    def start(server, **listener):
        return balancer([server], listener={"forwarding": forwarding} | listener)

    return start


def test_echo(relay, backend):
    running = relay(backend(echo))
    with connect(running.address) as client:
        for size in (1, 10, 1000, 100_000, 1, 1_000_000, 7):
            sender = threading.Thread(target=client.sendall, args=(pattern(size, size),))
            sender.start()
            assert receive_exactly(client, size) == pattern(size, size)
            sender.join()


def test_many_connections_do_not_mix(relay, backend):
    running = relay(backend(echo))
    clients = [connect(running.address) for _ in range(100)]
    for round_ in range(3):
        for number, client in enumerate(clients):
            client.sendall(pattern(2000, 1000 * round_ + number))
        for number, client in enumerate(clients):
            assert receive_exactly(client, 2000) == pattern(2000, 1000 * round_ + number)
    for client in clients:
        client.close()


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_ipv6_both_sides(balancer, backend):
    running = balancer([backend(echo, address=("::1", 0))], listener={"bind": "[::1]:0"})
    assert running.address[0] == "::1"
    with connect(running.address) as client:
        assert exchange(client)


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
def test_any_address_takes_both_families(balancer, backend):
    running = balancer([backend(echo)], listener={"bind": "*:0"})
    for address in [("127.0.0.1", running.address[1]), ("::1", running.address[1])]:
        with connect(address) as client:
            assert exchange(client)


def test_list_of_addresses(balancer, backend, tmp_path):
    running = balancer([backend(echo)],
                       listener={"bind": ["127.0.0.1:0", "127.0.0.2:0", f"unix:{tmp_path}/second.sock"]})
    addresses = running.addresses("web")
    assert len(addresses) == 3
    for address in addresses:
        with connect(address) as client:
            assert exchange(client)


def test_unix_listener_and_backend(balancer, backend, tmp_path, forwarding):
    running = balancer([backend(echo, address=f"{tmp_path}/backend.sock", name="local")],
                       listener={"bind": f"unix:{tmp_path}/front.sock", "forwarding": forwarding})
    with connect(running.address) as client:
        assert exchange(client, pattern(100_000, 1))
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == (b"", FIN)


def test_unix_listener_replaces_a_stale_socket(balancer, backend, tmp_path):
    path = f"{tmp_path}/front.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stale:
        stale.bind(path)
    running = balancer([backend(echo)], listener={"bind": f"unix:{path}"})
    with connect(running.address) as client:
        assert exchange(client)


def test_server_speaks_first(relay, backend):
    running = relay(backend(greeter, name="mail"))
    with connect(running.address) as client:
        assert receive_exactly(client, len(b"hello from mail 1\n")) == b"hello from mail 1\n"
        assert exchange(client)


def test_client_finishes_first(relay, backend):
    """The response to a request that ends with a FIN arrives whole."""
    running = relay(backend(collect_then_answer))
    data = pattern(3 * MIB, 2)
    with connect(running.address) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == (f"{len(data)} {sha256(data)}".encode(), FIN)


def test_backend_finishes_first(relay, backend):
    """The client may go on sending after the backend's FIN."""
    server = backend(half_closer_of(b"bye"))
    running = relay(server)
    data = pattern(2 * MIB, 3)
    with connect(running.address) as client:
        assert receive_all(client) == (b"bye", FIN)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert server.result() == (len(data), sha256(data), FIN)


def test_fin_without_a_byte(relay, backend):
    server = backend(watcher)
    running = relay(server)
    with connect(running.address) as client:
        client.shutdown(socket.SHUT_WR)
        assert server.result() == (b"", FIN)
        assert receive_all(client) == (b"", FIN)


def test_everything_arrives_before_the_fin(relay, backend):
    """A backend that finishes at once, and a client that reads late."""
    data = pattern(8 * MIB, 4)
    server = backend(source_of(data))
    running = relay(server)
    with connect(running.address) as client:
        wait_until(lambda: not is_quiet(client, 0), what="the first bytes")
        # Small reads first, so that what is queued behind them has to wait.
        head = b"".join(receive_exactly(client, 100) for _ in range(50))
        rest, end = receive_all(client)
        assert end == FIN
        assert sha256(head + rest) == sha256(data)


def test_reset_by_the_client_reaches_the_backend(relay, backend):
    server = backend(watcher)
    running = relay(server)
    client = connect(running.address)
    client.sendall(b"half a request")
    wait_until(lambda: server.open == 1, what="the backend's connection")
    reset(client)
    assert server.result()[1] == RST


def test_reset_by_the_backend_reaches_the_client(relay, backend):
    """And so does what the backend sent before it."""
    running = relay(backend(resetter_of(b"last words")))
    with connect(running.address) as client:
        client.sendall(b"?")
        assert receive_all(client) == (b"last words", RST)


def test_reset_while_both_send(relay, backend):
    server = backend(duplex_of(pattern(32 * MIB, 5)))
    running = relay(server)
    client = connect(running.address)
    receive_exactly(client, MIB)
    client.sendall(pattern(MIB, 6))
    reset(client)
    assert server.result()[2] == RST
    with connect(running.address) as other:
        assert receive_exactly(other, 100) == pattern(32 * MIB, 5)[:100]
        reset(other)


def test_both_directions_at_once(relay, backend):
    size = 64 * MIB
    up, down = pattern(size, 7), pattern(size, 8)
    server = backend(duplex_of(down))
    running = relay(server)
    with connect(running.address) as client:
        def send():
            client.sendall(up)
            client.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        assert digest_all(client) == (size, sha256(down), FIN)
        sender.join()
    assert server.result() == (size, sha256(up), FIN)


def test_small_writes_arrive_whole(relay, backend):
    """Ten thousand small writes, without waiting for any answer."""
    server = backend(sink)
    running = relay(server)
    data = pattern(10_000 * 37, 9)
    with connect(running.address) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(data), 37):
            client.sendall(data[start:start + 37])
    assert server.result() == (len(data), sha256(data), FIN)


def test_slow_backend_stops_the_client(relay, backend, sanitized):
    server = backend(holder)
    running = relay(server)
    data = pattern(QUEUED_BYTES_MAX + 16 * MIB, 10)
    with connect(running.address) as client:
        before = running.rss_bytes()
        sent = send_until_blocked(client, data)
        assert sent < QUEUED_BYTES_MAX
        if not sanitized:
            assert running.rss_bytes() - before < RSS_GROWTH_MAX
        server.released.set()
        client.shutdown(socket.SHUT_WR)
        assert server.result() == (sent, sha256(data[:sent]), FIN)


def test_slow_client_stops_the_backend(relay, backend, sanitized):
    data = pattern(QUEUED_BYTES_MAX + 16 * MIB, 12)
    sent = []

    def flood(connection, owner):
        sent.append(send_until_blocked(connection, data))
        owner.released.wait()
        connection.shutdown(socket.SHUT_WR)
        return receive_all(connection)[1]

    server = backend(flood)
    running = relay(server)
    before = running.rss_bytes()
    with connect(running.address) as client:
        wait_until(lambda: sent, what="the backend to be stopped")
        assert sent[0] < QUEUED_BYTES_MAX
        if not sanitized:
            assert running.rss_bytes() - before < RSS_GROWTH_MAX
        server.released.set()
        assert digest_all(client) == (sent[0], sha256(data[:sent[0]]), FIN)


def test_a_stopped_connection_does_not_stop_others(relay, backend):
    """Forty clients that read nothing must not take the buffers of the one that does."""
    data = pattern(4 * MIB, 11)
    server = backend(duplex_of(data))
    running = relay(server)
    stuck = [connect(running.address) for _ in range(40)]
    wait_until(lambda: server.accepted == 40, what="40 connections")
    with connect(running.address) as client:
        client.shutdown(socket.SHUT_WR)
        assert digest_all(client) == (len(data), sha256(data), FIN)
    for client in stuck:
        client.shutdown(socket.SHUT_WR)
        assert digest_all(client) == (len(data), sha256(data), FIN)
        client.close()
