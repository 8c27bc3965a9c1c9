"""millrace top, in a terminal."""

import re
import signal

import pytest

from harness.backends import echo
from harness.sockets import connect, exchange
from harness.waiting import wait_until

pytest.importorskip("pyte", reason="python3-pyte is missing; tools/install-deps test brings it")
from harness.terminal import Terminal  # noqa: E402

UP, DOWN, PAGE_DOWN, HOME, END = b"\x1bOA", b"\x1bOB", b"\x1b[6~", b"\x1bOH", b"\x1bOF"
NAMES = [f"b{number:02}" for number in range(10)]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "control.sock")


@pytest.fixture
def running(balancer, backend, path):
    """A balancer with ten backends, one of them gone."""
    server = backend(echo)
    backends = [{"name": name, "address": server.text} for name in NAMES[:-1]]
    return balancer([*backends, {"name": NAMES[-1], "address": "127.0.0.1:1"}], pool={"balance": "round_robin"},
                    admin={"socket": path}, health={"type": "tcp", "interval": "200ms", "timeout": "200ms", "fall": 1})


@pytest.fixture
def top(closing, binary, path):
    def start(*arguments, **options):
        return closing(Terminal([str(binary), "top", "--socket", path, "--interval", "100ms", *arguments], **options))

    return start


def row_of(screen, name):
    """The line of a backend as words."""
    return next((line.split() for line in screen.lines if line.split()[:1] == [name]), None)


def wait_state(screen, name, state):
    """Until the line of a backend shows the state: a frame arrives in pieces, its head first."""
    wait_until(lambda: (row_of(screen, name) or [])[1:2] == [state], what=lambda: f"{name} {state}:\n{screen.text}")


def test_shows_traffic_and_states(running, top):
    screen = top()
    screen.wait_for("9/10 up")
    assert f"pid {running.pid}" in screen.lines[0]
    wait_state(screen, "b00", "up")
    wait_state(screen, "b09", "down")
    with connect(running.address) as sock:
        assert exchange(sock, b"hello")
        wait_until(lambda: re.search(r"active 1 ", screen.lines[1]), what=lambda: f"one connection:\n{screen.text}")
        wait_until(lambda: sum(int(row_of(screen, name)[3]) for name in NAMES) == 1,
                   what=lambda: f"its row:\n{screen.text}")
    wait_until(lambda: re.search(r"active 0 ", screen.lines[1]), what="its end")

    def is_busy():
        with connect(running.address) as other:
            exchange(other, b"x" * 5000)
        fact = re.search(r"new (\S+)/s .* in (\S+)/s .* out (\S+)/s", screen.lines[1])
        return fact and all(value != "0" for value in fact.groups())

    wait_until(is_busy, what=lambda: f"rates:\n{screen.text}")
    assert re.search("[▁▂▃▄▅▆▇█]", screen.text)
    screen.type("q")
    assert screen.wait_exit() == 0


def test_drains_and_enables_after_a_question(running, top):
    screen = top()
    screen.wait_for("9/10 up")
    screen.type(DOWN + DOWN + b"d")
    screen.wait_for("drain web/b01?")
    screen.type("n")
    screen.wait_for("nothing was changed")
    wait_state(screen, "b01", "up")
    screen.type("dy")
    screen.wait_for("web/b01: draining")
    wait_state(screen, "b01", "draining")
    screen.type("ey")
    screen.wait_for("web/b01: up")
    screen.type("w7\r")
    screen.wait_for("weight 7")


def test_filter_order_pause_and_help(running, top):
    screen = top()
    screen.wait_for("9/10 up")
    screen.type("/down")
    wait_until(lambda: row_of(screen, "b09") and not row_of(screen, "b00"), what=lambda: f"the filter:\n{screen.text}")
    screen.type(b"\r")
    screen.wait_for("filter: down")
    screen.type(b"\x1b")
    wait_until(lambda: row_of(screen, "b00"), what="all of them")
    screen.type(">>")
    wait_until(lambda: screen.text.find("  b09") < screen.text.find("  b00"), what="what is down to come first")
    screen.type("p")
    screen.wait_for("PAUSED")
    screen.type("?")
    screen.wait_for("drain: no new connections")
    screen.type("q")
    screen.wait_gone("drain: no new connections")
    screen.type("q")
    assert screen.wait_exit() == 0


