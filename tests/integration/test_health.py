"""Health: what probes see, what traffic tells, and where connections go then."""

import collections

import pytest

from harness.backends import RefusedPort, echo, name_server
from harness.config import FAST_HEALTH, PATIENT_HEALTH, backend_entry
from harness.sockets import FIN, RST, address_text, ask, connect, ends_unserved, exchange, receive_all
from harness.waiting import wait_until


@pytest.fixture
def named(backend):
    return lambda names: [backend(name_server, name=name) for name in names]


def shares(address, count):
    return collections.Counter(ask(address).decode() for _ in range(count))



def test_down_and_up_again(balancer, named):
    servers = named("abc")
    running = balancer(servers, pool={"balance": "round_robin"}, health=FAST_HEALTH)
    for count in (1, 2):
        servers[1].stop_listening()
        event = running.wait_event("backend_down", count=count, backend="b", pool="web")
        assert event.get("reason")
        assert set(shares(running.address, 30)) == {"a", "c"}
        servers[1].listen()
        running.wait_event("backend_up", count=count, backend="b", pool="web")
        wait_until(lambda: set(shares(running.address, 12)) == {"a", "b", "c"}, what="traffic to come back")
    assert not running.find_events("backend_down", backend="a")


def test_established_connections_stay_when_a_backend_goes_down(balancer, backend):
    """A backend that is overloaded or restarting its listener has not lost the connections it has."""
    server = backend(echo, name="a")
    running = balancer([server, backend(echo, name="b")], pool={"balance": "first"}, health=FAST_HEALTH)
    with connect(running.address) as client:
        assert exchange(client)
        server.stop_listening()
        running.wait_event("backend_down", backend="a")
        assert exchange(client)


def test_backups_take_over_and_step_back(balancer, named):
    primary, spare = named("ps")
    running = balancer([primary, backend_entry(spare) | {"backup": True}], health=FAST_HEALTH)
    assert shares(running.address, 10) == {"p": 10}
    primary.stop_listening()
    running.wait_event("backend_down", backend="p")
    assert shares(running.address, 10) == {"s": 10}
    primary.listen()
    running.wait_event("backend_up", backend="p")
    wait_until(lambda: shares(running.address, 10) == {"p": 10}, what="the primary to be used again")


def all_down(balancer, named, closing, fail_open):
    """Two backends that serve, but whose probes go to a port where nobody listens."""
    servers = named("ab")
    port = closing(RefusedPort()).address[1]
    running = balancer(servers, pool={"balance": "round_robin", "fail_open": fail_open},
                       health=FAST_HEALTH | {"port": port})
    running.expected_errors.add("pool_down")
    for name in "ab":
        running.wait_event("backend_down", backend=name)
    return running, servers


def test_fail_open(balancer, named, closing):
    running, _ = all_down(balancer, named, closing, True)
    wait_until(lambda: set(shares(running.address, 10)) == {"a", "b"}, what="both backends to be tried")


def test_fail_closed(balancer, named, closing):
    running, servers = all_down(balancer, named, closing, False)

    wait_until(lambda: ends_unserved(running.address), what="connections to be refused")
    before = sum(server.accepted for server in servers)
    assert all(ends_unserved(running.address) for _ in range(10))
    assert sum(server.accepted for server in servers) == before


@pytest.mark.parametrize("close, end", [("fin", FIN), ("rst", RST)])
def test_probes_end_as_configured(balancer, backend, close, end):
    """A probe that ends with a RST fills the logs of many backends; FIN is the default for that."""
    server = backend(lambda connection, _owner: receive_all(connection))
    running = balancer([server], health=PATIENT_HEALTH | {"interval": "250ms", "timeout": "250ms"}
                       | ({} if close == "fin" else {"close": close}))
    wait_until(lambda: len(server.results) >= 6, what="six probes")
    assert set(server.results[:6]) <= {(b"", end), end}
    assert not running.find_events("backend_down")


def ping_pong(answer):
    def serve(connection, _owner):
        if connection.recv(4) == b"PING":
            connection.sendall(answer)
        return receive_all(connection)

    return serve


def test_send_and_expect(balancer, backend):
    good = backend(ping_pong(b"+PONG and more"), name="good")
    wrong = backend(ping_pong(b"-LOADING"), name="wrong")
    mute = backend(lambda connection, _owner: receive_all(connection), name="mute")
    running = balancer([good, wrong, mute], health=FAST_HEALTH | {"send": "PING", "expect": "+PONG"})
    running.wait_event("backend_down", backend="wrong")
    running.wait_event("backend_down", backend="mute")
    wait_until(lambda: len(good.results) >= 4, what="four good probes")
    assert not running.find_events("backend_down", backend="good")


