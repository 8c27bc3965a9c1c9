"""The Prometheus alert rules: each fires when it shall, after the time that it shall, and not otherwise."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

from harness.monitoring import RULES, alert_rules

pytest.importorskip("yaml", reason="python3-yaml is missing; tools/install-deps test brings it")

ALERTS = alert_rules()
PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None,
                                    reason="promtool is missing; tools/install-deps test brings it (package prometheus)")

# What an instance shows that is well, unless a case below says otherwise. "0+60x60": from 0 on, 60 more each minute.
WELL = {
    'up{job="millrace",instance="a"}': "1x60",
    'millrace_build_info{instance="a"}': "1x60",
    'millrace_config_last_reload_success{instance="a"}': "1x60",
    'millrace_connections_active{instance="a",listener="web"}': "100x60",
    'millrace_connections_total{instance="a",listener="web"}': "0+6000x60",
    'millrace_connections_refused_total{instance="a",listener="web",reason="denied"}': "0+6000x60",
    'millrace_backend_up{instance="a",pool="web",backend="one"}': "1x60",
    'millrace_backend_up{instance="a",pool="web",backend="two"}': "1x60",
    'millrace_backend_up{instance="a",pool="web",backend="three"}': "1x60",
    'millrace_backend_state{instance="a",pool="web",backend="one",state="draining"}': "0x60",
    'millrace_backend_health_transitions_total{instance="a",pool="web",backend="one",to="down",reason="refused"}': "0x60",
    'millrace_backend_connections_total{instance="a",pool="web",backend="one"}': "0+6000x60",
    'millrace_backend_connect_failures_total{instance="a",pool="web",backend="one",reason="refused"}': "0x60",
    'millrace_backend_connect_seconds_bucket{instance="a",pool="web",backend="one",le="0.25"}': "0+6000x60",
    'millrace_backend_connect_seconds_bucket{instance="a",pool="web",backend="one",le="1"}': "0+6000x60",
    'millrace_backend_connect_seconds_bucket{instance="a",pool="web",backend="one",le="+Inf"}': "0+6000x60",
    'millrace_pool_fail_open{instance="a",pool="web"}': "0x60",
    'millrace_closes_total{instance="a",reason="client_fin"}': "0+6000x60",
    'millrace_closes_total{instance="a",reason="backend_reset"}': "0+60x60",
    'millrace_udp_datagrams_total{instance="a",listener="dns",direction="in"}': "0+6000x60",
    'millrace_udp_dropped_total{instance="a",reason="no_session"}': "0+6000x60",
    'millrace_udp_dropped_total{instance="a",reason="send_buffer"}': "0+30x60",
    'millrace_worker_busy_seconds_total{instance="a",worker="0"}': "0+30x60",
}

ONE, TWO, THREE = (f'millrace_backend_up{{instance="a",pool="web",backend="{name}"}}' for name in ("one", "two", "three"))
REFUSED = 'millrace_connections_refused_total{instance="a",listener="web",reason="%s"}'
TRANSITIONS = 'millrace_backend_health_transitions_total{instance="a",pool="web",backend="one",to="down",reason="refused"}'
FAILURES = 'millrace_backend_connect_failures_total{instance="a",pool="web",backend="one",reason="refused"}'
SLOWER = 'millrace_backend_connect_seconds_bucket{instance="a",pool="web",backend="one",le="0.25"}'
RESETS = 'millrace_closes_total{instance="a",reason="backend_reset"}'
BUSY = 'millrace_worker_busy_seconds_total{instance="a",worker="0"}'
DRAINING = 'millrace_backend_state{instance="a",pool="web",backend="one",state="draining"}'
DROPPED = 'millrace_udp_dropped_total{instance="a",reason="send_buffer"}'

# For each alert: what is different when it fires, all that fire then, and what is different when it is close to it.
DOWN, EMPTY, HALF = "MillraceBackendDown", "MillracePoolWithoutBackends", "MillracePoolHalfDown"
CASES = {
    "MillraceDown": ({'up{job="millrace",instance="a"}': "0x60"}, [], {'up{job="nginx",instance="a"}': "0x60"}),
    "MillraceAbsent": ({'millrace_build_info{instance="a"}': "stale"}, [], {}),
    "MillraceRestarting": ({BUSY: "0+30x15 0+30x10 0+30x10 0+30x10 0+30x10"}, [], {BUSY: "0+30x30 0+30x30"}),
    "MillraceReloadFailed": ({'millrace_config_last_reload_success{instance="a"}': "0x60"}, [], {}),
    "MillraceWorkerSaturated": ({BUSY: "0+57x60"}, [], {BUSY: "0+51x60"}),
    DOWN: ({ONE: "0x60"}, [], {ONE: "0x60", DRAINING: "1x60"}),
    EMPTY: ({ONE: "0x60", TWO: "0x60", THREE: "0x60"}, [DOWN], {ONE: "0x60", DRAINING: "1x60"}),
    HALF: ({ONE: "0x60", TWO: "0x60"}, [DOWN], {ONE: "0x60", DRAINING: "1x60"}),
    "MillracePoolFailOpen": ({'millrace_pool_fail_open{instance="a",pool="web"}': "1x60"}, [], {}),
    "MillraceBackendFlapping": ({TRANSITIONS: "0+1x60"}, [], {TRANSITIONS: "0x29 1x30"}),
    "MillraceConnectFailures": ({FAILURES: "0+600x60"}, [], {FAILURES: "0+60x60"}),
    "MillraceConnectSlow": ({SLOWER: "0+3000x60"}, [], {SLOWER: "0+5970x60"}),
    "MillraceConnectionsRefused": ({REFUSED % "connect_failed": "0+1x60"}, [], {REFUSED % "client_gone": "0+600x60"}),
    "MillraceClientsLimited": ({REFUSED % "rate_limit": "0+600x60"}, [], {REFUSED % "rate_limit": "0+60x60"}),
    "MillraceBackendResets": ({RESETS: "0+3000x60"}, [], {RESETS: "0+600x60"}),
    "MillraceUdpDrops": ({DROPPED: "0+120x60"}, [], {}),
}


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)([sm])", duration).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def firing(name, changes, alerts, minute=45):
    """A case for promtool: with these changes exactly these alerts fire."""
    series = {key: values for key, values in (WELL | changes).items() if values != "stale"}
    return {"name": name, "interval": "1m",
            "input_series": [{"series": key, "values": values} for key, values in series.items()],
            "promql_expr_test": [{"expr": 'group by (alertname) (ALERTS{alertstate="firing"})', "eval_time": f"{minute}m",
                                  "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in alerts]}]}


def promtool(tmp_path, *cases):
    path = tmp_path / "cases.yml"
    path.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": cases}), encoding="utf-8")
    return subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False, timeout=50)


def test_every_alert_has_a_case():
    assert sorted(rule["alert"] for rule in ALERTS) == sorted(CASES)


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_and_what_to_do(rule):
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "remedy"}
    assert "for" in rule or re.search(r"\[[13][05]m\]", rule["expr"])  # a moment is no reason to wake somebody


def test_reasons_are_those_of_the_program():
    """A word that the program does not know would never match."""
    source = "".join((PROJECT_ROOT / "src" / name).read_text(encoding="utf-8")
                     for name in ["worker/counters.cpp", "flow/close_reason.cpp"])
    words = {word for rule in ALERTS for group in re.findall(r'reason!?=~?"([^"]*)"', rule["expr"]) for word in group.split("|")}
    assert len(words) > 5
    assert {word for word in words if f'"{word}"' not in source} == set()


@needs_promtool
def test_the_rules_are_correct():
    result = subprocess.run(["promtool", "check", "rules", "--lint-fatal", str(RULES)], capture_output=True, text=True,
                            check=False, timeout=50)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_all_is_quiet_when_all_is_well(tmp_path):
    result = promtool(tmp_path, firing("well", {}, []))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("alert", CASES)
def test_alert(tmp_path, alert):
    fires, others, quiet = CASES[alert]
    result = promtool(tmp_path, firing("fires", fires, [alert, *others]), firing("quiet", quiet, []))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
@pytest.mark.parametrize("alert", ["MillraceDown", "MillraceReloadFailed", "MillraceBackendDown", "MillracePoolFailOpen"])
def test_an_alert_waits(tmp_path, alert):
    """What is over before its time has passed has not fired."""
    rule = next(rule for rule in ALERTS if rule["alert"] == alert)
    assert seconds(rule["for"]) >= 30
    fires, others, _ = CASES[alert]
    bad = {key: f"{WELL[key][0]}x40 {values[0]}x20" for key, values in fires.items()}
    result = promtool(tmp_path, firing("not yet", bad, [], minute=41),
                      firing("now", bad, [alert, *others], minute=43))
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_a_wrong_expectation_is_found(tmp_path):
    assert promtool(tmp_path, firing("well", {}, ["MillraceDown"])).returncode != 0
