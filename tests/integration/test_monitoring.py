"""The queries for Grafana and the alert rules, asked of a real Prometheus that watches a real millrace under traffic."""

import re
import urllib.request

import pytest

from harness import datagrams
from harness.backends import name_server
from harness.config import FAST_HEALTH, make_config
from harness.datagrams import echo
from harness.monitoring import Prometheus, alert_rules, dashboard_queries, metric_names, with_variables
from harness.sockets import ask, ends_unserved, free_port
from harness.waiting import wait_until

pytest.importorskip("yaml", reason="python3-yaml is missing; tools/install-deps test brings it")

DENY_ALL = {"deny": ["0.0.0.0/0", "::/0"]}


def labels_in(query):
    """The labels that a query matches or groups by."""
    grouped = re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
    return set(re.findall(r"(\w+)(?:=~?|!=|!~)\"", query)) | {label.strip() for group in grouped for label in group.split(",")}


def http_address(running):
    address = running.wait_event("http_listening")["address"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as page:
        if b"millrace_build_info" not in page.read():
            pytest.skip("this millrace has no metrics yet")
    return address


def configuration(backend, udp_backend):
    """A pool that is well but for one backend, one whose only backend is not there, a closed listener, UDP."""
    steady, failing = backend(name_server, name="a"), backend(name_server, name="b")
    config = make_config(
        [steady, failing], health=FAST_HEALTH, admin={"http": "127.0.0.1:0"},
        more_listeners={"closed": DENY_ALL, "dead": {"pool": "dead"}, "dns": {"protocol": "udp", "pool": "dns"}})
    return failing, config + f"""
[pools.dead]
backends = ["127.0.0.1:{free_port()}"]
retries = 0
health = {{ type = "none" }}
[pools.dns]
backends = ["{udp_backend(echo).text}"]
health = {{ type = "none" }}
"""


class Traffic:
    """A little of everything, again and again."""

    def __init__(self, running, client):
        self._running = running
        self._datagrams = client(running.addresses("dns")[0])

    def once(self):
        assert ask(self._running.address) in (b"a", b"b")
        assert ends_unserved(self._running.addresses("closed")[0])
        assert ends_unserved(self._running.addresses("dead")[0])
        assert datagrams.ask(self._datagrams) == b"?"
        return True


@pytest.mark.limit(120)
def test_every_query_finds_what_it_asks_for(millrace, backend, udp_backend, client, closing, tmp_path):
    failing, config = configuration(backend, udp_backend)
    running = millrace(config)
    prometheus = closing(Prometheus(tmp_path / "prometheus", http_address(running)))
    traffic = Traffic(running, client)

    def seen(query, at_least):
        return lambda: traffic.once() and any(value >= at_least for _, value in prometheus.query(query))

    wait_until(seen('count_over_time(up{job="millrace"}[1h])', 3), what="three scrapes")
    failing.stop_listening()
    running.wait_event("backend_down")
    wait_until(seen('sum(millrace_backend_up{pool="web"} == bool 0)', 1), what="the backend to be seen down")
    wait_until(seen('sum(increase(millrace_backend_health_transitions_total[1m]))', 0.5), what="a transition to be seen")

    silent = [title for title, query in dashboard_queries() if not prometheus.query(with_variables(query))]
    assert silent == []
    # The rules ask for what is not well, and shall find nothing else; but what they name must be there.
    missing = {}
    for rule in alert_rules():
        prometheus.query(rule["expr"])
        for name in metric_names(rule["expr"]):
            series = prometheus.query(name)
            labels = {label for labels, _ in series for label in labels}
            unknown = labels_in(rule["expr"]) - labels if len(metric_names(rule["expr"])) == 1 else set()
            if not series or unknown:
                missing[rule["alert"]] = (name, sorted(unknown))
    assert missing == {}
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {(rule["name"], rule["health"], rule.get("lastError", "")) for rule in rules} == {
        (rule["alert"], "ok", "") for rule in alert_rules()}

    def noticed():
        return {alert["labels"]["alertname"] for alert in prometheus.get("alerts")["alerts"]}

    wait_until(lambda: traffic.once() and noticed() >= {"MillraceBackendDown", "MillraceConnectionsRefused"},
               what=lambda: f"what is wrong to be noticed; it is {noticed()}")
    assert not {"MillraceDown", "MillraceAbsent", "MillraceReloadFailed", "MillraceRestarting"} & noticed()
