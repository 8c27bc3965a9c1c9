"""The balancer over HTTP: what it serves, to whom, and what nobody can do to it."""

import json
import re
import signal
import socket
import threading

import pytest

from harness.backends import echo, greeter
from harness.http import HttpClient
from harness.sockets import connect, exchange, receive_all, receive_exactly
from harness.waiting import DEADLINE, wait_until

TOKEN = "a-token.of/the+test=="


@pytest.fixture
def served(balancer):
    """A balancer that serves HTTP on a port that the kernel chooses: (balancer, client)."""

    def start(backends, *, token="", admin=None, **tables):
        running = balancer(backends, admin={"http": "127.0.0.1:0", "token": token} | (admin or {}), **tables)
        return running, HttpClient(running.http_address, token)

    return start


@pytest.fixture
def web(served, backend):
    """The usual one: a backend that echoes, and a token."""
    return served([backend(echo, name="a")], token=TOKEN)


# Health and readiness.


def test_healthy_and_ready(web):
    _, http = web
    for path, body in (("/healthz", "ok\n"), ("/readyz", "ready\n")):
        answer = http.get(path)
        assert (answer.status, answer.text) == (200, body)
        head = http.ask("HEAD", path)
        assert (head.status, head.body, head.fields["content-length"]) == (200, b"", str(len(body)))


def test_not_ready_any_more_while_it_stops(web):
    running, http = web
    with connect(running.address) as sock:
        assert exchange(sock, b"x")
        running.signal(signal.SIGTERM)
        assert wait_until(lambda: http.get("/readyz").status == 503, what="the end of readiness")
        assert http.get("/healthz").status == 200
        assert exchange(sock, b"y")  # it drains
        assert http.get("/api/v1/status").json["listeners"][0]["active"] == 1
    running.wait_exit()


def test_not_ready_once_the_listeners_are_closed(web):
    running, http = web
    with connect(running.address) as sock:
        assert exchange(sock, b"x")
        running.signal(signal.SIGTERM)
        wait_until(lambda: is_refused(running.address), what="closed listeners")
        assert http.get("/readyz").status == 503  # at once: it turned before
    running.wait_exit()


def is_refused(address):
    try:
        with socket.create_connection(address, DEADLINE):
            return False
    except ConnectionRefusedError:
        return True


# The API.


def test_status_is_that_of_the_control_socket(served, backend, tmp_path, command):
    path = str(tmp_path / "control.sock")
    running, http = served([backend(echo, name="a")], admin={"socket": path})
    with connect(running.address) as sock:
        assert exchange(sock, b"12345")
        over_http = http.get("/api/v1/status").json
        by_command = json.loads(command("status", "--json", "--socket", path).stdout)
    for status in (over_http, by_command):
        status.pop("uptime_seconds")
        for worker in status["workers"]:
            worker.pop("busy_seconds")
    assert over_http == by_command
    assert over_http["listeners"][0]["bytes"] == {"in": 5, "out": 5}


def test_connections_and_kill(web):
    running, http = web
    with connect(running.address) as sock:
        assert exchange(sock, b"x")
        (entry,) = http.get("/api/v1/connections?listener=web&pool=web&backend=a&limit=10").json["connections"]
        assert entry["backend"] == "a"
        assert http.post("/api/v1/connections/kill", {"id": entry["id"]}).json == entry["id"]
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert http.post("/api/v1/connections/kill", {"id": entry["id"]}).status == 422


def test_connections_in_pages(web):
    running, http = web
    socks = [connect(running.address) for _ in range(5)]
    for sock in socks:
        assert exchange(sock, b"x")
    seen, after = [], ""
    while True:
        page = http.get(f"/api/v1/connections?limit=2&after={after}").json
        seen += [entry["id"] for entry in page["connections"]]
        after = page["next"]
        if not after:
            break
    assert len(set(seen)) == len(seen) == 5
    for sock in socks:
        sock.close()


def test_why(web):
    _, http = web
    (explanation,) = http.get("/api/v1/why?client=192.0.2.9%3A50&listener=web").json
    assert explanation["pool"] == "web"
    assert http.get("/api/v1/why?client=nonsense").status == 422
    assert http.get("/api/v1/why").status == 400
    assert "client is missing" in http.get("/api/v1/why").json["error"]["message"]


def test_draining_and_weights(served, backend):
    servers = [backend(greeter, name=name) for name in "ab"]
    running, http = served(servers, token=TOKEN)

    def change(**arguments):
        return http.post("/api/v1/backend", {"pool": "web", "backend": "a", **arguments})

    assert change(action="drain").json["state"] == "draining"
    for _ in range(4):
        with connect(running.address) as sock:
            assert receive_exactly(sock, 12) == b"hello from b"
    assert change(action="disable").json["state"] == "disabled"
    assert change(action="enable").json["state"] == "up"
    assert change(action="weight", weight=7).json["weight"] == 7
    assert http.get("/api/v1/status").json["pools"][0]["backends"][0]["weight"] == 7
    assert change(action="explode").status == 400
    unknown = http.post("/api/v1/backend", {"pool": "web", "backend": "x", "action": "drain"})
    assert unknown.status == 422
    assert "it has: a, b" in unknown.json["error"]["message"]


