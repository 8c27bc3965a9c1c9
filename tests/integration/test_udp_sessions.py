"""Sessions of UDP: how they end, how many there may be, and what they cost."""

import random
import resource

import pytest

from harness.config import backend_entry
from harness.datagrams import (
    GOODBYE, ask, ask_all, ask_patiently, echo, name_and_echo, pending, receive_from_each, send_once, sink)
from harness.sockets import is_quiet
from harness.waiting import wait_until

SESSION_BYTES_MAX = 600  # of the balancer's own memory


def loopback_sources(count):
    """Addresses of many clients, in no order; the same ones each time."""
    numbers = random.Random(count).sample(range(1 << 16, (1 << 24) - 2), count)
    return [f"127.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in numbers]


def visit_once(address, sources, servers, batch=100):
    """One datagram of each source, no faster than they are forwarded."""
    before = sum(server.count for server in servers)
    for start in range(0, len(sources), batch):
        for source in sources[start:start + batch]:
            send_once(address, source)
        wait_until(lambda expected=before + min(start + batch, len(sources)):
                   sum(server.count for server in servers) >= expected, what="all datagrams to be forwarded")


# How they end.


def test_silence_ends_a_session(udp_balancer, udp_backend, client):
    """The next datagram makes a new one, which the backend sees from another port."""
    server = udp_backend(echo)
    running = udp_balancer([server], listener={"idle_timeout": "200ms"})
    visitor = client(running.address)
    assert ask(visitor) == b"?"

    def is_another():
        assert is_quiet(visitor, 0.4)
        return ask(visitor) == b"?" and len(server.sources) > 1

    wait_until(is_another, what="another session")
    assert running.stopped()["udp_sessions"] >= 2


def test_a_silent_client_frees_its_place(udp_balancer, udp_backend, client):
    server = udp_backend(echo)
    running = udp_balancer([server], listener={"idle_timeout": "500ms"}, pool={"max_connections_per_backend": 1})
    first, second = client(running.address), client(running.address)
    assert ask(first) == b"?"
    assert ask_patiently(second)[0] == b"?"
    assert len(server.sources) == 2


def test_the_longest_duration_ends_a_session_in_use(udp_balancer, udp_backend, client):
    server = udp_backend(echo)
    running = udp_balancer([server], listener={"max_connection_duration": "300ms"})
    visitor = client(running.address)
    wait_until(lambda: ask(visitor) == b"?" and len(server.sources) >= 3, what="a third session")
    assert not pending([visitor])


def test_the_expected_answer_ends_a_session(udp_balancer, udp_backend, client):
    """With responses = 1 a second answer is late, and reaches nobody: neither this session nor the next one."""
    server = udp_backend(lambda data, _peer, _owner: [b"answer " + data, b"late " + data])
    running = udp_balancer([server], listener={"responses": 1})
    visitor = client(running.address)
    for number in range(20):
        assert ask(visitor, b"%d" % number) == b"answer %d" % number
    stopped = running.stopped()
    assert not pending([visitor])
    assert stopped["udp_sessions"] == 20
    assert 1 <= stopped["datagrams_dropped"] <= 20


def test_answers_are_counted_by_requests(udp_balancer, udp_backend, client):
    """Two answers to each of three requests that came before the first answer: six, and not one more."""
    def answer(data, _peer, _owner):
        return [b"%d" % number for number in range(7)] if data == b"third" else None

    server = udp_backend(answer)
    running = udp_balancer([server], listener={"responses": 2})
    visitor = client(running.address)
    for _ in range(3):
        for data in (b"first", b"second", b"third"):
            visitor.send(data)
        assert [visitor.recv(100) for _ in range(6)] == [b"%d" % number for number in range(6)]
    assert running.stopped()["udp_sessions"] == 3
    assert not pending([visitor])


# How many there may be.


def test_a_flood_of_one_packet_clients(udp_balancer, udp_backend, client):
    """It is shed by eviction; conversations keep their sessions."""
    servers = [udp_backend(echo, name=name) for name in "ab"]
    running = udp_balancer(servers, listener={"max_sessions": 100})
    clients = [client(running.address) for _ in range(20)]
    questions = [b"client %d" % number for number in range(20)]
    for _ in range(2):
        assert ask_all(clients, questions) == questions
    sources = loopback_sources(2000)
    for start in range(0, len(sources), 200):
        visit_once(running.address, sources[start:start + 200], servers, batch=50)
        assert ask_all(clients, questions) == questions
    assert not pending(clients)
    for server in servers:
        by_client = {(data, peer) for data, peer in server.received if data != b"once"}
        assert len(by_client) == len({data for data, _ in by_client}), "each conversation has kept its port"
    stopped = running.stopped()
    assert stopped["udp_sessions"] == 2020
    assert 1900 <= stopped["udp_evicted"] <= 2000


def test_conversations_are_not_evicted(udp_balancer, udp_backend, client):
    """When every session is one, a newcomer is left out until there is room."""
    server = udp_backend(echo)
    running = udp_balancer([server], listener={"max_sessions": 10}, runtime={"workers": 1})
    clients = [client(running.address) for _ in range(10)]
    for _ in range(2):
        ask_all(clients, [b"hello"] * 10)
    newcomer = client(running.address)
    for _ in range(5):
        newcomer.send(b"let me in")
        assert ask_all(clients, [b"still here"] * 10) == [b"still here"] * 10
    assert not pending([newcomer])
    assert b"let me in" not in server.datagrams
    stopped = running.stopped()
    assert stopped["udp_sessions"] == 10 and stopped["udp_evicted"] == 0 and stopped["datagrams_dropped"] == 5


def test_backend_limits_hold(udp_balancer, udp_backend, client):
    """A session takes a place at its backend, as a connection does; who finds none is not served."""
    servers = [udp_backend(name_and_echo, name=name) for name in "abc"]
    backends = [backend_entry(server) | {"max_connections": limit} for server, limit in zip(servers, (5, 5, 2), strict=True)]
    running = udp_balancer(backends, pool={"balance": "first"})
    clients = [client(running.address) for _ in range(12)]
    answers = [ask(visitor) for visitor in clients]
    assert answers == [b"a ?"] * 5 + [b"b ?"] * 5 + [b"c ?"] * 2
    late = client(running.address)
    late.send(b"?")
    assert ask_all(clients, [b"again"] * 12) == [answer[:2] + b"again" for answer in answers]
    assert is_quiet(late, 0.1)
    assert running.stopped()["datagrams_dropped"] == 1


# What they cost.


def test_descriptors_are_shared(udp_balancer, udp_backend):
    """Sessions at different backends share a socket, so the sessions of the fullest backend tell how many there are."""
    servers = [udp_backend(sink, name=name, keep=False) for name in "abcd"]
    running = udp_balancer(servers, listener={"idle_timeout": "3s"})
    before = running.descriptors()["socket"]
    count = 2400
    visit_once(running.address, loopback_sources(count), servers)
    sockets = running.descriptors()["socket"] - before
    assert sockets <= count / len(servers) * 1.3, "about as many as each backend has sessions"
    wait_until(lambda: running.descriptors()["socket"] <= before + 16, deadline=40,
               what=lambda: f"sockets to be closed; {before} at first, now {running.descriptors()['socket']}")
    assert running.stopped()["udp_sessions"] == count


@pytest.mark.limit(120)
def test_memory_of_many_sessions(udp_balancer, udp_backend, client, sanitized):
    if sanitized:
        pytest.skip("the memory of a sanitized binary says nothing")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    servers = [udp_backend(sink, name=name, keep=False) for name in "abcd"]
    # A quarter of them are sockets, with room for uneven shares.
    count = min(50_000, (hard - 1000) * 3)
    if count < 5000:
        pytest.skip(f"no more than {hard} open files are allowed here")
    running = udp_balancer(servers, listener={"idle_timeout": "1h", "max_sessions": 60_000}, open_files=hard)
    warm = client(running.address)
    for _ in range(2000):
        ask(warm, GOODBYE)
    before = running.rss_bytes()
    visit_once(running.address, loopback_sources(count), servers)
    each = (running.rss_bytes() - before) / count
    print(f"{count} sessions, {each:.0f} bytes each, {running.descriptors()['socket']} sockets")
    assert each <= SESSION_BYTES_MAX
    stopped = running.stopped()
    assert stopped["udp_sessions"] == count + 1 and stopped["udp_evicted"] == 0


def test_sessions_that_come_and_go_leave_nothing(udp_balancer, udp_backend, client):
    """As resolvers' do: one question, one answer, a new port for the next."""
    servers = [udp_backend(echo, name=name, keep=False) for name in "ab"]
    running = udp_balancer(servers, listener={"responses": 1})
    for round_ in range(30):
        clients = [client(running.address) for _ in range(100)]
        questions = [b"%d.%d" % (round_, number) for number in range(100)]
        assert ask_all(clients, questions) == questions
        for visitor in clients:
            visitor.close()
    stopped = running.stopped()
    assert stopped["udp_sessions"] == 3000 and stopped["datagrams_dropped"] == 0


# How it stops.


def test_stopping_delivers_what_is_owed(udp_balancer, udp_backend, client):
    def answer(data, _peer, owner):
        if data == b"slow":
            owner.released.wait()
        return [data]

    server = udp_backend(answer)
    running = udp_balancer([server])
    visitor, newcomer = client(running.address), client(running.address)
    assert ask(visitor, b"quick") == b"quick"
    visitor.send(b"slow")
    wait_until(lambda: server.count == 2, what="the question")
    running.signal()
    running.wait_event("stopping")
    newcomer.send(b"too late")
    server.released.set()
    assert visitor.recv(100) == b"slow"
    assert running.wait_exit() == 0
    assert b"too late" not in server.datagrams


def test_idle_sessions_do_not_hold_up_a_stop(udp_balancer, udp_backend, client):
    """Nothing tells whether their clients will ever say anything again."""
    running = udp_balancer([udp_backend(echo)], runtime={"shutdown_timeout": "1h"})
    clients = [client(running.address) for _ in range(100)]
    ask_all(clients, [b"hello"] * 100)
    running.signal()
    assert running.wait_exit() == 0


def test_answers_that_never_come_do_not_hold_up_a_stop(udp_balancer, udp_backend, client):
    server = udp_backend(sink)
    running = udp_balancer([server], runtime={"shutdown_timeout": "1h"})
    for _ in range(10):
        client(running.address).send(b"hello?")
    wait_until(lambda: server.count == 10, what="the questions")
    running.signal()
    assert running.wait_exit() == 0


def test_a_burst_at_the_end_hangs_nothing(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(echo)])
    clients = [client(running.address) for _ in range(100)]
    for visitor in clients:
        visitor.send(b"x")
    running.signal()
    assert running.wait_exit() == 0
