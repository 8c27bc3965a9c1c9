"""Trains of datagrams, as QUIC and bulk senders hand them to the kernel: cheap on their way, boundaries as they were."""

import signal

import pytest

from harness.datagrams import (
    DATAGRAM_BYTES_MAX, GOODBYE, ask, echo, has_segmentation, receive_from_each, segments, send_train, sink)
from harness.servers import has_ipv6
from harness.sockets import pattern
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(not has_segmentation(), reason="this kernel does not segment datagrams (UDP_SEGMENT)")

# (size of a segment, number of them, bytes of a shorter last one)
TRAINS = [(1200, 40, 0), (1200, 40, 7), (1452, 10, 1451), (100, 60, 1), (1, 50, 0), (1200, 1, 600), (1200, 1, 0)]


def train(shape, seed):
    size, count, rest = shape
    return pattern(size * count + rest, seed)


class Route:
    """How a test gets from clients to backends: over loopback, or over cables between namespaces."""

    def __init__(self, near=None, middle=None, far=None, host="127.0.0.1", far_host="127.0.0.1"):
        self.namespace = middle
        self.near = {"new_socket": near.socket} if near else {}
        self.far = {"address": (far_host, 0)} | ({"new_socket": far.socket} if far else {})
        self.listener = {"bind": f"[{host}]:0" if ":" in host else f"{host}:0"}


def cables(network, near_mtu=1500, far_mtu=1500, ipv6=False):
    if ipv6 and not has_ipv6():
        pytest.skip("no IPv6 on this machine")
    near, middle, far = network.namespace(), network.namespace(), network.namespace()
    networks = ("2001:db8:1::{}", "2001:db8:2::{}") if ipv6 else ("192.0.2.{}", "198.51.100.{}")
    bits = 64 if ipv6 else 24
    network.join(near, middle, [f"{networks[0].format(1)}/{bits}"], [f"{networks[0].format(2)}/{bits}"], near_mtu)
    network.join(middle, far, [f"{networks[1].format(1)}/{bits}"], [f"{networks[1].format(2)}/{bits}"], far_mtu)
    return Route(near, middle, far, networks[0].format(2), networks[1].format(2))


@pytest.fixture(params=["loopback", "veth", "veth, IPv6"])
def route(request):
    if request.param == "loopback":
        return Route()
    return cables(request.getfixturevalue("network"), ipv6=request.param.endswith("IPv6"))


@pytest.fixture
def relay(udp_balancer, udp_backend, client):
    """A balancer on a route, its backend and a client: relay(route, handler)."""

    def start(route, handler, **tables):
        server = udp_backend(handler, **route.far)
        running = udp_balancer([server], listener=route.listener, namespace=route.namespace, **tables)
        return running, server, client(running.address, **route.near)

    return start


def test_boundaries_and_content(relay, route):
    """Both ways: the backend answers each datagram by itself."""
    running, server, visitor = relay(route, echo)
    expected = []
    for seed, shape in enumerate(TRAINS * 3):
        payload = train(shape, seed)
        send_train(visitor, payload, shape[0])
        datagrams = segments(payload, shape[0])
        assert receive_from_each([visitor], len(datagrams)) == [datagrams]
        expected += datagrams
    assert server.datagrams == expected
    assert len(server.sources) == 1
    assert running.stopped()["datagrams_dropped"] == 0


def test_trains_stay_trains(relay, route):
    """From a client: as many messages as trains, or nearly so."""
    running, server, visitor = relay(route, sink)
    payload = pattern(1200 * 40, 1)
    for round_ in range(50):
        send_train(visitor, payload, 1200)
        wait_until(lambda expected=40 * (round_ + 1): server.count >= expected, what="a train to arrive")
    assert server.datagrams == segments(payload, 1200) * 50
    assert ask(visitor, GOODBYE) == GOODBYE
    stopped = running.stopped()
    assert stopped["datagrams_in"] == stopped["datagrams_out"] == 2002
    assert stopped["messages_in"] <= 200 and stopped["messages_out"] <= 200, stopped


def test_trains_of_a_backend_stay_trains(relay, route):
    running, server, visitor = relay(route, echo)
    assert ask(visitor, b"hello") == b"hello"
    payload = pattern(1200 * 40 + 5, 1)
    for _ in range(50):
        server.say_train(payload, 1200, server.sources[0])
        assert receive_from_each([visitor], 41) == [segments(payload, 1200)]
    stopped = running.stopped()
    assert stopped["datagrams_in"] == stopped["datagrams_out"] == 2052
    assert stopped["messages_in"] <= 205 and stopped["messages_out"] <= 205, stopped


def test_trains_of_many_clients(udp_balancer, udp_backend, client):
    servers = [udp_backend(echo, name=name) for name in "ab"]
    running = udp_balancer(servers)
    clients = [client(running.address) for _ in range(10)]
    for round_ in range(10):
        trains = [train((1000 + number, 5, 1 + number), 10 * round_ + number) for number in range(10)]
        for number, visitor in enumerate(clients):
            send_train(visitor, trains[number], 1000 + number)
        assert receive_from_each(clients, 6) == [
            segments(payload, 1000 + number) for number, payload in enumerate(trains)]


