"""Backends of UDP that die, fail their probes, and come back: sessions pick again with their next datagram."""

import time

import pytest

from harness.backends import RefusedPort, watcher
from harness.config import FAST_HEALTH
from harness.datagrams import ask, ask_all, ask_patiently, name_and_echo, pending, receive_from_each
from harness.servers import has_ipv6
from harness.sockets import is_quiet, pattern
from harness.waiting import wait_until

FAMILIES = ["127.0.0.1", pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here"))]


@pytest.fixture
def named(udp_backend):
    """Backends that say their name and what they were asked."""
    return lambda names, host="127.0.0.1": [udp_backend(name_and_echo, name=name, address=(host, 0)) for name in names]


def names_of(answers):
    return [answer.split(b" ", 1)[0].decode() for answer in answers]


# Killed: datagrams to it bring back ICMP errors.


@pytest.mark.parametrize("failures", [0, 3])
@pytest.mark.parametrize("host", FAMILIES)
def test_nothing_is_lost_when_a_backend_dies(udp_balancer, named, client, host, failures):
    """Neither with each session finding out for itself (failures = 0), nor when the first ones eject the backend."""
    dying, heir = named("ab", host)
    running = udp_balancer([dying, heir], pool={"balance": "first"}, passive={"failures": failures})
    clients = [client(running.address) for _ in range(30)]
    assert ask_all(clients, [b"before"] * 30) == [b"a before"] * 30
    dying.stop()
    for round_ in range(3):
        questions = [b"%d of %d" % (round_, number) for number in range(30)]
        assert ask_all(clients, questions) == [b"b " + question for question in questions]
    assert not pending(clients)
    assert heir.count == 90, "each of them once"
    assert len(heir.sources) == 30


@pytest.mark.parametrize("equal", [False, True], ids=["of different sizes", "of one size"])
def test_several_in_flight_to_a_dead_backend(udp_balancer, named, client, equal):
    """What a client has sent before the first ICMP error came is sent again too. Equal ones may have left as a train."""
    dying, heir = named("ab")
    running = udp_balancer([dying, heir], pool={"balance": "first"})
    clients = [client(running.address) for _ in range(5)]
    ask_all(clients, [b"before"] * 5)
    dying.stop()
    questions = [b"question %d" % number + (b"" if equal else b"?" * number) for number in range(6)]
    for question in questions:
        for visitor in clients:
            visitor.send(question)
    for answers in receive_from_each(clients, len(questions)):
        assert sorted(answers) == [b"b " + question for question in questions]


@pytest.mark.parametrize("size", [1200, 9000, 40_000])
def test_large_datagrams_find_another_backend(udp_balancer, named, client, size):
    """An ICMP error quotes the beginning of a datagram only, so that one may be lost; the next goes elsewhere."""
    dying, heir = named("ab")
    running = udp_balancer([dying, heir], pool={"balance": "first"})
    visitor = client(running.address)
    data = pattern(size, size)
    assert ask(visitor, data) == b"a " + data
    dying.stop()
    answer, questions = ask_patiently(visitor, data)
    assert answer == b"b " + data
    assert set(heir.datagrams) == {data} and heir.count <= questions, "nothing but whole ones"


def test_two_dead_of_three(udp_balancer, named, client):
    """A datagram that finds a second dead backend goes on to the third."""
    servers = named("abc")
    running = udp_balancer(servers, pool={"balance": "first"}, passive={"failures": 0})
    visitor = client(running.address)
    assert ask(visitor, b"before") == b"a before"
    servers[0].stop()
    servers[1].stop()
    assert ask(visitor, b"after") == b"c after"
    assert ask(visitor, b"and again") == b"c and again"


def test_dead_from_the_start(udp_balancer, named, client):
    servers = named("ab")
    servers[0].stop()
    running = udp_balancer(servers, pool={"balance": "first"})
    clients = [client(running.address) for _ in range(10)]
    assert names_of(ask_all(clients, [b"hello"] * 10)) == ["b"] * 10


def test_the_only_backend_is_restarted(udp_balancer, named, client):
    """Sessions and the listener outlive it."""
    (server,) = named("a")
    running = udp_balancer([server])
    running.expected_errors.add("pool_down")
    clients = [client(running.address) for _ in range(5)]
    for _ in range(3):
        assert [ask_patiently(visitor)[0] for visitor in clients] == [b"a ?"] * 5
        server.stop()
        for visitor in clients:
            visitor.send(b"?")
        server.listen()
    assert [ask_patiently(visitor)[0] for visitor in clients] == [b"a ?"] * 5


def test_an_ejected_backend_is_tried_again(udp_balancer, named, client):
    """Passive failures alone take it out of the rotation, and time alone brings it back."""
    servers = named("ab")
    running = udp_balancer(servers, pool={"balance": "first"}, passive={"failures": 2, "ejection": "500ms"})
    clients = [client(running.address) for _ in range(6)]
    ask_all(clients, [b"before"] * 6)
    servers[0].stop()
    assert names_of(ask_all(clients, [b"after"] * 6)) == ["b"] * 6
    running.wait_event("backend_down", backend="a")
    servers[0].listen()
    wait_until(lambda: names_of([ask(client(running.address))]) == ["a"], what="new sessions at the restarted backend")


def test_the_others_notice_nothing(udp_balancer, named, client):
    """Sessions of the other backends keep their backends and their ports there."""
    servers = named("abc")
    running = udp_balancer(servers, pool={"balance": "round_robin"}, runtime={"workers": 1})
    clients = [client(running.address) for _ in range(30)]
    questions = [b"%d" % number for number in range(30)]
    before = names_of(ask_all(clients, questions))
    ports = [dict((data, peer) for data, peer in server.received) for server in servers]
    servers[0].stop()
    for _ in range(3):
        after = names_of(ask_all(clients, questions))
        assert "a" not in after
        assert all(now == then for now, then in zip(after, before, strict=True) if then != "a")
    for server, was in zip(servers[1:], ports[1:], strict=True):
        for data, peer in server.received:
            assert data not in was or was[data] == peer


def test_no_way_to_a_backend(udp_balancer, network, client, udp_backend):
    """The kernel's own refusal to send, as when a route is gone, counts as an ICMP error does."""
    machine = network.namespace()
    machine.ip("route", "add", "unreachable", "203.0.113.0/24")
    server = udp_backend(name_and_echo, name="b", new_socket=machine.socket)
    running = udp_balancer([{"address": "203.0.113.1:9", "name": "a"}, server], pool={"balance": "first"}, namespace=machine)
    clients = [client(running.address, new_socket=machine.socket) for _ in range(10)]
    for visitor in clients:
        assert ask_patiently(visitor)[0] == b"b ?"
    assert names_of(ask_all(clients, [b"again"] * 10)) == ["b"] * 10


# Errors that clients cause.


def test_clients_that_leave_before_their_answers(udp_balancer, udp_backend, client):
    """What the kernels of such clients send back concerns nobody else."""
    server = udp_backend(lambda data, _peer, _owner: None if data == b"wait" else [data])
    running = udp_balancer([server], runtime={"workers": 1})
    staying, newcomer = client(running.address), client(running.address)
    assert ask(staying, b"hello") == b"hello"
    upstream_of_staying = server.sources[0]
    leaving = [client(running.address) for _ in range(50)]
    for visitor in leaving:
        visitor.send(b"wait")
    wait_until(lambda: server.datagrams.count(b"wait") == 50, what="all questions")
    addresses = [visitor.getsockname() for visitor in leaving]
    for visitor in leaving:
        visitor.close()
    for number, peer in enumerate(server.sources[1:]):
        server.say(b"too late", peer)
        server.say(b"much too late", peer)
        assert ask(staying, b"%d" % number) == b"%d" % number
    assert ask(newcomer, b"me too") == b"me too"
    assert server.sources[0] == upstream_of_staying and len(server.sources) == 52
    # The same client may come back, to its session.
    assert ask(client(running.address, source=addresses[0]), b"back") == b"back"
    assert len(server.sources) == 52
    assert not running.find_events("backend_down")


# Down by probes.


@pytest.fixture
def checked(named, backend):
    """Two backends and what tells their health: TCP listeners with one port number at their addresses."""

    def start():
        (first,), (second,) = named("a", "127.0.0.1"), named("b", "127.0.0.2")
        first_check = backend(watcher)
        second_check = backend(watcher, address=("127.0.0.2", first_check.address[1]))
        return [first, second], [first_check, second_check]

    return start


def test_down_by_probe_and_up_again(udp_balancer, checked, client):
    """A backend that its probes call down gets no further datagram, even though it would answer."""
    servers, checks = checked()
    running = udp_balancer(servers, pool={"balance": "first"}, health=FAST_HEALTH | {"port": checks[0].address[1]})
    clients = [client(running.address) for _ in range(10)]
    assert names_of(ask_all(clients, [b"1"] * 10)) == ["a"] * 10
    checks[0].stop_listening()
    running.wait_event("backend_down", backend="a")
    before = servers[0].count
    assert names_of(ask_all(clients, [b"2"] * 10)) == ["b"] * 10
    assert names_of(ask_all(clients, [b"3"] * 10)) == ["b"] * 10
    assert servers[0].count == before
    checks[0].listen()
    running.wait_event("backend_up", backend="a")
    wait_until(lambda: names_of([ask(client(running.address))]) == ["a"], what="new sessions at the backend that is back")
    assert names_of(ask_all(clients, [b"4"] * 10)) == ["b"] * 10, "sessions stay where they are"


def all_down(udp_balancer, named, closing, fail_open):
    servers = named("ab")
    port = closing(RefusedPort()).address[1]
    running = udp_balancer(servers, pool={"balance": "round_robin", "fail_open": fail_open},
                           health=FAST_HEALTH | {"port": port})
    running.expected_errors.add("pool_down")
    for name in "ab":
        running.wait_event("backend_down", backend=name)
    return running, servers


def test_fail_open(udp_balancer, named, closing, client):
    running, _ = all_down(udp_balancer, named, closing, True)
    clients = [client(running.address) for _ in range(10)]
    wait_until(lambda: ask_patiently(clients[0]), what="service")
    names = [names_of(ask_all(clients, [b"%d" % round_] * 10)) for round_ in range(3)]
    assert set(names[0]) == {"a", "b"}
    assert names[1:] == names[:1] * 2, "sessions stay with their backends"


def test_sessions_stay_when_no_backend_is_better(udp_balancer, named, closing, client):
    """Looking for a backend that is up, now and then, is no reason to go to another one that is down as well."""
    running, servers = all_down(udp_balancer, named, closing, True)
    visitor = client(running.address)
    wait_until(lambda: ask_patiently(visitor), what="service")
    end = time.monotonic() + 2.5
    names = set()
    while time.monotonic() < end:
        names.add(ask(visitor))
        assert is_quiet(visitor, 0.05)
    assert len(names) == 1, names
    assert sorted(len(server.sources) for server in servers) == [0, 1]


def test_fail_closed(udp_balancer, named, closing, client):
    running, servers = all_down(udp_balancer, named, closing, False)
    visitor = client(running.address)

    def is_refused():
        before = sum(server.count for server in servers)
        visitor.send(b"?")
        with pytest.raises((TimeoutError, ConnectionRefusedError)):
            visitor.settimeout(0.1)
            visitor.recv(100)
        return sum(server.count for server in servers) == before

    wait_until(is_refused, what="datagrams to be dropped")
    assert all(is_refused() for _ in range(3))
    assert running.stopped()["datagrams_dropped"] >= 4


def probed(data, _peer, owner):
    """Answers probes as its attribute `mood` says, and everything else with its name."""
    if data != b"are you well?":
        return [owner.name.encode() + b" " + data]
    return {"well": [b"I am well, thanks"], "ill": [b"I am ill"], "mute": None}[owner.mood]


def test_udp_probes(udp_balancer, udp_backend, client):
    """A datagram whose answer must start right. The backend's own port answers, as a DNS server does."""
    servers = [udp_backend(probed, name=name) for name in "abc"]
    for server in servers:
        server.mood = "well"
    running = udp_balancer(servers, pool={"balance": "round_robin"}, runtime={"workers": 1},
                           health=FAST_HEALTH | {"type": "udp", "send": "are you well?", "expect": "I am well"})
    clients = [client(running.address) for _ in range(6)]
    wait_until(lambda: all(server.count >= 3 for server in servers), what="probes")
    assert sorted(names_of(ask_all(clients, [b"hello"] * 6))) == list("aabbcc")
    servers[0].mood, servers[1].mood = "ill", "mute"
    for name in "ab":
        running.wait_event("backend_down", backend=name)
    assert names_of(ask_all(clients, [b"hello"] * 6)) == ["c"] * 6
    servers[0].mood = servers[1].mood = "well"
    for name in "ab":
        running.wait_event("backend_up", backend=name)
    wait_until(lambda: set(names_of(ask_all(fresh := [client(running.address) for _ in range(3)], [b"new"] * 3))) == set("abc")
               and fresh, what="new sessions everywhere")
    assert not running.find_events("backend_down", backend="c")


def test_udp_probes_find_a_killed_backend(udp_balancer, udp_backend, client):
    servers = [udp_backend(probed, name=name) for name in "ab"]
    for server in servers:
        server.mood = "well"
    running = udp_balancer(servers, pool={"balance": "first"},
                           health=FAST_HEALTH | {"type": "udp", "send": "are you well?"})
    visitor = client(running.address)
    assert ask(visitor, b"1") == b"a 1"
    servers[0].stop()
    assert running.wait_event("backend_down", backend="a").get("reason")
    assert ask(visitor, b"2") == b"b 2"
    servers[0].listen()
    running.wait_event("backend_up", backend="a")
    wait_until(lambda: ask(client(running.address), b"3") == b"a 3", what="the restarted backend to be used")