def test_a_hundred_backends_and_other_sizes(balancer, backend, top, path):
    server = backend(echo)
    balancer([{"name": f"n{number:03}", "address": server.text} for number in range(100)], admin={"socket": path})
    screen = top()
    screen.wait_for("100/100 up")
    wait_state(screen, "n000", "up")
    assert not row_of(screen, "n099")
    screen.type(END)
    wait_until(lambda: row_of(screen, "n099"), what=lambda: f"the last one:\n{screen.text}")
    screen.resize(40, 140)
    wait_until(lambda: "ADDRESS" in screen.text and len([line for line in screen.lines if "  n0" in line]) > 20,
               what=lambda: f"more of them:\n{screen.text}")
    screen.type(HOME)
    wait_until(lambda: row_of(screen, "n000") and not row_of(screen, "n099"), what="the first one")
    screen.resize(5, 20)
    wait_until(lambda: len(screen.lines) == 5 and "millrace" in screen.lines[0], what="a small screen")
    screen.resize(24, 80)
    screen.wait_for("100/100 up")


def test_goes_on_when_the_balancer_restarts(running, top, millrace, config_file, path):
    screen = top()
    screen.wait_for("9/10 up")
    running.close()
    screen.wait_for("not connected, trying again")
    assert row_of(screen, "b00"), "the last picture stays"
    again = millrace("[listeners.web]\nbind = '127.0.0.1:0'\npool = 'web'\n[runtime]\nlog_format = 'json'\n"
                     f"[admin]\nsocket = '{path}'\n[pools.web]\nbackends = ['127.0.0.1:1']\nhealth = {{ type = 'none' }}\n")
    screen.wait_for(f"pid {again.pid}")
    screen.wait_gone("not connected")


def test_says_that_the_balancer_does_not_answer(running, top):
    screen = top()
    screen.wait_for("9/10 up")
    running.signal(signal.SIGSTOP)
    try:
        screen.wait_for("has not answered")
        screen.type("q")
        assert screen.wait_exit() == 0
        assert screen.is_restored
    finally:
        running.signal(signal.SIGCONT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_signals_leave_the_terminal_as_it_was(running, top, number):
    screen = top()
    screen.wait_for("9/10 up")
    assert not screen.is_restored
    screen.signal(number)
    assert screen.wait_exit() == -number
    wait_until(lambda: screen.is_restored, what=lambda: f"the terminal as it was: {screen.raw[-200:]!r}")


def test_without_colours_and_without_utf_8(running, top):
    screen = top(env={"NO_COLOR": "1", "LC_ALL": "C"})
    screen.wait_for("9/10 up")
    wait_state(screen, "b09", "down")
    assert screen.text.isascii()
    assert {cell.fg for row in screen.cells for cell in row} == {"default"}


def test_states_are_coloured(running, top):
    screen = top()
    screen.wait_for("9/10 up")
    wait_state(screen, "b09", "down")
    (row,) = [number for number, line in enumerate(screen.lines) if line.split()[:1] == ["b09"]]
    assert {cell.fg for cell in screen.cells[row] if cell.data == "d"} == {"red"}


def test_needs_a_terminal_and_a_balancer(command, top, path, running, binary, closing):
    done = command("top", "--socket", path)
    assert done.returncode == 1
    assert "needs a terminal" in done.stderr and "millrace status" in done.stderr
    assert "\x1b" not in done.stdout
    screen = closing(Terminal([str(binary), "top", "--socket", path + ".not"], columns=200))
    assert screen.wait_exit() == 1
    screen.wait_for("no balancer runs there")
    screen = top(env={"TERM": "no-such-terminal"})
    assert screen.wait_exit() == 1
    screen.wait_for("set TERM")
    assert command("top", "--interval", "1h").returncode == 2
    assert command("top", "--interval", "20s").returncode == 2
