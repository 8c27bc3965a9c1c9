"""What a UDP session owes both sides: every datagram whole, to the right one, by the same backend."""

import collections

import pytest

from harness.config import backend_entry
from harness.datagrams import DATAGRAM_BYTES_MAX, ask, ask_all, echo, name_and_echo, pending, receive_from_each, sink
from harness.sockets import pattern

SIZES = (0, 1, 512, 1472, 9000, DATAGRAM_BYTES_MAX)
ALGORITHMS = ("least_conn", "source_hash", "round_robin", "random_two", "first")


@pytest.fixture
def named(udp_backend):
    """Backends that say their name and what they were asked; named("abc") starts three."""
    return lambda names: [udp_backend(name_and_echo, name=name) for name in names]


def weighted(servers, *weights):
    return [backend_entry(server) | {"weight": weight} for server, weight in zip(servers, weights, strict=True)]


def name_of(answer):
    return answer.split(b" ", 1)[0].decode()


def test_every_size_both_ways(udp_balancer, udp_backend, client):
    server = udp_backend(echo)
    running = udp_balancer([server])
    visitor = client(running.address)
    datagrams = [pattern(size, size) for size in SIZES]
    assert [ask(visitor, data) for data in datagrams] == datagrams
    assert server.datagrams == datagrams
    stopped = running.stopped()
    assert stopped["udp_sessions"] == 1 and stopped["datagrams_dropped"] == 0


def test_empty_datagrams_are_datagrams(udp_balancer, udp_backend, client):
    """An empty one is neither an end nor nothing: it makes a session, is a request, and is an answer."""
    server = udp_backend(lambda data, _peer, _owner: [b"", b"after " + data, b""])
    running = udp_balancer([server])
    visitor = client(running.address)
    for _ in range(3):
        visitor.send(b"")
        assert [visitor.recv(100) for _ in range(3)] == [b"", b"after ", b""]
    assert server.datagrams == [b""] * 3
    assert len(server.sources) == 1


def test_many_clients_get_only_their_own_answers(udp_balancer, named, client):
    servers = named("abc")
    running = udp_balancer(servers)
    clients = [client(running.address) for _ in range(200)]
    names = []
    for round_ in range(5):
        questions = [b"%d of client %d" % (round_, number) for number in range(len(clients))]
        answers = ask_all(clients, questions)
        assert [answer.split(b" ", 1)[1] for answer in answers] == questions
        names.append([name_of(answer) for answer in answers])
    assert not pending(clients)
    assert names[1:] == names[:1] * 4, "each client stays with its backend"
    assert set(names[0]) == set("abc")
    stopped = running.stopped()
    assert stopped["udp_sessions"] == 200 and stopped["datagrams_dropped"] == 0


def test_datagrams_keep_their_order(udp_balancer, udp_backend, client):
    server = udp_backend(echo)
    running = udp_balancer([server])
    clients = [client(running.address) for _ in range(4)]
    for round_ in range(20):
        datagrams = [b"%d.%d" % (round_, number) + b"x" * (number % 7) for number in range(16)]
        for data in datagrams:
            for visitor in clients:
                visitor.send(data)
        assert receive_from_each(clients, len(datagrams)) == [datagrams] * len(clients)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_sessions_stick(udp_balancer, named, client, algorithm):
    running = udp_balancer(named("abcd"), pool={"balance": algorithm})
    clients = [client(running.address, source=f"127.0.0.{number}") for number in range(2, 26)]
    names = [[name_of(ask(visitor)) for visitor in clients] for _ in range(4)]
    assert names[1:] == names[:1] * 3
    assert set(names[0]) == (set("abcd") if algorithm != "first" else {"a"})


def shares(clients):
    return collections.Counter(name_of(ask(visitor)) for visitor in clients)


def test_round_robin_by_weight(udp_balancer, named, client):
    running = udp_balancer(weighted(named("ab"), 3, 1), pool={"balance": "round_robin"}, runtime={"workers": 1})
    assert shares(client(running.address) for _ in range(40)) == {"a": 30, "b": 10}


def test_least_conn_counts_sessions(udp_balancer, named, client):
    running = udp_balancer(named("abcd"), pool={"balance": "least_conn"}, runtime={"workers": 1})
    assert set(shares(client(running.address) for _ in range(40)).values()) == {10}


def test_least_conn_by_weight_over_workers(udp_balancer, named, client):
    running = udp_balancer(weighted(named("ab"), 3, 1), pool={"balance": "least_conn"})
    counts = shares(client(running.address) for _ in range(80))
    assert abs(counts["a"] - 60) <= 3, counts


def test_random_two_evens_out(udp_balancer, named, client):
    running = udp_balancer(named("abcd"), pool={"balance": "random_two"})
    counts = shares(client(running.address) for _ in range(200))
    # Two choices keep the fullest within a few of the mean; plain random choice would not.
    assert set(counts) == set("abcd") and max(counts.values()) - min(counts.values()) <= 15, counts


