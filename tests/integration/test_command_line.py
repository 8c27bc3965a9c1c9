"""What a person types: subcommands, exit status, messages."""

import pathlib
import re
import socket

import pytest

from harness.backends import echo, name_server
from harness.config import make_config
from harness.sockets import ask, connect, exchange

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBLEM = r"{path}:(\d+):(\d+): error: "

GOOD = """
[listeners.web]
bind = "127.0.0.1:0"
pool = "web"

[pools.web]
balance = "round_robin"
backends = [
  { address = "127.0.0.1:81" },
  { name = "big", address = "[::1]:82", weight = 3 },
  { name = "app", address = "unix:/run/app.sock", backup = true, max_connections = 5 },
]
"""


def problems(result, path):
    """The (line, column) of every problem that was printed."""
    text = result.stdout + result.stderr
    return [(int(line), int(column)) for line, column in re.findall(PROBLEM.format(path=re.escape(str(path))), text)]


def test_version(command):
    result = command("--version")
    assert result.returncode == 0
    declared = re.search(r"version: '([^']+)'", (PROJECT_ROOT / "meson.build").read_text(encoding="utf-8")).group(1)
    assert declared in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["check", "--help"], ["import", "--help"]])
def test_help(command, arguments):
    result = command(*arguments)
    assert result.returncode == 0
    assert "millrace" in result.stdout.lower() or "usage" in result.stdout.lower()
    assert result.stderr == ""


@pytest.mark.parametrize("arguments", [
    ["fly"], ["run", "--no-such-option"], ["check", "-c"], ["run", "--listen", "127.0.0.1:0"],
    ["run", "--backend", "127.0.0.1:80"], ["run", "--listen", "nonsense", "--backend", "127.0.0.1:80"],
    ["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:80,weigth=3"],
    ["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:80", "--balance", "fastest"],
], ids=" ".join)
def test_wrong_command_lines(command, arguments):
    result = command(*arguments)
    assert result.returncode == 2, result
    assert result.stderr.strip()


def test_check_accepts(command, config_file):
    result = command("check", "-c", config_file(GOOD))
    assert result.returncode == 0, result
    assert "error" not in result.stdout + result.stderr


@pytest.mark.parametrize("text, words", [
    (GOOD.replace('"round_robin"', '"round_robbin"'), "round_robin"),
    (GOOD.replace("bind =", "bnid ="), "bind"),
    (GOOD.replace('pool = "web"', 'pool = "wbe"'), "web"),
    (GOOD.replace("weight = 3", "weight = 3000"), "1000"),
    (GOOD.replace("weight = 3", 'weight = "three"'), "weight"),
    (GOOD.replace("127.0.0.1:81", "127.0.0.1:99999"), "99999"),
    (GOOD.replace('name = "big"', 'name = "app"'), "app"),
    (GOOD + '[pools.empty]\nbackends = []\n', "backend"),
    (GOOD + '[pools.web.health]\ninterval = "1s"\ntimeout = "2s"\n', "timeout"),
    (GOOD + '[runtime]\nshutdown_timeout = "soon"\n', "shutdown_timeout"),
    (GOOD + "[runtime\n", ""),
], ids=lambda value: value[:0] or None)
def test_check_rejects(command, config_file, text, words):
    path = config_file(text)
    result = command("check", "-c", path)
    assert result.returncode == 2, result
    assert problems(result, path), result
    assert words in result.stdout + result.stderr


def test_check_finds_every_problem_at_once(command, config_file):
    text = GOOD.replace("bind =", "bnid =").replace("weight = 3", "weight = -1").replace("round_robin", "robin")
    path = config_file(text)
    found = problems(command("check", "-c", path), path)
    lines = text.split("\n")
    wanted = [next(n for n, line in enumerate(lines, 1) if word in line) for word in ("bnid", "robin", "weight")]
    assert set(wanted) <= {line for line, _ in found}, found


def test_a_bad_file_does_not_run(command, config_file):
    path = config_file(GOOD.replace("bind =", "bnid ="))
    result = command("run", "-c", path)
    assert result.returncode == 2
    assert problems(result, path)


