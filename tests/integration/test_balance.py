"""Which backend a connection goes to."""

import collections

import pytest

from harness.backends import echo, name_server
from harness.config import backend_entry
from harness.sockets import ask, connect, receive_exactly


@pytest.fixture
def named(backend):
    """Backends that say their name and close; named("abc") starts three."""
    return lambda names: [backend(name_server, name=name) for name in names]


@pytest.fixture
def holding(backend):
    """Backends that say their one-letter name at once and keep the connection."""

    def hold(connection, owner):
        connection.sendall(owner.name.encode())
        return echo(connection, owner)

    return lambda names: [backend(hold, name=name) for name in names]


def weighted(servers, *weights):
    return [backend_entry(server) | {"weight": weight} for server, weight in zip(servers, weights, strict=True)]


def shares(address, count, source=None):
    return collections.Counter(ask(address, source=source).decode() for _ in range(count))


def held_shares(address, count):
    """Shares of `count` connections that are open at the same time."""
    clients = [connect(address) for _ in range(count)]
    counts = collections.Counter(receive_exactly(client, 1).decode() for client in clients)
    for client in clients:
        client.close()
    return counts


def test_round_robin_is_exact_in_one_worker(balancer, named):
    running = balancer(named("abc"), pool={"balance": "round_robin"}, runtime={"workers": 1})
    assert shares(running.address, 30) == {"a": 10, "b": 10, "c": 10}


def test_round_robin_by_weight(balancer, named):
    running = balancer(weighted(named("ab"), 3, 1), pool={"balance": "round_robin"}, runtime={"workers": 1})
    assert shares(running.address, 40) == {"a": 30, "b": 10}


def test_round_robin_over_several_workers(balancer, named):
    running = balancer(weighted(named("ab"), 3, 1), pool={"balance": "round_robin"})
    counts = shares(running.address, 400)
    assert 290 <= counts["a"] <= 310, counts


def test_least_conn_evens_out(balancer, holding):
    running = balancer(holding("abcd"), pool={"balance": "least_conn"}, runtime={"workers": 1})
    assert set(held_shares(running.address, 40).values()) == {10}


def test_least_conn_by_weight_over_workers(balancer, holding):
    running = balancer(weighted(holding("ab"), 3, 1), pool={"balance": "least_conn"})
    counts = held_shares(running.address, 80)
    assert abs(counts["a"] - 60) <= 3, counts


def test_least_conn_goes_in_turn_among_equals(balancer, named):
    """Connections one after another: every backend is empty each time, and still all of them get work."""
    running = balancer(named("abc"), pool={"balance": "least_conn"})
    counts = shares(running.address, 60)
    assert min(counts[name] for name in "abc") >= 10, counts


def test_random_two_uses_all(balancer, holding):
    running = balancer(holding("abcd"), pool={"balance": "random_two"})
    counts = held_shares(running.address, 200)
    # Two choices keep the fullest within a few of the mean; plain random choice would not.
    assert set(counts) == set("abcd") and max(counts.values()) - min(counts.values()) <= 15, counts


def test_first_stays_with_the_first(balancer, named):
    running = balancer(named("abc"), pool={"balance": "first"})
    assert shares(running.address, 20) == {"a": 20}


def test_first_overflows_to_the_next(balancer, holding):
    running = balancer(holding("abc"), pool={"balance": "first", "max_connections_per_backend": 5})
    assert held_shares(running.address, 12) == {"a": 5, "b": 5, "c": 2}


def test_source_hash_is_sticky(balancer, named):
    servers = named("abcde")
    running = balancer(servers, pool={"balance": "source_hash"})
    sources = [f"127.0.0.{number}" for number in range(2, 62)]
    first = {source: ask(running.address, source=source) for source in sources}
    again = {source: ask(running.address, source=source) for source in reversed(sources)}
    assert first == again
    assert len(set(first.values())) == 5
    running.close()
    # The same backends give the same choices after a restart.
    restarted = balancer(servers, pool={"balance": "source_hash"})
    assert {source: ask(restarted.address, source=source) for source in sources} == first


def test_source_hash_moves_only_the_clients_of_a_backend_that_went(balancer, named):
    servers = named("abcde")
    running = balancer(servers, pool={"balance": "source_hash"}, passive={"failures": 0})
    sources = [f"127.0.0.{number}" for number in range(2, 62)]
    first = {source: ask(running.address, source=source) for source in sources}
    servers[2].stop_listening()
    after = {source: ask(running.address, source=source) for source in sources}
    moved = {source for source in sources if first[source] != after[source]}
    assert moved == {source for source in sources if first[source] == b"c"}


def test_source_hash_by_prefix(balancer, named):
    running = balancer(named("abcde"), pool={"balance": "source_hash"}, hash_={"prefix_v4": 24})
    for network in ("127.0.1", "127.0.2", "127.0.3"):
        assert len({ask(running.address, source=f"{network}.{host}") for host in range(1, 20)}) == 1


def test_source_hash_with_ports_spreads_one_client(balancer, named):
    running = balancer(named("abc"), pool={"balance": "source_hash"}, hash_={"key": "source_ip_port"})
    assert len(shares(running.address, 60)) == 3


@pytest.mark.parametrize("algorithm", ["round_robin", "least_conn", "random_two", "source_hash", "first"])
def test_weight_zero_takes_nothing(balancer, named, algorithm):
    running = balancer(weighted(named("ab"), 0, 1), pool={"balance": algorithm})
    assert shares(running.address, 20) == {"b": 20}


@pytest.mark.parametrize("algorithm", ["round_robin", "least_conn", "random_two", "source_hash", "first"])
def test_backups_wait(balancer, named, algorithm):
    primary, spare = named("ps")
    backends = [backend_entry(spare) | {"backup": True}, backend_entry(primary)]
    running = balancer(backends, pool={"balance": algorithm}, passive={"failures": 0})
    assert shares(running.address, 20) == {"p": 20}
    assert spare.accepted == 0
