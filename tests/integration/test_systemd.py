"""Under a service manager: what it is told, its watchdog, and the sockets that it passes on."""

import os
import pathlib
import socket

import pytest

from harness.backends import name_server
from harness.config import make_config
from harness.datagrams import echo
from harness.sockets import ask, connect, free_port, receive_all
from harness.supervisor import NotifySocket, StoppedThread
from harness.waiting import wait_until

STALL_USEC = 400_000


@pytest.fixture
def notify(closing, tmp_path):
    return closing(NotifySocket(tmp_path / "notify"))


@pytest.fixture
def supervised(notify, millrace):
    """Starts a balancer that has `notify`, and with `watchdog_usec` a watchdog (which is of any process)."""

    def start(config, watchdog_usec=0, **options):
        env = {"NOTIFY_SOCKET": notify.path} | ({"WATCHDOG_USEC": str(watchdog_usec)} if watchdog_usec else {})
        return millrace(config, env=env, **options)

    return start


# Notifications.


def test_ready_when_it_accepts(notify, supervised, backend):
    running = supervised(make_config([backend(name_server, name="a")]), wait=False)
    notify.wait_line("READY=1")
    # Nothing of the log is waited for: the port must be known, and accept, by now.
    running.wait_ready()
    assert ask(running.address) == b"a"
    assert notify.lines()[:2] == ["READY=1", "STATUS=2 workers, 1 of 1 backends up, 0 connections, 0 accepted"]


def test_status_counts(notify, supervised, backend):
    running = supervised(make_config([backend(name_server, name="a")]))
    with connect(running.address) as client:
        client.sendall(b"?")
        assert client.recv(100)
        notify.wait_line("STATUS=2 workers, 1 of 1 backends up, 1 connections, 1 accepted")
    notify.wait_line("STATUS=2 workers, 1 of 1 backends up, 0 connections, 1 accepted")


def test_stopping_asks_for_the_time_of_the_drain(notify, supervised, backend):
    running = supervised(make_config([backend(name_server, name="a")], runtime={"shutdown_timeout": "100s"}))
    running.close()
    lines = notify.lines()
    assert lines.count("STOPPING=1") == 1
    assert "EXTEND_TIMEOUT_USEC=110000000" in lines
    assert lines[-1].startswith("STATUS=stopping: ")


def test_a_failed_start_is_told_but_never_ready(notify, supervised, backend):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = supervised(make_config([backend(name_server, name="a")], listener={"bind": f"127.0.0.1:{port}"}), wait=False)
        running.expect_status = 1
        assert running.wait_exit() == 1
    notify.wait_line("STATUS=cannot start: listener web: cannot listen on 127.0.0.1")
    assert "READY=1" not in notify.lines()


def test_nobody_listens_to_it(millrace, backend, tmp_path):
    running = millrace(make_config([backend(name_server, name="a")]), env={"NOTIFY_SOCKET": str(tmp_path / "nothing")})
    running.wait_event("notify_failed")
    assert ask(running.address) == b"a"


# The watchdog.


def test_no_watchdog_asked_for(notify, supervised, backend):
    supervised(make_config([backend(name_server, name="a")])).close()
    assert notify.pings() == 0


def test_an_idle_balancer_pings(notify, supervised, backend):
    supervised(make_config([backend(name_server, name="a")]), watchdog_usec=STALL_USEC)
    wait_until(lambda: notify.pings() >= 5, what="five pings")


@pytest.mark.parametrize("worker", [0, 1])
def test_no_ping_while_a_worker_hangs(notify, supervised, backend, worker):
    running = supervised(make_config([backend(name_server, name="a")]), watchdog_usec=STALL_USEC)
    running.expected_errors.add("worker_stalled")
    wait_until(lambda: notify.pings() >= 2, what="pings")
    with StoppedThread(running.thread(f"worker-{worker}")):
        running.wait_event("worker_stalled", worker=worker)
        before = len(notify)
        # The other worker still accepts, and who looks at the workers tells of it: some rounds without a ping.
        clients = [connect(running.address) for _ in range(3)]
        for _ in range(4):
            mark = len(notify)
            wait_until(lambda: clients.append(connect(running.address)) or
                       any(line.startswith("STATUS=") for line in notify.lines(mark)), what="a status")
        pings = notify.lines(before).count("WATCHDOG=1")
    assert pings == 0
    running.wait_event("worker_resumed", worker=worker)
    seen = notify.pings()
    wait_until(lambda: notify.pings() > seen, what="pings after it went on")


# Sockets passed on.


def listening(address=("127.0.0.1", 0), family=socket.AF_INET, kind=socket.SOCK_STREAM, v6_only=None, reuse_port=False):
    one = socket.socket(family, kind)
    if v6_only is not None:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
    if reuse_port:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(address)
    if kind == socket.SOCK_STREAM:
        one.listen(16)
    return one