@pytest.mark.parametrize("subcommand", ["run", "check"])
def test_missing_file(command, tmp_path, subcommand):
    result = command(subcommand, "-c", tmp_path / "nowhere.toml")
    assert result.returncode == 2
    assert "nowhere.toml" in result.stderr + result.stdout


def test_effective_configuration_loads_again_unchanged(command, config_file):
    first = command("check", "-c", config_file(GOOD), "--effective")
    assert first.returncode == 0, first
    for key in ("half_close_timeout", "connect_timeout", "fail_open", "shutdown_timeout", "interval"):
        assert key in first.stdout
    second = command("check", "-c", config_file(first.stdout), "--effective")
    assert second.returncode == 0, second
    assert second.stdout == first.stdout


def test_schema_is_the_one_in_the_tree(command):
    result = command("schema")
    assert result.returncode == 0
    committed = (PROJECT_ROOT / "conf" / "millrace.schema.json").read_text(encoding="utf-8")
    assert result.stdout == committed, "remedy: millrace schema > conf/millrace.schema.json"


IMPORTABLE = [("haproxy", "haproxy.cfg"), ("nginx", "nginx.conf"), ("gobetween", "gobetween.toml"),
              ("gobetween", "gobetween.json")]


@pytest.mark.parametrize("program, name", IMPORTABLE)
def test_import_prints_what_check_accepts(command, config_file, program, name):
    path = PROJECT_ROOT / "tests" / "import" / name
    result = command("import", program, path)
    assert result.returncode == 0, result
    assert re.search(rf"^{re.escape(str(path))}:\d+: note: ", result.stderr, re.MULTILINE)
    assert command("check", "-c", config_file(result.stdout)).returncode == 0


def test_import_of_which_nothing_is_left(command, config_file):
    result = command("import", "nginx", config_file("http { server { listen 80; } }\n"))
    assert result.returncode == 1
    assert "nothing is left" in result.stderr


@pytest.mark.parametrize("arguments", [["import"], ["import", "haproxy"], ["import", "envoy", "x"],
                                       ["import", "nginx", "/nonexistent"], ["import", "nginx", "/"]], ids=" ".join)
def test_import_wants_a_program_and_a_file(command, arguments):
    result = command(*arguments)
    assert result.returncode == 2
    assert result.stderr.strip()


def example_files():
    return sorted((PROJECT_ROOT / "conf").glob("**/*.toml"))


@pytest.mark.parametrize("path", example_files(), ids=lambda path: path.name)
def test_example_files_are_valid(command, path):
    result = command("check", "-c", path)
    assert result.returncode == 0, result


def test_quick_form(millrace, backend):
    servers = [backend(name_server, name=name) for name in ("one", "two")]
    arguments = ["run", "--listen", "127.0.0.1:0", "--balance", "round_robin"]
    for server in servers:
        arguments += ["--backend", server.text]
    balancer = millrace(arguments)
    assert {ask(balancer.address) for _ in range(8)} == {b"one", b"two"}


def test_quick_form_with_weights(millrace, backend):
    servers = [backend(name_server, name=name) for name in ("one", "two")]
    balancer = millrace(["run", "--listen", "127.0.0.1:0", "--backend", f"{servers[0].text},weight=0",
                         "--backend", f"{servers[1].text},weight=3,name=big"])
    assert {ask(balancer.address) for _ in range(8)} == {b"two"}


def test_address_in_use(millrace, backend):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = make_config([backend(echo)], listener={"bind": f"127.0.0.1:{port}"})
        balancer = millrace(config, wait=False)
        balancer.expect_status = 1
        assert balancer.wait_exit() == 1
        assert f"127.0.0.1:{port}" in balancer.tail()
        assert "in use" in balancer.tail().lower()
        assert not balancer.find_events("ready")


def test_ready_means_accepting(balancer, backend):
    running = balancer([backend(echo)])
    ready = running.wait_event("ready")
    assert int(ready["workers"]) == 2
    with connect(running.address) as client:
        assert exchange(client)


def test_text_log(millrace, backend):
    running = millrace(make_config([backend(echo)], runtime={"log_format": "text"}))
    assert not any(line.startswith("{") for line in running.lines)
    with connect(running.address) as client:
        assert exchange(client)
