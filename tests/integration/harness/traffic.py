"""A configuration with every kind of listener and backend, and traffic that goes through each of them."""

import socket

from .backends import name_server
from .config import make_config
from .datagrams import echo
from .http import HttpClient
from .sockets import ask

_PROBES = {"type": "tcp", "interval": "200ms", "timeout": "200ms"}


def config_of_everything(backend, udp_backend, folder):
    """TCP over both families and unix sockets, copied and spliced; UDP on every address; active probes."""
    unix = backend(name_server, address=str(folder / "backend.sock"), name="unix")
    return make_config(
        [backend(name_server, name="a")],
        listener={"bind": ["127.0.0.1:0", "[::1]:0", f"unix:{folder / 'front.sock'}"]},
        health=_PROBES,
        admin={"http": "127.0.0.1:0"},
        more_listeners={"spliced": {"forwarding": "splice"}, "copied": {"forwarding": "copy"},
                        "local": {"pool": "local"}, "dns": {"protocol": "udp", "bind": "*:0", "pool": "dns"}},
    ) + f"""
[pools.local]
backends = [{{ address = "unix:{unix.address}" }}]
[pools.dns]
backends = [{{ address = "{udp_backend(echo).text}" }}]
"""


def assert_everything_works(running):
    for name in ["web", "spliced", "copied", "local"]:
        for address in running.addresses(name):
            assert ask(address) == (b"unix" if name == "local" else b"a"), (name, address)
    for address in running.addresses("dns"):
        host = "::1" if ":" in address[0] else "127.0.0.1"
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect((host, address[1]))
            client.send(b"question")
            assert client.recv(100) == b"question"
    metrics = HttpClient(running.http_address).get("/metrics")
    assert metrics.status == 200 and b"millrace_worker_busy_seconds_total" in metrics.body
    # no_probes: a UDP pool that nothing is known of.
    unexpected = [event for event in running.events
                  if event["level"] in ("warn", "error") and event["event"] not in ("backlog_cut", "no_probes")]
    assert unexpected == []
