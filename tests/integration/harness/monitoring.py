"""Prometheus, and the queries of the files for it and for Grafana."""

import json
import pathlib
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from .servers import program
from .waiting import DEADLINE, wait_until

CONF = pathlib.Path(__file__).resolve().parents[3] / "conf"
DASHBOARD = CONF / "grafana" / "millrace.json"
RULES = CONF / "prometheus" / "millrace.rules.yml"

# What Grafana puts in place of its variables.
_VARIABLES = {"$instance": ".*", "$listener": ".*", "$pool": ".*", "$__rate_interval": "10s"}


def dashboard():
    return json.loads(DASHBOARD.read_text(encoding="utf-8"))


def with_variables(query):
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def dashboard_queries():
    """(title of the panel, query as written) for each."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def alert_rules():
    import yaml  # pylint: disable=import-outside-toplevel

    return [rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def metric_names(query):
    return set(re.findall(r"\bmillrace_\w+", query))


class Prometheus:
    """A Prometheus on a port that the kernel chooses, which scrapes one address each second."""

    def __init__(self, folder, target):
        folder.mkdir()
        (folder / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES)],
            "scrape_configs": [{"job_name": "millrace", "static_configs": [{"targets": [target]}]}],
        }), encoding="utf-8")
        self._log = folder / "log"
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                 "--web.listen-address=127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._port = int(wait_until(self._listening, what=self._tail).group(1))
        wait_until(self._is_ready, what=self._tail)

    def _tail(self):
        return "Prometheus to be ready; it says:\n" + self._log.read_text(errors="replace")[-2000:]

    def _listening(self):
        assert self._process.poll() is None, self._tail()
        return re.search(r'"Listening on" address=127\.0\.0\.1:(\d+)', self._log.read_text(errors="replace"))

    def _is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/-/ready", timeout=DEADLINE) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    def get(self, path, **parameters):
        """The data of an answer of its API; an error is one of the test, too."""
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters or path}: {error.read().decode()}") from error

    def query(self, query):
        """The series of an instant query, as [(labels, value)]."""
        return [(series["metric"], float(series["value"][1])) for series in self.get("query", query=query)["result"]]

    def close(self):
        self._process.terminate()
        try:
            assert self._process.wait(DEADLINE) == 0, self._tail()
        finally:
            self._process.kill()
