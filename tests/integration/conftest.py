"""Fixtures of the integration tests: the balancer and its backends, ended and checked after every test."""

import contextlib
import faulthandler
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

sys.dont_write_bytecode = True

from harness.backends import Backend  # noqa: E402
from harness.config import make_config  # noqa: E402
from harness.datagrams import UdpBackend, open_client  # noqa: E402
from harness.millrace import Millrace  # noqa: E402
from harness.namespaces import Network  # noqa: E402
from harness.supervisor import passing_on  # noqa: E402

PROJECT_ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("MILLRACE_BIN") or PROJECT_ROOT / "build/src/app/millrace").resolve()
# All of them together; what has not started by then fails, so that a hanging balancer cannot hold up a pipeline.
BUDGET_SECONDS = float(os.environ.get("MILLRACE_TEST_BUDGET", "1800" if "SAN_OPTIONS" in " ".join(os.environ) else "720"))
TEST_SECONDS = 60

faulthandler.enable()


def pytest_configure(config):
    config.stash_started = time.monotonic()
    if not os.access(BINARY, os.X_OK):
        pytest.exit(f"no millrace at {BINARY}: build it, or set MILLRACE_BIN", returncode=3)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """Stops a test that hangs, with a stack trace, instead of waiting for ever."""
    marker = item.get_closest_marker("limit")
    seconds = (marker.args[0] if marker else TEST_SECONDS) * (4 if SANITIZED else 1)

    def on_alarm(_number, _frame):
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TimeoutError(f"the test took more than {seconds} s")

    previous = signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


def pytest_runtest_setup(item):
    if time.monotonic() - item.config.stash_started > BUDGET_SECONDS:
        pytest.fail(f"not run: all tests together took more than {BUDGET_SECONDS:g} s", pytrace=False)


def _is_sanitized():
    try:
        data = BINARY.read_bytes()
    except OSError:
        return False
    return b"__asan_init" in data or b"__tsan_init" in data


SANITIZED = _is_sanitized()


@pytest.fixture(scope="session")
def sanitized():
    """True when the binary has a sanitizer in it: its memory and speed then say nothing."""
    return SANITIZED


@pytest.fixture(scope="session")
def long_run():
    return os.environ.get("MILLRACE_LONG") == "1"


@pytest.fixture(params=["auto", "copy", "splice"])
def forwarding(request):
    return request.param


@pytest.fixture
def command():
    """Runs the binary to its end: command("check", "-c", path) -> CompletedProcess with text."""

    def run(*arguments, timeout=20):
        return subprocess.run([str(BINARY), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout, check=False)

    return run


@pytest.fixture
def config_file(tmp_path):
    """Writes a configuration and returns its path."""
    count = iter(range(1000))

    def write(text):
        path = tmp_path / f"millrace-{next(count)}.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def closing():
    """Closes what the test registers, in reverse order, and fails the test when one of them does not end well."""
    with contextlib.ExitStack() as stack:

        def register(thing):
            stack.callback(thing.close)
            return thing

        yield register


@pytest.fixture
def millrace(closing, config_file):
    """Starts a balancer from a configuration text or from arguments, and waits until it is ready.

    millrace(text) | millrace(["run", "--listen", …]); wait=False returns at once; `namespace` is one of `network`;
    `sockets` are passed on to it as systemd does.
    """

    def start(config, *, wait=True, open_files=None, env=None, namespace=None, sockets=()):
        arguments = ["run", "-c", str(config_file(config))] if isinstance(config, str) else list(config)
        program, fds = [str(BINARY), *arguments], ()
        if sockets:
            program, fds = passing_on(sockets, program)
        balancer = closing(Millrace([*(namespace.prefix if namespace else []), *program],
                                    open_files=open_files, env=env, pass_fds=fds))
        return balancer.wait_ready() if wait else balancer

    start.run_program = lambda program: closing(Millrace(program)).wait_ready()  # one that becomes a balancer
    return start


@pytest.fixture
def binary():
    return BINARY


@pytest.fixture
def backend(closing):
    """Starts a backend with a handler: backend(echo, name="a")."""

    def start(handler, **options):
        return closing(Backend(handler, **options))

    return start


@pytest.fixture
def balancer(millrace):
    """The usual case: balancer(backends, listener={…}, pool={…}, …) with the arguments of make_config."""

    def start(backends, *, open_files=None, namespace=None, **tables):
        return millrace(make_config(backends, **tables), open_files=open_files, namespace=namespace)

    return start


@pytest.fixture
def udp_backend(closing):
    """Starts a backend for datagrams: udp_backend(echo, name="a")."""

    def start(handler, **options):
        return closing(UdpBackend(handler, **options))

    return start


@pytest.fixture
def udp_balancer(balancer):
    """As `balancer`, with a listener for datagrams."""

    def start(backends, *, listener=None, **options):
        return balancer(backends, listener={"protocol": "udp"} | (listener or {}), **options)

    return start


@pytest.fixture
def client(closing):
    """Opens a UDP socket that is connected to an address: client(address, source="127.0.0.2")."""

    def start(address, source=None, **options):
        return closing(open_client(address, source, **options))

    return start


@pytest.fixture
def network(closing):
    """Network namespaces, which are gone after the test."""
    return closing(Network())
