"""The dashboard for Grafana: well formed, and its queries are; test_monitoring.py asks them of a real Prometheus."""

import itertools
import json
import shutil
import subprocess

import pytest

from harness.monitoring import dashboard, dashboard_queries, with_variables

PANELS = [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def test_panels_are_many_and_different():
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    assert len({panel["title"] for panel in PANELS}) >= 20


def test_panels_do_not_overlap():
    def cells(place):
        return set(itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])))

    taken = set()
    for panel in dashboard()["panels"]:
        mine = cells(panel["gridPos"])
        assert not mine & taken, panel["title"]
        assert all(x < 24 for x, _ in mine), panel["title"]
        taken |= mine


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_explains_itself(panel):
    assert panel["description"].endswith(".")
    assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}"
    assert all("$instance" in target["expr"] for target in panel["targets"])
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_variables_are_used_and_those_used_are_there():
    declared = {variable["name"] for variable in dashboard()["templating"]["list"]}
    assert declared == {"datasource", "instance", "listener", "pool"}
    everything = json.dumps(dashboard()["panels"])
    assert all(f"${name}" in everything or f"${{{name}}}" in everything for name in declared)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing; tools/install-deps test brings it")
def test_queries_are_correct(tmp_path):
    rules = [{"record": f"query:{number}", "expr": with_variables(query)}
             for number, (_, query) in enumerate(dashboard_queries())]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}), encoding="utf-8")
    result = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False, timeout=50)
    assert result.returncode == 0, result.stdout + result.stderr