@pytest.mark.parametrize("workers", [1, 3])
def test_a_passed_socket_is_used(millrace, backend, workers):
    with listening() as passed:
        address = passed.getsockname()
        early = connect(address)  # before there is anybody to accept
        running = millrace(make_config([backend(name_server, name="a")], runtime={"workers": workers},
                                       listener={"bind": f"127.0.0.1:{address[1]}"}), sockets=[passed])
        assert running.address == address
        assert running.find_events("passed_socket_used", listener="web", sockets=1, workers=workers)
        early.sendall(b"?")
        assert receive_all(early)[0] == b"a"
        early.close()
        for _ in range(20):
            assert ask(address) == b"a"
        running.close()
        # It is still open here, as it is in systemd: connections wait for the next one.
        connect(address).close()


def test_several_sockets_of_one_address(millrace, backend):
    with listening(reuse_port=True) as first, listening(first.getsockname(), reuse_port=True) as second:
        address = first.getsockname()
        running = millrace(make_config([backend(name_server, name="a")], listener={"bind": f"127.0.0.1:{address[1]}"}),
                           sockets=[first, second])
        assert running.find_events("passed_socket_used", listener="web", sockets=2, workers=2)
        for _ in range(40):  # they come to either socket
            assert ask(address) == b"a"


def test_one_socket_for_both_families(millrace, backend):
    with listening(("::", 0), socket.AF_INET6, v6_only=0) as passed:
        port = passed.getsockname()[1]
        running = millrace(make_config([backend(name_server, name="a")], listener={"bind": f"*:{port}"}), sockets=[passed])
        assert len(running.find_events("passed_socket_used")) == len(running.find_events("listening")) == 1
        assert ask(("127.0.0.1", port)) == b"a"
        assert ask(("::1", port)) == b"a"


def test_one_family_passed_the_other_opened(millrace, backend):
    with listening(("0.0.0.0", 0)) as passed:
        port = passed.getsockname()[1]
        running = millrace(make_config([backend(name_server, name="a")], listener={"bind": f"*:{port}"}), sockets=[passed])
        assert len(running.find_events("passed_socket_used")) == 1
        assert len(running.find_events("listening")) == 2
        assert ask(("127.0.0.1", port)) == b"a"
        assert ask(("::1", port)) == b"a"


def test_a_passed_unix_socket_keeps_its_file(millrace, backend, tmp_path):
    path = str(tmp_path / "web.sock")
    with listening(path, socket.AF_UNIX) as passed:
        running = millrace(make_config([backend(name_server, name="a")], listener={"bind": f"unix:{path}"}), sockets=[passed])
        assert ask(path) == b"a"
        running.close()
        assert pathlib.Path(path).is_socket()


@pytest.mark.parametrize("dual_stack", [False, True])
def test_a_passed_udp_socket(millrace, udp_backend, dual_stack):
    family, address, v6_only = (socket.AF_INET6, "::", 0) if dual_stack else (socket.AF_INET, "127.0.0.1", None)
    with listening((address, 0), family, socket.SOCK_DGRAM, v6_only) as passed:
        port = passed.getsockname()[1]
        bind = f"*:{port}" if dual_stack else f"127.0.0.1:{port}"
        running = millrace(make_config([udp_backend(echo)], listener={"protocol": "udp", "bind": bind}),
                           sockets=[passed])
        # One worker only: the datagrams of a client must all come to the one that knows its session.
        assert running.find_events("passed_socket_used", listener="web", sockets=1, workers=1)
        for host in ["127.0.0.1", "::1"] if dual_stack else ["127.0.0.1"]:
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.settimeout(10)
                sender.connect((host, port))  # takes answers from there only
                for number in range(5):
                    sender.send(b"%d" % number)
                    assert sender.recv(100) == b"%d" % number
        assert running.stopped()["udp_sessions"] == (2 if dual_stack else 1)


def test_what_matches_nothing_is_closed_and_named(millrace, backend):
    # Of the ports that no other program gets meanwhile: it has to be free for TCP, too.
    datagram = listening(("127.0.0.1", free_port()), kind=socket.SOCK_DGRAM)
    not_listening = socket.socket()
    not_listening.bind(("127.0.0.1", 0))
    with listening() as stray, datagram, not_listening:
        port = datagram.getsockname()[1]  # that of the listener, but it is no stream socket
        running = millrace(make_config([backend(name_server, name="a")], listener={"bind": f"127.0.0.1:{port}"}),
                           sockets=[stray, datagram, not_listening])
        unused = {event["fd"]: event for event in running.find_events("passed_socket_unused")}
        assert sorted(unused) == [3, 4, 5]
        assert [unused[fd]["kind"] for fd in (3, 4)] == ["stream", "datagram"]
        assert unused[5]["kind"].startswith("neither")
        assert unused[3]["address"] == f"127.0.0.1:{stray.getsockname()[1]}"
        inodes = {os.fstat(one.fileno()).st_ino for one in (stray, datagram, not_listening)}
        folder = pathlib.Path(f"/proc/{running.pid}/fd")
        assert not inodes & {os.stat(entry).st_ino for entry in folder.iterdir() if entry.exists()}
        assert ask(running.address) == b"a"


def test_sockets_for_another_process_are_left_alone(millrace, backend):
    running = millrace(make_config([backend(name_server, name="a")]), env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert not running.find_events("passed_socket_unused")
    assert ask(running.address) == b"a"
