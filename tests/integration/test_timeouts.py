"""Connections that take too long. No test says how fast; they say that the end comes, and that it comes to the right
connections only."""

import socket
import time

from harness.backends import echo, holder, watcher
from harness.sockets import FIN, RST, connect, exchange, receive_all, receive_exactly
from harness.waiting import wait_until


def test_idle_timeout_ends_both_sides(balancer, backend, forwarding):
    server = backend(watcher)
    running = balancer([server], listener={"idle_timeout": "300ms", "forwarding": forwarding})
    with connect(running.address) as client:
        client.sendall(b"and then nothing")
        data, end = receive_all(client)
        assert data == b"" and end in (FIN, RST)
    assert server.result()[0] == b"and then nothing"


def test_traffic_in_one_direction_is_not_idle(balancer, backend, forwarding):
    """Bytes from the backend only, for several times the idle timeout."""

    def drip(connection, _backend):
        end = time.monotonic() + 1.5
        count = 0
        while time.monotonic() < end:
            connection.sendall(b".")
            count += 1
            _backend.released.wait(0.05)
        connection.shutdown(socket.SHUT_WR)
        return count, receive_all(connection)[1]

    server = backend(drip)
    running = balancer([server], listener={"idle_timeout": "500ms", "forwarding": forwarding})
    with connect(running.address) as client:
        data, end = receive_all(client)
    assert end == FIN
    assert server.result() == (len(data), FIN)


def test_idle_timeout_leaves_busy_connections_alone(balancer, backend):
    running = balancer([backend(echo)], listener={"idle_timeout": "500ms"})
    with connect(running.address) as idle, connect(running.address) as busy:
        exchange(idle)
        busy.settimeout(20)
        idle.setblocking(False)

        def idle_ended():
            assert exchange(busy)
            try:
                return idle.recv(1) == b""
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True

        wait_until(idle_ended, what="the idle connection to end")
        assert exchange(busy)


def test_half_close_timeout(balancer, backend, forwarding):
    """The client has finished and the backend says nothing more."""
    server = backend(holder)
    running = balancer([server], listener={"half_close_timeout": "300ms", "forwarding": forwarding})
    with connect(running.address) as client:
        client.sendall(b"bye")
        client.shutdown(socket.SHUT_WR)
        data, end = receive_all(client)
        assert data == b"" and end in (FIN, RST)
    server.released.set()


def test_half_close_timeout_does_not_touch_open_connections(balancer, backend):
    running = balancer([backend(echo), ], listener={"half_close_timeout": "200ms"})
    with connect(running.address) as client, connect(running.address) as finished:
        exchange(client)
        finished.shutdown(socket.SHUT_WR)
        receive_all(finished)
        with connect(running.address) as other:
            other.sendall(b"x")
            receive_exactly(other, 1)
        assert exchange(client)


def test_max_connection_duration_ends_a_busy_connection(balancer, backend):
    running = balancer([backend(echo)], listener={"max_connection_duration": "500ms"})
    with connect(running.address) as client:
        def ended():
            try:
                client.sendall(b"x")
                return client.recv(1) == b""
            except (ConnectionResetError, BrokenPipeError):
                return True

        wait_until(ended, what="the connection to end")


def test_zero_means_never(balancer, backend):
    running = balancer([backend(echo)], listener={"idle_timeout": "0s", "half_close_timeout": "0s",
                                                  "max_connection_duration": "0s"})
    with connect(running.address) as client:
        assert exchange(client)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == (b"", FIN)
