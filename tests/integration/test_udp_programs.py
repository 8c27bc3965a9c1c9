"""Programs of other people over UDP, and floods beside them."""

import json
import re
import signal
import subprocess

import pytest

from harness.backends import echo as echo_stream
from harness.backends import sink as sink_stream
from harness.config import FAST_HEALTH, PATIENT_HEALTH, backend_entry, toml_table
from harness.datagrams import ask, ask_patiently, echo, pending, sink
from harness.servers import Dnsmasq, Flood, Iperf3, program
from harness.sockets import connect, exchange, free_port, pattern
from harness.waiting import wait_until


def run(arguments, timeout=60):
    return subprocess.run([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, check=False)


# DNS.


def dnsperf_arguments(address, folder, rate, seconds):
    names = folder / "names"
    names.write_text("".join(f"host{number}.example.test A\n" for number in range(500)), encoding="ascii")
    return [program("dnsperf"), "-s", address[0], "-p", str(address[1]), "-d", str(names), "-c", "12", "-T", "2",
            "-Q", str(rate), "-l", str(seconds), "-t", "4"]


class DnsResult:
    def __init__(self, output):
        self.output = output
        self.sent, self.completed, self.lost = (
            int(re.search(rf"Queries {what}:\s+(\d+)", output).group(1)) for what in ("sent", "completed", "lost"))
        codes = re.search(r"Response codes:\s+(.*)", output).group(1)
        self.all_good = re.fullmatch(r"NOERROR \d+ \(100\.00%\)", codes.strip()) is not None


@pytest.fixture
def three_dnsmasq(closing, tmp_path):
    return [closing(Dnsmasq(tmp_path, name)) for name in ("alpha", "beta", "gamma")]


@pytest.mark.parametrize("responses", [0, 1])
def test_dnsperf(udp_balancer, three_dnsmasq, tmp_path, responses):
    """With responses = 1 every answer ends its session, unless further questions are open."""
    running = udp_balancer(three_dnsmasq, listener={"responses": responses}, health=PATIENT_HEALTH)
    result = DnsResult(run(dnsperf_arguments(running.address, tmp_path, 2000, 2)).stdout)
    assert result.lost == 0 and result.completed == result.sent > 0 and result.all_good, result.output
    answered = [server.answered() for server in three_dnsmasq]
    assert min(answered) > 0 and sum(answered) == result.completed, answered
    assert not running.find_events("backend_down")


@pytest.mark.limit(120)
def test_dns_servers_die_and_come_back(udp_balancer, three_dnsmasq, tmp_path, long_run, capsys):
    """Three times one of three servers is killed and started again, while others ask. No answer is lost.

    The load stands still for the moment of a kill, until the server owes nothing: what a dying server has taken and
    not answered is lost to everybody. The questions that follow find a port where nobody is, before any probe does.
    """
    running = udp_balancer(three_dnsmasq, health=FAST_HEALTH)
    load = subprocess.Popen(dnsperf_arguments(running.address, tmp_path, 2000, 20 if long_run else 8),
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for server in three_dnsmasq:
        answered = server.answered()
        wait_until(lambda s=server, n=answered: s.answered() > n, what=f"questions at {server.name}")
        load.send_signal(signal.SIGSTOP)
        calm = iter(range(5))
        wait_until(lambda s=server, calm=calm: s.is_idle() and next(calm, None) is None, what=f"{server.name} to owe nothing")
        server.kill()
        load.send_signal(signal.SIGCONT)
        running.wait_event("backend_down", backend=server.name)
        server.start_again()
        running.wait_event("backend_up", backend=server.name)
    still_running = load.poll() is None
    output, _ = load.communicate(timeout=60)
    assert still_running, "the load ended before the third kill was over"
    result = DnsResult(output)
    with capsys.disabled():
        print(f"\n  questions {result.sent}, answered {result.completed}, lost {result.lost}")
    assert result.lost == 0 and result.completed == result.sent and result.all_good, output


# iperf3: its control connection needs TCP on the same port.


@pytest.fixture
def iperf3(balancer, closing, tmp_path):
    port = free_port()
    running = balancer([closing(Iperf3(tmp_path))], listener={"bind": f"127.0.0.1:{port}"},
                       more_listeners={"datagrams": {"protocol": "udp", "bind": f"127.0.0.1:{port}"}})

    def measure(*options):
        result = run([program("iperf3"), "-c", "127.0.0.1", "-p", port, "-u", "-t", 1, "-w", "1M", "-J", *options])
        report = json.loads(result.stdout)
        assert result.returncode == 0 and "error" not in report, result.stdout
        return report["end"]

    measure.running = running
    return measure


@pytest.mark.parametrize("reverse", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("size, streams", [(100, 1), (1200, 1), (1200, 8), (8000, 8)])
def test_iperf3(iperf3, reverse, size, streams):
    end = iperf3("-l", size, "-b", f"{size * 8 * 2000 // streams}", "-P", streams, *(["-R"] if reverse else []))
    total = end["sum"]
    print(f"{total['packets']} datagrams, {total['lost_packets']} lost")
    assert len(end["streams"]) == streams
    assert all(stream["udp"]["packets"] > 0 and stream["udp"]["out_of_order"] == 0 for stream in end["streams"])
    # On a machine that has no time to spare a socket's buffer may overflow for a moment.
    assert total["lost_percent"] < 5, total


# Floods. Nothing is said about how fast the others are; but they go on.


@pytest.fixture
def both_protocols(millrace, backend, udp_backend):
    """One worker with a listener for streams and one for datagrams: (balancer, address of the one, of the other)."""

    def start(stream, datagram):
        tables = {"runtime": {"workers": 1, "log_format": "json", "shutdown_timeout": "10s"}}
        for name, protocol, server in (("streams", "tcp", backend(stream)),
                                       ("datagrams", "udp", udp_backend(datagram, keep=False))):
            tables[f"listeners.{name}"] = {"protocol": protocol, "bind": "127.0.0.1:0", "pool": name}
            tables[f"pools.{name}"] = {"backends": [backend_entry(server)], "health": {"type": "none"}}
        running = millrace("\n".join(toml_table(name, table) for name, table in tables.items()))
        return running, running.addresses("streams")[0], running.addresses("datagrams")[0]

    return start


def echo_questions(data, _peer, _backend):
    """Answers whatever is no part of a flood."""
    return [data] if data.startswith(b"?") else None


def test_streams_go_on_in_a_flood_of_datagrams(both_protocols, closing):
    _, streams, datagrams = both_protocols(echo_stream, sink)
    flood = closing(Flood("udp", datagrams))
    data = pattern(1 << 16, 1)
    with connect(streams) as steady:
        for _ in range(50):
            assert exchange(steady)
            assert exchange(steady, data)
            with connect(streams) as short:
                assert exchange(short)
    assert flood.runs


def test_datagrams_go_on_in_a_flood_of_streams(both_protocols, closing, client):
    """Not one is lost: streams that take all they can get take no room from datagrams."""
    running, streams, datagrams = both_protocols(sink_stream, echo)
    flood = closing(Flood("tcp", streams))
    for _ in range(10):
        visitor = client(datagrams)
        for number in range(50):
            assert ask(visitor, b"%d" % number) == b"%d" % number
        assert not pending([visitor])
    assert flood.runs
    flood.close()
    assert running.stopped()["datagrams_dropped"] == 0


def test_a_conversation_goes_on_in_a_flood_of_datagrams(both_protocols, closing, client):
    """Some of its datagrams are lost before anybody can see them, where the kernel has no room; asking again helps."""
    _, _, datagrams = both_protocols(echo_stream, echo_questions)
    visitor = client(datagrams)
    flood = closing(Flood("udp", datagrams))
    for _ in range(10):
        assert ask_patiently(visitor, b"?", 0.05)[0] == b"?"
    assert flood.runs
