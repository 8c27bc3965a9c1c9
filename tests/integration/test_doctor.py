"""`millrace doctor` on the machine as it is, and under limits."""

import json
import resource
import shutil
import subprocess

import pytest

from harness import confinement

CONFIG = '[listeners.web]\nbind = "{bind}"\npool = "db"\n[pools.db]\nbackends = ["127.0.0.1:9"]\n'


@pytest.fixture
def examine(binary, config_file):
    """examine(text) -> (exit status, findings by topic, all)"""

    def run(text, *, open_files=None, prefix=()):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))

        result = subprocess.run([*prefix, str(binary), "doctor", "--json", "-c", str(config_file(text))],
                                capture_output=True, text=True, timeout=20, check=False,
                                preexec_fn=limit if open_files else None)
        report = json.loads(result.stdout)
        return result.returncode, {finding["topic"]: finding for finding in report["findings"]}, report

    return run


def test_it_can_run_here(examine):
    status, findings, report = examine(CONFIG.format(bind="127.0.0.1:0"))
    assert status == 0 and report["can_run"] is True
    assert "defer_taskrun" in findings["io_uring"]["text"]
    assert report["capacity"]["pools"][0]["pool"] == "db"


def test_it_says_what_a_start_derives(examine, millrace):
    # Nobody is at the backend's port: a probe would say so in the log, if it came before the end.
    text = CONFIG.format(bind="127.0.0.1:0") + '[pools.db.health]\ntype = "none"\n'
    report = examine(text, open_files=3000)[2]
    starting = millrace(text, open_files=3000).find_events("starting")[0]
    assert int(starting["max_connections"]) == report["capacity"]["max_connections"]
    assert int(starting["open_files"]) == report["capacity"]["open_files"] == 3000


def test_too_few_descriptors(examine):
    status, findings, _ = examine(CONFIG.format(bind="127.0.0.1:0"), open_files=40)
    assert status == 1
    assert findings["descriptors"]["severity"] == "problem"


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is missing")
def test_no_capability_for_port_80(examine):
    prefix = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    status, findings, _ = examine(CONFIG.format(bind="127.0.0.1:80"), prefix=prefix)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
        privileged = int(file.read()) > 80
    assert status == (1 if privileged else 0)
    assert ("AmbientCapabilities" in str(findings.get("capabilities"))) == privileged


@pytest.mark.skipif(not confinement.available() or shutil.which("setpriv") is None, reason="libseccomp is missing")
def test_a_filter_against_io_uring(examine):
    everything_else = {"default_errno": None, "rules": [
        {"name": f"io_uring_{name}", "errno": 1, "args": []} for name in ("setup", "enter", "register")]}
    status, findings, report = examine(CONFIG.format(bind="127.0.0.1:0"),
                                       prefix=confinement.confined(everything_else, []))
    assert status == 1 and report["can_run"] is False
    assert "seccomp" in findings["io_uring"]["text"]
    assert "may be what stops io_uring" in findings["sandbox"]["text"]


def test_text(command):
    result = command("doctor")
    assert result.returncode == 0, result.stdout
    assert result.stdout.splitlines()[-1].startswith("millrace can run here, with up to ")


def test_a_wrong_file(command, config_file):
    result = command("doctor", "-c", config_file("[listeners]\nx = 1\n"))
    assert result.returncode == 2 and "error" in result.stderr
    assert command("doctor", "-c", "/nonexistent/millrace.toml").returncode == 2