# Who may.


CHANGE = {"pool": "web", "backend": "a", "action": "drain"}


def state(http):
    return http.get("/api/v1/status").json["pools"][0]["backends"][0]["state"]


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], TOKEN + "x"])
def test_changes_need_the_token(web, token):
    running, http = web
    stranger = HttpClient(running.http_address, token)
    for path in ("backend", "connections/kill", "reload"):
        answer = stranger.post(f"/api/v1/{path}", CHANGE)
        assert answer.status == 401, answer
        assert answer.fields["www-authenticate"].startswith("Bearer")
        assert answer.json["error"]["code"] == "unauthorized"
    assert state(stranger) == "up"  # on a loopback address reading is free


def test_without_a_configured_token_changes_are_refused_and_it_says_why(served, backend):
    running, http = served([backend(echo, name="a")])
    for token in (None, "", "x"):
        answer = HttpClient(running.http_address, token).post("/api/v1/backend", CHANGE)
        assert answer.status == 403, answer
        assert "[admin] token" in answer.json["error"]["message"]
    assert state(http) == "up"


def test_an_address_that_others_reach_needs_the_token_for_all_but_probes_and_the_page(served, backend):
    running, http = served([backend(echo, name="a")], token=TOKEN, admin={"http": "*:0"})
    http.address = ("127.0.0.1", http.address[1])  # `*` is both families
    stranger = HttpClient(http.address)
    for path in ("/metrics", "/api/v1/status", "/api/v1/connections", "/api/v1/why?client=192.0.2.1"):
        assert stranger.get(path).status == 401, path
        assert http.get(path).status == 200, path
        assert http.get(path, fields={"Host": "lb.example.com"}).status == 200, path
    for path in ("/", "/healthz", "/readyz"):
        assert stranger.get(path).status == 200, path
    assert stranger.post("/api/v1/backend", CHANGE).status == 401
    assert http.post("/api/v1/backend", CHANGE).status == 200


def test_names_from_elsewhere_are_not_answered(web):
    """DNS rebinding: a page's own name can be made to lead here, but then it is that name that is asked for."""
    running, http = web
    for host in ("evil.example", f"evil.example:{running.http_address[1]}", "localhost.evil.example", "127.0.0.1.x", ""):
        for path in ("/", "/metrics", "/api/v1/status"):
            assert http.get(path, fields={"Host": host}).status == 421, (host, path)
        assert http.post("/api/v1/backend", CHANGE, fields={"Host": host}).status == 421
        assert http.get("/healthz", fields={"Host": host}).status == 200
    assert state(http) == "up"
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:9900", "10.1.2.3"):
        assert http.get("/api/v1/status", fields={"Host": host}).status == 200, host


@pytest.mark.parametrize("fields", [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
], ids=str)
def test_pages_from_elsewhere_change_nothing(web, fields):
    _, http = web
    answer = http.post("/api/v1/backend", CHANGE, fields=fields)
    assert (answer.status, answer.json["error"]["code"]) == (403, "bad_origin")
    assert state(http) == "up"


def test_the_page_itself_may_change(web):
    running, http = web
    host, port = running.http_address
    answer = http.post("/api/v1/backend", CHANGE,
                       fields={"Origin": f"http://{host}:{port}", "Sec-Fetch-Site": "same-origin"})
    assert answer.status == 200, answer


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None])
def test_changes_are_json(web, kind):
    _, http = web
    fields = {} if kind is None else {"Content-Type": kind}
    answer = http.ask("POST", "/api/v1/backend", body=json.dumps(CHANGE).encode(), fields=fields)
    assert answer.status == 415, answer
    assert state(http) == "up"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO"])
