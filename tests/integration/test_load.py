"""Other people's programs through the balancer: iperf3, wrk before nginx, redis-benchmark. No error is acceptable."""

import json
import re
import signal
import subprocess

import pytest

from harness.servers import FILE_SIZES, Iperf3, Nginx, Redis, program, redis_ping
from harness.config import PATIENT_HEALTH
from harness.sockets import connect, receive_all
from harness.waiting import wait_until

SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")


def run(arguments, timeout=60):
    return subprocess.run([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=timeout, check=False)


# iperf3: long streams.


@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("streams", [1, 8, 64])
def test_iperf3(balancer, closing, tmp_path, streams, direction):
    server = closing(Iperf3(tmp_path))
    # With --bidir the server of iperf3 takes its connections for sending or receiving by the order in which they come.
    # Two threads of a proxy may swap them, and then both ends of each only send (HAProxy with two threads the same).
    running = balancer([server], runtime={"workers": 1 if direction == "both" else 2})
    host, port = running.address
    options = {"up": [], "down": ["-R"], "both": ["--bidir"]}[direction]
    result = run([program("iperf3"), "-c", host, "-p", port, "-t", 2, "-P", streams, "-J", *options])
    report = json.loads(result.stdout)
    assert "error" not in report, report["error"]
    assert result.returncode == 0, result.stderr
    end = report["end"]
    sums = [end[name] for name in ("sum_sent", "sum_received", "sum_sent_bidir_reverse", "sum_received_bidir_reverse")
            if name in end]
    assert all(each["bytes"] > 0 for each in sums), json.dumps(end)
    print(f"{streams} streams {direction}: " + ", ".join(f"{each['bits_per_second'] / 1e9:.1f} Gbit/s" for each in sums))


# wrk: HTTP requests.


class Wrk:
    """The result of one run."""

    def __init__(self, output):
        self.output = output
        found = SOCKET_ERRORS.search(output)
        self.connect, self.read, self.write, self.timeout = (int(n) for n in found.groups()) if found else (0,) * 4
        self.not_2xx = int((re.search(r"Non-2xx or 3xx responses: (\d+)", output) or [0, 0])[1])
        self.requests = int(re.search(r"(\d+) requests in", output)[1])

    @property
    def errors(self):
        return self.connect + self.read + self.write + self.timeout + self.not_2xx


def wrk_arguments(address, connections, seconds, path="/name", close=False):
    headers = ["-H", "Connection: close"] if close else []
    return [program("wrk"), "-t2", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *headers,
            f"http://{address[0]}:{address[1]}{path}"]


def wrk(address, connections, seconds, **options):
    result = run(wrk_arguments(address, connections, seconds, **options))
    assert result.returncode == 0, result.stdout + result.stderr
    return Wrk(result.stdout)


@pytest.fixture
def three_nginx(closing, tmp_path):
    return [closing(Nginx(tmp_path, name)) for name in ("alpha", "beta", "gamma")]


@pytest.mark.parametrize("path", ["/name", "/10k", "/100k"])
@pytest.mark.parametrize("connections", [64, 512])
def test_wrk_keep_alive(balancer, three_nginx, connections, path):
    running = balancer(three_nginx, health=PATIENT_HEALTH)
    result = wrk(running.address, connections, 2, path=path)
    print(result.output)
    assert result.errors == 0, result.output
    assert result.requests > 0
    assert not running.find_events("backend_down")


@pytest.mark.parametrize("connections", [64, 512])
def test_wrk_one_request_per_connection(balancer, three_nginx, connections):
    running = balancer(three_nginx, health=PATIENT_HEALTH)
    result = wrk(running.address, connections, 3, close=True)
    print(result.output)
    assert result.errors == 0, result.output
    assert result.requests > 0


@pytest.mark.parametrize("size", list(FILE_SIZES))
def test_files_arrive_whole(balancer, three_nginx, size, forwarding):
    running = balancer(three_nginx, listener={"forwarding": forwarding})
    seen = set()
    for _ in range(6):
        with connect(running.address) as client:
            client.sendall(f"GET /{size} HTTP/1.0\r\n\r\n".encode())
            head, body = receive_all(client)[0].split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200")
        assert len(body) == FILE_SIZES[size] and len(set(body)) == 1
        seen.add(body[:1])
    assert seen == {b"a", b"b", b"g"}


# redis: small requests and answers, many at once.


def test_redis_benchmark(balancer, closing, tmp_path, forwarding):
    running = balancer([closing(Redis(tmp_path))], listener={"forwarding": forwarding})
    assert redis_ping(running.address)
    host, port = running.address
    result = run([program("redis-benchmark"), "-h", host, "-p", port, "-n", 20000, "-c", 50, "-P", 4,
                  "-t", "set,get,lrange_100", "-d", 500, "--csv"])
    assert result.returncode == 0 and "rror" not in result.stdout + result.stderr, result.stdout + result.stderr
    rows = [line for line in result.stdout.splitlines() if line.startswith('"') and "rps" not in line]
    assert len(rows) >= 3, result.stdout


# A backend that dies under load.


@pytest.mark.limit(120)
def test_killing_a_backend_under_load(balancer, closing, tmp_path, long_run, capsys):
    """Again and again one of three backends is killed and comes back. Only what was in flight on it may fail.

    That is each of its connections once; and once more where the kernel, which closes the connections of a killed process
    before its listening socket, has taken the client's next connection for the dead process as well.
    """
    servers = [closing(Nginx(tmp_path, name, access_log=True)) for name in ("alpha", "beta", "gamma")]
    # Patient: a backend that is taken for down while the load leaves the prober no time gets none of its connections back.
    # A port where nobody is refuses at once.
    running = balancer(servers, health={"type": "tcp", "interval": "1s", "timeout": "1s", "rise": 1, "fall": 2})
    connections = 64
    load = subprocess.Popen([str(argument) for argument in wrk_arguments(running.address, connections, 100)],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lost_max = 0

    def who_has_what():
        return ", ".join(f"{each.name} {each.connections()} connections, {each.requests()} requests" for each in servers)

    for server in servers * (3 if long_run else 1):
        # Every connection of the load is somewhere, so that what the kill can cost is known.
        wait_until(lambda: sum(each.connections() for each in servers) >= connections, what=who_has_what)
        requests = server.requests()
        wait_until(lambda s=server, n=requests: s.requests() > n, what=lambda s=server: f"requests at {s.name}: {who_has_what()}")
        lost_max += 2 * server.connections()
        server.kill(signal.SIGKILL)
        running.wait_event("backend_down", backend=server.name)
        server.start_again()
        running.wait_event("backend_up", backend=server.name)
    assert load.poll() is None, "the load ended before the last kill was over"
    load.send_signal(signal.SIGINT)  # it tells what it has counted
    output, _ = load.communicate(timeout=60)
    result = Wrk(output)
    shares = {server.name: server.requests() for server in servers}
    with capsys.disabled():
        print(f"\n  requests {result.requests}, failed {result.errors} of at most {lost_max} in flight; shares: "
              + ", ".join(f"{name} {count} ({count / max(1, sum(shares.values())):.0%})" for name, count in shares.items()))
    assert result.connect == 0 and result.timeout == 0 and result.not_2xx == 0, output
    assert result.read + result.write <= lost_max, output
    assert min(shares.values()) > 0
