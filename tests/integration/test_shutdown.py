"""Ending: what is there may finish, nothing new comes, and nothing is left."""

import signal
import socket
import threading

import pytest

from harness.backends import FullBacklog, duplex_of, echo, greeter, holder, sha256
from harness.config import FAST_HEALTH
from harness.sockets import FIN, RST, connect, digest_all, exchange, receive_all
from harness.waiting import wait_until


def refuses(address):
    try:
        connect(address, timeout=2).close()
    except OSError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_without_connections(balancer, backend, number):
    running = balancer([backend(echo)], health=FAST_HEALTH)
    running.signal(number)
    assert running.wait_exit() == 0
    assert running.find_events("stopping")


def test_drain(balancer, backend):
    running = balancer([backend(echo)], runtime={"shutdown_timeout": "20s"})
    with connect(running.address) as client, connect(running.address) as other:
        assert exchange(client) and exchange(other)
        running.signal()
        running.wait_event("stopping")
        wait_until(lambda: refuses(running.address), what="new connections to be refused")
        assert exchange(client), "an established connection goes on"
        other.close()
        assert exchange(client, b"x" * 100_000)
        assert running.process.poll() is None
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == (b"", FIN)
    assert running.wait_exit() == 0


def test_drain_lets_a_transfer_finish(balancer, backend, forwarding):
    data = b"0123456789abcdef" * (1 << 20)
    server = backend(duplex_of(data))
    running = balancer([server], listener={"forwarding": forwarding}, runtime={"shutdown_timeout": "20s"})
    with connect(running.address) as client:
        client.sendall(data[:1000])
        running.signal()
        running.wait_event("stopping")
        client.shutdown(socket.SHUT_WR)
        assert digest_all(client) == (len(data), sha256(data), FIN)
    assert server.result() == (1000, sha256(data[:1000]), FIN)
    assert running.wait_exit() == 0


def test_second_signal_ends_at_once(balancer, backend):
    running = balancer([backend(greeter, name="g")], runtime={"shutdown_timeout": "1h"})
    with connect(running.address) as client:
        client.recv(100)
        running.signal()
        running.wait_event("stopping")
        running.signal()
        assert running.wait_exit() == 0
        assert receive_all(client)[1] == RST


def test_shutdown_timeout_resets_what_is_left(balancer, backend):
    server = backend(echo)
    running = balancer([server], runtime={"shutdown_timeout": "500ms"})
    with connect(running.address) as client:
        assert exchange(client)
        running.signal()
        assert receive_all(client) == (b"", RST)
    assert running.wait_exit() == 0
    assert server.result() == RST


def test_stuck_transfers_do_not_keep_it(balancer, backend, forwarding):
    """Both sides have stopped reading, with every buffer on the way full."""
    server = backend(holder)
    running = balancer([server], listener={"forwarding": forwarding}, runtime={"shutdown_timeout": "500ms"})
    with connect(running.address) as client:
        def fill():
            try:
                client.sendall(b"x" * (64 << 20))
            except OSError:
                pass

        sender = threading.Thread(target=fill)
        sender.start()
        wait_until(lambda: server.open == 1, what="the connection")
        running.signal()
        assert running.wait_exit() == 0
        sender.join()


def test_signal_while_connecting(balancer, closing):
    running = balancer([closing(FullBacklog())], runtime={"shutdown_timeout": "500ms"},
                       pool={"connect_timeout": "1h", "retries": 0})
    with connect(running.address) as client:
        running.signal()
        assert running.wait_exit() == 0
        assert receive_all(client)[0] == b""


def test_unix_socket_file_is_gone_afterwards(balancer, backend, tmp_path):
    path = tmp_path / "front.sock"
    running = balancer([backend(echo)], listener={"bind": f"unix:{path}"})
    assert path.exists()
    running.signal()
    assert running.wait_exit() == 0
    assert not path.exists()


def test_the_port_can_be_taken_at_once(balancer, backend):
    server = backend(echo)
    first = balancer([server])
    address = first.address
    with connect(address) as client:
        assert exchange(client)
        first.signal()
        first.wait_event("stopping")
    first.wait_exit()
    second = balancer([server], listener={"bind": f"127.0.0.1:{address[1]}"})
    with connect(second.address) as client:
        assert exchange(client)


def test_a_burst_at_the_end_is_not_lost(balancer, backend):
    """Connections that the kernel has taken when the signal comes are served or refused, but nothing hangs."""
    running = balancer([backend(echo)], runtime={"shutdown_timeout": "2s"})
    clients = [connect(running.address) for _ in range(50)]
    running.signal()
    for client in clients:
        try:
            client.sendall(b"x")
            client.recv(1)
        except OSError:
            pass
        client.close()
    assert running.wait_exit() == 0