def test_source_hash_is_sticky(udp_balancer, named, client):
    """Whatever its port, a client has its backend; after a restart the same one."""
    servers = named("abcde")
    sources = [f"127.0.0.{number}" for number in range(2, 62)]

    def choices(running):
        return {source: name_of(ask(client(running.address, source=source))) for source in sources}

    running = udp_balancer(servers, pool={"balance": "source_hash"})
    first = choices(running)
    assert choices(running) == first
    assert set(first.values()) == set("abcde")
    running.close()
    assert choices(udp_balancer(servers, pool={"balance": "source_hash"})) == first


def test_weight_zero_and_backups_wait(udp_balancer, named, client):
    drained, spare, server = named("dsp")
    running = udp_balancer([backend_entry(drained) | {"weight": 0}, backend_entry(spare) | {"backup": True}, server])
    assert shares(client(running.address) for _ in range(10)) == {"p": 10}
    assert drained.count == spare.count == 0


def test_a_session_has_one_source_port(udp_balancer, named, client):
    servers = named("ab")
    running = udp_balancer(servers)
    clients = [client(running.address) for _ in range(50)]
    for _ in range(3):
        ask_all(clients, [b"%d" % number for number in range(len(clients))])
    for server in servers:
        by_client = collections.defaultdict(set)
        for data, peer in server.received:
            by_client[data].add(peer)
        assert all(len(peers) == 1 for peers in by_client.values())
        assert len(server.sources) == len(by_client), "no two sessions share one at the same backend"


def test_several_answers_to_a_request(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(lambda data, _peer, _owner: [b"%s %d" % (data, n) for n in range(10)])])
    visitor = client(running.address)
    for question in (b"first", b"second"):
        visitor.send(question)
        assert [visitor.recv(100) for _ in range(10)] == [b"%s %d" % (question, n) for n in range(10)]


def test_a_backend_may_speak_on_its_own(udp_balancer, udp_backend, client):
    """As servers of games, of media and of DNS notifications do, for as long as the session lives."""
    server = udp_backend(echo)
    running = udp_balancer([server])
    visitor, other = client(running.address), client(running.address)
    assert ask(visitor, b"hello") == b"hello" and ask(other, b"hello") == b"hello"
    for number in range(5):
        server.say(b"news %d" % number, server.sources[0])
        assert visitor.recv(100) == b"news %d" % number
    assert ask(visitor, b"and?") == b"and?"
    assert not pending([other])


def test_strangers_do_not_reach_a_client(udp_balancer, udp_backend, client):
    """What comes to the port of a session from anyone but its backend is dropped, and counted."""
    server, stranger = udp_backend(echo, name="a"), udp_backend(sink)
    idle = udp_backend(sink, name="b")
    running = udp_balancer([server, idle], pool={"balance": "first"})
    visitor = client(running.address)
    assert ask(visitor, b"hello") == b"hello"
    upstream = ("127.0.0.1", server.sources[0][1])
    for number in range(10):
        stranger.say(b"from a stranger", upstream)
        idle.say(b"from a backend without a session", upstream)
        server.say(b"%d" % number, server.sources[0])
        assert visitor.recv(100) == b"%d" % number
    assert ask(visitor, b"still there") == b"still there"
    assert not pending([visitor])
    stopped = running.stopped()
    assert stopped["datagrams_dropped"] == 20


def test_the_quick_form(millrace, udp_backend, client):
    server = udp_backend(echo)
    running = millrace(["run", "--udp", "--listen", "127.0.0.1:0", "--backend", server.text])
    visitor = client(running.address)
    assert ask(visitor, b"hello") == b"hello"
    assert running.find_events("listening")[0]["protocol"] == "udp"


def test_several_listeners(udp_balancer, udp_backend, client):
    running = udp_balancer([udp_backend(echo)], listener={"bind": ["127.0.0.1:0", "127.0.0.2:0"]},
                           more_listeners={"other": {"protocol": "udp"}})
    addresses = running.addresses("web") + running.addresses("other")
    assert len(set(addresses)) == 3
    for address in addresses:
        assert ask(client(address), b"hello") == b"hello"


def test_a_burst_of_new_clients(udp_balancer, named, client):
    """A hundred sessions that begin at once, each with several datagrams before its first answer."""
    running = udp_balancer(named("abc"))
    clients = [client(running.address) for _ in range(100)]
    for visitor in clients:
        visitor.send(b"one")
        visitor.send(b"two")
    for answers in receive_from_each(clients, 2):
        assert [answer.split(b" ")[1] for answer in answers] == [b"one", b"two"]
        assert len({name_of(answer) for answer in answers}) == 1