# Trains that nobody has asked for: single datagrams that wait together.


class Burst:
    """While it lasts the balancer stands still, so that what is sent waits for it and is found in one pass."""

    def __init__(self, running):
        self._running = running

    def __enter__(self):
        self._running.signal(signal.SIGSTOP)
        wait_until(lambda: self._running.stands_still(), what="the balancer to stand still")

    def __exit__(self, *_):
        self._running.signal(signal.SIGCONT)


def test_equal_datagrams_leave_together(relay, route):
    running, server, visitor = relay(route, sink)
    datagrams = [pattern(1200, number) for number in range(40)]
    for round_ in range(5):
        with Burst(running):
            for data in datagrams:
                visitor.send(data)
        wait_until(lambda expected=40 * (round_ + 1): server.count >= expected, what="the burst to arrive")
    assert server.datagrams == datagrams * 5
    assert ask(visitor, GOODBYE) == GOODBYE
    stopped = running.stopped()
    assert stopped["datagrams_out"] == 202
    assert stopped["messages_out"] <= 50, stopped


def test_equal_answers_leave_together(relay, route):
    running, server, visitor = relay(route, echo)
    assert ask(visitor, b"hello") == b"hello"
    datagrams = [pattern(1200, number) for number in range(40)]
    for _ in range(5):
        with Burst(running):
            for data in datagrams:
                server.say(data, server.sources[0])
        assert receive_from_each([visitor], 40) == [datagrams]
    stopped = running.stopped()
    assert stopped["datagrams_out"] == 202
    assert stopped["messages_out"] <= 52, stopped


MIXED = [1200] * 5 + [0] + [1200] * 3 + [1199, 1200, 1200, 1] + [0, 0] + [300] * 6 + [301, 5, 5, 5, 4, 5] + [1400] * 4


def test_mixed_sizes_keep_their_boundaries(relay, route):
    running, server, visitor = relay(route, echo)
    datagrams = [pattern(size, number) for number, size in enumerate(MIXED)]
    for _ in range(5):
        with Burst(running):
            for data in datagrams:
                visitor.send(data)
        assert receive_from_each([visitor], len(datagrams)) == [datagrams]
    assert server.datagrams == datagrams * 5


def test_bursts_of_several_clients_do_not_mix(udp_balancer, udp_backend, client):
    """Equal sizes, interleaved, and trains among them."""
    servers = [udp_backend(echo, name=name) for name in "ab"]
    running = udp_balancer(servers)
    clients = [client(running.address) for _ in range(4)]
    for round_ in range(5):
        expected = [[] for _ in clients]
        with Burst(running):
            for number in range(8):
                for index, visitor in enumerate(clients):
                    data = pattern(500, 1000 * round_ + 10 * number + index)
                    if (number + index) % 4 == 0:
                        send_train(visitor, data, 125)
                        expected[index] += segments(data, 125)
                    else:
                        visitor.send(data)
                        expected[index].append(data)
        assert receive_each(clients, [len(each) for each in expected]) == expected


def receive_each(clients, counts):
    return [receive_from_each([visitor], count)[0] for visitor, count in zip(clients, counts, strict=True)]


# Ways that are too narrow.


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_datagrams_larger_than_the_way(relay, network, ipv6):
    """They arrive in fragments and leave in fragments: nobody is told to send less."""
    running, server, visitor = relay(cables(network, ipv6=ipv6), echo)
    for size in (1400, 1500, 4000, 30_000, DATAGRAM_BYTES_MAX):
        data = pattern(size, size)
        for _ in range(3):
            assert ask(visitor, data) == data
    assert running.stopped()["datagrams_dropped"] == 0


@pytest.mark.parametrize("ipv6", [False, True], ids=["IPv4", "IPv6"])
def test_trains_whose_segments_do_not_fit_the_way(relay, network, ipv6):
    """The client's side takes them, the backend's does not: the kernel refuses such a train, not its datagrams."""
    running, server, visitor = relay(cables(network, near_mtu=9000, ipv6=ipv6), echo)
    expected = []
    for seed, shape in enumerate([(1200, 20, 0), (4000, 10, 0), (4000, 10, 17), (8900, 7, 1), (1200, 20, 3)] * 2):
        payload = train(shape, seed)
        send_train(visitor, payload, shape[0])
        datagrams = segments(payload, shape[0])
        assert receive_from_each([visitor], len(datagrams)) == [datagrams]
        expected += datagrams
    assert server.datagrams == expected
    assert running.stopped()["datagrams_dropped"] == 0


def test_bursts_that_do_not_fit_the_way(relay, network):
    """The same with single datagrams, of which the balancer itself would make a train."""
    running, server, visitor = relay(cables(network, near_mtu=9000), echo)
    datagrams = [pattern(4000, number) for number in range(10)]
    for _ in range(3):
        with Burst(running):
            for data in datagrams:
                visitor.send(data)
        assert receive_from_each([visitor], 10) == [datagrams]
    assert server.datagrams == datagrams * 3