def test_methods_for_reading(web, method):
    _, http = web
    for path in ("/", "/healthz", "/metrics", "/api/v1/status"):
        answer = http.ask(method, path)
        assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD")
        assert not [name for name in answer.fields if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_methods_for_changing(web, method):
    _, http = web
    answer = http.ask(method, "/api/v1/backend")
    assert (answer.status, answer.fields["allow"]) == (405, "POST")


def test_what_is_not_there(web):
    _, http = web
    for path in ("/nothing", "/api", "/api/v1", "/api/v2/status", "/healthz/", "//healthz", "/../etc/passwd", "/%2e%2e/"):
        assert http.get(path).status == 404, path


def test_every_answer_has_the_fields_that_protect(web):
    _, http = web
    for path in ("/", "/healthz", "/metrics", "/api/v1/status", "/nothing", "/api/v1/backend"):
        fields = http.get(path).fields
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["cache-control"] == "no-store"
        assert fields["referrer-policy"] == "no-referrer"
        assert fields["x-frame-options"] == "DENY"
        assert "default-src 'none'" in fields["content-security-policy"]
        assert "frame-ancestors 'none'" in fields["content-security-policy"]
        assert "unsafe" not in fields["content-security-policy"]
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", http.get("/").fields["content-security-policy"])


# What nobody can do to it.


def raw(address, data):
    """Sends these bytes and returns all that comes back."""
    with connect(address) as sock:
        sock.sendall(data)
        return receive_all(sock)[0]


@pytest.mark.parametrize(("data", "status"), [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 2000 + b"\r\n", 431),
    (b"POST /api/v1/backend HTTP/1.1\r\nHost: x\r\nContent-Length: 16385\r\n\r\n", 413),
    (b"POST /api/v1/backend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 501),
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
], ids=["line", "head", "body", "chunked", "nonsense", "tls", "no-host", "http2"])
def test_what_is_too_much_or_no_request_is_refused(web, data, status):
    running, http = web
    answer = raw(running.http_address, data)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"\r\nConnection: close\r\n" in answer
    assert http.get("/healthz").status == 200


def test_a_body_of_the_greatest_length_is_read(web):
    _, http = web
    body = json.dumps(CHANGE | {"ignored": ""})
    body = body[:-2] + "x" * (16_384 - len(body)) + body[-2:]
    assert len(body) == 16_384
    answer = http.ask("POST", "/api/v1/backend", body=body.encode(), fields={"Content-Type": "application/json"})
    assert answer.status == 200, answer


def test_a_connection_is_kept_for_many_requests(web):
    _, http = web
    link = http.connection()
    for _ in range(50):
        assert http.get("/api/v1/status", connection=link).status == 200
    sock = link.sock
    sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 40 + b"GET /readyz HTTP/1.0\r\n\r\n")
    answers = receive_all(sock)[0]
    assert answers.count(b"HTTP/1.1 200 OK") == 41
    assert answers.endswith(b"ready\n")
    link.close()


def test_slow_clients_hold_up_nobody(web):
    """Many more than it has room for: none of them is answered, everybody else is."""
    running, http = web
    slow = []
    with connect(running.address) as traffic:
        for round_ in range(100):
            sock = socket.create_connection(running.http_address, DEADLINE)
            sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: x\r\nX: ")
            slow.append(sock)
            if round_ % 10 == 0:
                assert http.get("/api/v1/status").status == 200
                assert exchange(traffic, b"x" * 1000)
    for sock in slow:
        sock.close()
    assert running.descriptors()["socket"] < 80
    assert http.get("/healthz").status == 200


def test_clients_that_do_not_take_their_answers_hold_up_nobody(web):
    running, http = web
    deaf = []
    for _ in range(30):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(DEADLINE)
        sock.connect(running.http_address)
        sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 60)
        deaf.append(sock)
    for _ in range(20):
        assert http.get("/api/v1/status").status == 200
    for sock in deaf:
        sock.close()


def test_an_endless_head_takes_no_memory(web, sanitized):
    running, _ = web
    before = running.rss_bytes()
    with connect(running.http_address) as sock:
        with pytest.raises(OSError):  # noqa: PT012  it may take some sends until the reset is seen
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
            for _ in range(2000):
                sock.sendall(b"a" * 65536)
    if not sanitized:
        assert running.rss_bytes() - before < 8 << 20


def test_one_byte_at_a_time_is_a_request_as_well(web):
    running, _ = web
    with connect(running.http_address) as sock:
        for byte in b"GET /healthz HTTP/1.0\r\n\r\n":
            sock.sendall(bytes([byte]))
        assert receive_all(sock)[0].endswith(b"ok\n")


# Where it listens.


def test_a_port_in_use_does_not_keep_it_from_running(balancer, backend):
    server = backend(echo, name="a")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = balancer([server], admin={"http": f"127.0.0.1:{port}"})
        event = running.wait_event("http_off")
        assert f"127.0.0.1:{port}" in event["reason"]
        assert "[admin] http" in event["remedy"]
        with connect(running.address) as sock:
            assert exchange(sock, b"x")


def test_two_balancers_do_not_share_a_port(web, balancer, backend):
    running, _ = web
    host, port = running.http_address
    second = balancer([backend(echo, name="a")], admin={"http": f"{host}:{port}"})
    second.wait_event("http_off")


def test_off(balancer, backend):
    running = balancer([backend(echo, name="a")], admin={"http": ""})
    assert not running.find_events("http_listening")
    assert not running.find_events("http_off")


def test_ipv6(served, backend):
    running, http = served([backend(echo, name="a")], admin={"http": "[::1]:0"})
    assert running.http_address[0] == "::1"
    assert http.get("/api/v1/status").status == 200


def test_without_a_file_it_is_off(millrace, backend):
    running = millrace(["run", "--listen", "127.0.0.1:0", "--backend", backend(echo).text])
    assert not running.find_events("http_listening")


def test_many_at_once(web):
    """More threads than it has: every request is answered, each with its own answer."""
    _, http = web
    wrong = []

    def ask_often(path, wanted):
        link = http.connection()
        for _ in range(40):
            answer = http.get(path, connection=link)
            if answer.status != 200 or wanted not in answer.text:
                wrong.append(answer)
        link.close()

    paths = [("/api/v1/status", "listeners"), ("/api/v1/why?client=192.0.2.1", "steps"),
             ("/api/v1/connections", "connections"), ("/healthz", "ok")] * 3
    threads = [threading.Thread(target=ask_often, args=one) for one in paths]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
