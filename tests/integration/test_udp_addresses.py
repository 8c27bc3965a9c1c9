"""Addresses of UDP: an answer comes from the very address that was asked, whatever the listener is bound to.

The clients' sockets are connected: the kernel gives them nothing from any other address.
"""

import pytest

from harness.backends import echo as echo_stream
from harness.datagrams import DATAGRAM_BYTES_MAX, ask, ask_all, echo, name_and_echo, pending
from harness.servers import has_ipv6
from harness.sockets import connect, exchange, free_port, pattern

needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")


def test_any_address(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(echo)], listener={"bind": "*:0"})
    port = running.address[1]
    hosts = ["127.0.0.1", "127.0.0.2", "127.1.2.3", *(["::1"] if has_ipv6() else [])]
    clients = [client((host, port)) for host in hosts]
    for number in range(3):
        questions = [f"{number} {host}".encode() for host in hosts]
        assert ask_all(clients, questions) == questions
    assert not pending(clients)


def test_any_address_of_one_family(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(echo)], listener={"bind": "0.0.0.0:0"})
    for host in ("127.0.0.1", "127.0.0.2"):
        assert ask(client((host, running.address[1])), host.encode()) == host.encode()


@needs_ipv6
def test_any_address_of_ipv6_only(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(echo)], listener={"bind": "[::]:0"})
    assert ask(client(("::1", running.address[1])), b"six") == b"six"


def test_the_address_asked_is_part_of_a_session(udp_balancer, udp_backend, client):
    """One client's port, two local addresses: two sessions, and no answer goes astray."""
    server = udp_backend(echo)
    running = udp_balancer([server], listener={"bind": "*:0"})
    port = running.address[1]
    one = client(("127.0.0.1", port), source=("127.0.0.1", 0))
    two = client(("127.0.0.2", port), source=one.getsockname())
    assert one.getsockname() == two.getsockname()
    for number in range(5):
        assert ask_all([one, two], [b"one %d" % number, b"two %d" % number]) == [b"one %d" % number, b"two %d" % number]
    assert len(server.sources) == 2
    for source in server.sources:
        assert len({data.split()[0] for data, peer in server.received if peer == source}) == 1
    assert running.stopped()["udp_sessions"] == 2


@needs_ipv6
def test_ipv6_on_both_sides(udp_balancer, udp_backend, client):
    server = udp_backend(echo, address=("::1", 0))
    running = udp_balancer([server], listener={"bind": "[::1]:0"})
    assert running.address[0] == "::1"
    visitor = client(running.address)
    # 20 bytes more than over IPv4, since its header does not count.
    for size in (0, 1, 1452, 9000, DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MAX + 20):
        assert ask(visitor, pattern(size, size)) == pattern(size, size)
    assert len(server.sources) == 1


@needs_ipv6
@pytest.mark.parametrize("front, back", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_one_family_in_front_of_the_other(udp_balancer, udp_backend, client, front, back):
    running = udp_balancer([udp_backend(echo, address=(back, 0))],
                           listener={"bind": f"[{front}]:0" if ":" in front else f"{front}:0"})
    visitor = client(running.address)
    for size in (0, 1200, 9000):
        assert ask(visitor, pattern(size, size)) == pattern(size, size)


@needs_ipv6
def test_backends_of_both_families(udp_balancer, udp_backend, client):
    servers = [udp_backend(name_and_echo, name="four"), udp_backend(name_and_echo, name="six", address=("::1", 0))]
    running = udp_balancer(servers, listener={"bind": "*:0"}, pool={"balance": "round_robin"}, runtime={"workers": 1})
    port = running.address[1]
    for host in ("127.0.0.1", "::1"):
        answers = ask_all([client((host, port)) for _ in range(2)], [b"hello"] * 2)
        assert set(answers) == {b"four hello", b"six hello"}


def test_tcp_and_udp_on_one_port_number(balancer, backend, udp_backend, client):
    """Ports of TCP and of UDP are different things with the same names, on both sides."""
    port = free_port()
    for _ in range(20):
        stream_server = backend(echo_stream)
        try:
            datagram_server = udp_backend(echo, address=stream_server.address)
            break
        except OSError:  # that number was taken
            continue
    running = balancer([stream_server], listener={"bind": f"127.0.0.1:{port}"},
                       more_listeners={"datagrams": {"protocol": "udp", "bind": f"127.0.0.1:{port}"}})
    visitor = client(("127.0.0.1", port))
    with connect(("127.0.0.1", port)) as stream:
        for number in range(10):
            assert exchange(stream, b"stream %d" % number)
            assert ask(visitor, b"datagram %d" % number) == b"datagram %d" % number
    assert datagram_server.count == 10
    assert stream_server.accepted == 1


@pytest.fixture
def three_machines(network):
    """A client's, the balancer's and a server's, joined by two cables; the balancer has two addresses per family."""
    near, middle, far = network.namespace(), network.namespace(), network.namespace()
    six = has_ipv6()
    network.join(near, middle, ["192.0.2.1/24", *(["2001:db8:1::1/64"] if six else [])],
                 ["192.0.2.2/24", "192.0.2.3/24", *(["2001:db8:1::2/64", "2001:db8:1::3/64"] if six else [])])
    network.join(middle, far, ["198.51.100.1/24"], ["198.51.100.2/24"])
    return near, middle, far


def test_any_address_between_machines(three_machines, udp_balancer, udp_backend, client):
    near, middle, far = three_machines
    server = udp_backend(echo, address=("198.51.100.2", 0), new_socket=far.socket)
    running = udp_balancer([server], listener={"bind": "*:0"}, namespace=middle)
    hosts = ["192.0.2.2", "192.0.2.3", *(["2001:db8:1::2", "2001:db8:1::3"] if has_ipv6() else [])]
    clients = [client((host, running.address[1]), new_socket=near.socket) for host in hosts]
    for number in range(3):
        questions = [f"{number} {host}".encode() for host in hosts]
        assert ask_all(clients, questions) == questions
    assert {host for host, _ in server.sources} == {"198.51.100.1"}
    assert running.stopped()["udp_sessions"] == len(hosts)


def test_an_address_that_came_later(three_machines, udp_balancer, udp_backend, client):
    """A listener on every address serves those that the machine gets while it runs, as a VIP moves to it."""
    near, middle, far = three_machines
    running = udp_balancer([udp_backend(echo, address=("198.51.100.2", 0), new_socket=far.socket)],
                           listener={"bind": "*:0"}, namespace=middle)
    middle.ip("address", "add", "192.0.2.77/32", "dev", "veth0")
    visitor = client(("192.0.2.77", running.address[1]), new_socket=near.socket)
    assert ask(visitor, b"hello") == b"hello"