def test_probe_to_another_port(balancer, backend, named):
    """The port that probes go to decides, not the one that traffic goes to."""
    (server,) = named("a")
    checked = backend(lambda connection, _owner: receive_all(connection)[1])
    running = balancer([server, *named("b")], pool={"balance": "round_robin"},
                       health=FAST_HEALTH | {"port": checked.address[1]})
    wait_until(lambda: len(checked.results) >= 4, what="probes at the other port")
    assert server.accepted == 0
    running.expected_errors.add("pool_down")
    checked.stop_listening()
    running.wait_event("backend_down", backend="a")
    checked.listen()
    running.wait_event("backend_up", backend="a")


def test_one_lost_probe_changes_nothing(balancer, backend):
    """`fall` is the number of probes in a row. (The very first probe decides alone, so it is a good one here.)"""
    count = iter(range(1_000_000))

    def every_second(connection, _owner):
        connection.sendall(b"NO" if next(count) % 2 else b"OK")
        return receive_all(connection)[1]

    server = backend(every_second, name="moody")
    running = balancer([server], health=PATIENT_HEALTH | {"interval": "250ms", "timeout": "250ms",
                                                                "expect": "OK", "fall": 2})
    wait_until(lambda: server.accepted >= 12, what="a dozen probes")
    assert not running.find_events("backend_down")


def test_passive_ejection_without_probes(balancer, named):
    servers = named("abc")
    running = balancer(servers, pool={"balance": "round_robin"}, runtime={"workers": 1},
                       passive={"failures": 3, "ejection": "30s"})
    assert set(shares(running.address, 6)) == {"a", "b", "c"}
    servers[0].stop_listening()
    assert set(shares(running.address, 30)) == {"b", "c"}  # by failover, then by ejection
    running.wait_event("backend_down", backend="a")


def test_passive_ejection_ends(balancer, named):
    servers = named("ab")
    running = balancer(servers, pool={"balance": "round_robin"}, passive={"failures": 2, "ejection": "500ms"})
    servers[0].stop_listening()
    wait_until(lambda: shares(running.address, 4) and running.find_events("backend_down", backend="a"), what="ejection")
    servers[0].listen()
    wait_until(lambda: "a" in shares(running.address, 4), what="the ejected backend to be tried again")


def test_good_probes_end_an_ejection(balancer, named):
    """A backend that was restarted comes back as soon as its probes say so, not when a long ejection is over."""
    servers = named("ab")
    running = balancer(servers, pool={"balance": "round_robin"}, health=FAST_HEALTH | {"fall": 50},
                       passive={"failures": 3, "ejection": "300s"})
    assert shares(running.address, 4)["a"] == 2
    wait_until(lambda: servers[0].accepted > 3, what="the first probe, which would decide alone")
    servers[0].stop_listening()
    wait_until(lambda: shares(running.address, 4) and running.find_events("backend_down", backend="a"), what="ejection")
    servers[0].listen()
    running.wait_event("backend_up", backend="a")
    wait_until(lambda: "a" in shares(running.address, 4), what="the backend to be used again")


def test_connect_failures_trigger_a_probe_at_once(balancer, named):
    """With probes an hour apart, three failed connects are what finds a dead backend."""
    servers = named("ab")
    running = balancer(servers, pool={"balance": "round_robin"},
                       health={"type": "tcp", "interval": "1h", "timeout": "200ms", "fall": 1, "rise": 1},
                       passive={"failures": 3, "ejection": "1s"})
    assert set(shares(running.address, 4)) == {"a", "b"}
    servers[0].stop_listening()
    wait_until(lambda: shares(running.address, 4) and running.find_events("backend_down", backend="a"), what="ejection")
    assert shares(running.address, 10) == {"b": 10}


def test_unix_backend_is_probed(balancer, backend, tmp_path):
    server = backend(name_server, address=f"{tmp_path}/b.sock", name="local")
    running = balancer([server], health=FAST_HEALTH)
    running.expected_errors.add("pool_down")
    assert ask(running.address) == b"local"
    server.stop_listening()
    running.wait_event("backend_down", backend="local")


def test_default_backend_name_is_the_address(balancer, backend):
    server = backend(name_server)
    running = balancer([server], health=FAST_HEALTH)
    running.expected_errors.add("pool_down")
    server.stop_listening()
    running.wait_event("backend_down", backend=address_text(server.address))
