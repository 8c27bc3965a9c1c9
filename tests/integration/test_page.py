"""The dashboard, in a headless Chromium."""

import json

import pytest

from harness import browser as chromium
from harness.backends import echo
from harness.http import HttpClient
from harness.sockets import connect, exchange
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))

TOKEN = "a-token"
HOSTILE = "<img src=x onerror=document.title=1>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = chromium.Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def served(balancer, backend):
    """Starts a balancer with backends of these names, one server behind them all: (balancer, its URL)."""

    def start(names, *, token=TOKEN, address="127.0.0.1:0", **tables):
        server = backend(echo)
        running = balancer([{"name": name, "address": server.text} for name in names],
                           admin={"http": address, "token": token}, **tables)
        host, port = running.http_address
        return running, f"http://{host}:{port}/"

    return start


def talk(running, times=1, data=b"hello"):
    for _ in range(times):
        with connect(running.address) as sock:
            assert exchange(sock, data)


def states(page):
    """{backend: what its state is said to be}"""
    return page.run("return Object.fromEntries([...document.querySelectorAll('.pool tbody tr')]"
                    ".map((row) => [row.querySelector('th span').textContent, row.querySelector('.pill').textContent]))")


def test_shows_real_traffic_and_asks_nobody_else(served, browser):
    running, url = served(["a", "b"])
    talk(running, 3)
    page = browser.open(url)
    page.wait_for("document.querySelector('#link').innerText === 'live'")
    assert states(page) == {"a": "up", "b": "up"}
    assert page.text("#about").startswith("0.")
    assert f"pid {running.pid}" in page.text("#about")
    with connect(running.address) as sock:
        assert exchange(sock, b"hello")
        page.wait_for("document.querySelector('#f-active').innerText === '1'")

    def is_moving():
        talk(running, 5, b"x" * 2000)
        return page.run("const number = (id) => document.getElementById(id).innerText;"
                        "return ['f-new', 'f-in', 'f-out'].every((id) => /^[1-9]/.test(number(id)))")

    wait_until(is_moving, what=lambda: f"rates: {page.text('#facts')}")
    page.wait_for("document.querySelectorAll('.graph canvas')[0].getAttribute('aria-label').match(/: +[1-9]/)")
    listed = HttpClient(running.http_address).get("/api/v1/status").json["listeners"][0]["connections"]
    page.wait_for(f"document.querySelector('#listeners tbody tr').lastChild.previousSibling.textContent === '{listed:,}'")
    assert page.run("return [...document.querySelectorAll('.graph canvas')].every((canvas) =>"
                    "canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean))")
    assert page.problems() == []
    assert {address for address in page.addresses() if not address.startswith("data:")} == {url, f"{url}api/v1/status"}


def test_filter_and_sort(served, browser):
    running, url = served([f"n{number:02}" for number in range(30)])
    HttpClient(running.http_address, TOKEN).post("/api/v1/backend", {"pool": "web", "backend": "n07", "action": "disable"})
    page = browser.open(url)
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 30")
    page.type("#filter", "n1 up")
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 10")
    assert "20 more" in page.text(".pool .more")
    page.run("document.querySelector('#filter').value = ''")
    page.click("Only what is not up")
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 1")
    assert states(page) == {"n07": "disabled"}
    page.click("Only what is not up")
    page.click("State")
    page.wait_for("document.querySelector('.pool tbody th span').textContent === 'n07'")
    assert page.run("return document.querySelector('.pool th[aria-sort=ascending]').innerText").startswith("State")
    page.click("Backend")
    page.click("Backend")
    page.wait_for("document.querySelector('.pool tbody th span').textContent === 'n29'")
    assert page.problems() == []


def allow_changes(page, token):
    page.click("Allow changes")
    page.type("#dialog input", token)
    page.click("Use it", "#dialog")
    page.wait_for("document.body.classList.contains('may-change')")


def test_drains_and_weighs_by_a_click_with_the_token(served, browser):
    running, url = served(["a", "b"])
    http = HttpClient(running.http_address)
    page = browser.open(url)
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 2")
    assert not page.run("return document.querySelector('.act').checkVisibility()")
    allow_changes(page, TOKEN)
    page.click("Change…")
    page.click("Drain…", "#dialog")
    assert states(page)["a"] == "up", "not before it is confirmed"
    page.click("Drain", "#dialog")
    page.wait_for("!document.querySelector('#dialog').open")
    backends = {entry["name"]: entry["state"] for entry in http.get("/api/v1/status").json["pools"][0]["backends"]}
    assert backends == {"a": "draining", "b": "up"}
    wait_until(lambda: states(page)["a"] == "draining", what="the new state in the table")
    page.wait_for("/a/.test(document.querySelector('#transitions').innerText)")
    page.click("Change…")
    page.run("document.querySelector('#dialog input').value = '7'")
    page.click("Set the weight…", "#dialog")
    page.click("Set it to 7", "#dialog")
    page.wait_for("!document.querySelector('#dialog').open")
    assert http.get("/api/v1/status").json["pools"][0]["backends"][0]["weight"] == 7
    page.click("Change…")
    page.click("Enable…", "#dialog")
    page.click("Cancel", "#dialog")
    assert http.get("/api/v1/status").json["pools"][0]["backends"][0]["state"] == "draining"
    assert page.problems() == []


def test_a_wrong_token_is_told(served, browser):
    running, url = served(["a"])
    page = browser.open(url)
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 1")
    allow_changes(page, "wrong")
    page.click("Change…")
    page.click("Disable…", "#dialog")
    page.click("Disable", "#dialog")
    page.wait_for("/not the token/.test(document.querySelector('#dialog').innerText)")
    page.wait_for("!document.body.classList.contains('may-change')")
    assert states(page) == {"a": "up"}
    assert HttpClient(running.http_address).get("/api/v1/status").json["pools"][0]["backends"][0]["state"] == "up"


def test_hostile_names_are_text(served, browser):
    _, url = served([HOSTILE, "b"])
    page = browser.open(url)
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 2")
    assert HOSTILE in states(page)
    allow_changes(page, TOKEN)
    page.click("Change…")
    assert HOSTILE in page.text("#dialog-title")
    assert page.run("return document.querySelectorAll('img').length") == 0
    assert page.run("return document.title") != "1"
    assert page.problems() == []


def test_says_that_the_balancer_is_gone_and_comes_back(served, browser):
    running, url = served(["a"])
    page = browser.open(url)
    page.wait_for("document.querySelector('#link').innerText === 'live'")
    host, port = running.http_address
    running.close()
    page.wait_for("document.querySelector('#link').innerText === 'not reachable'")
    assert "not reachable since" in page.text("#notice")
    assert page.run("return document.querySelector('main').classList.contains('stale')")
    assert states(page) == {"a": "up"}, "the last picture stays"
    served(["a", "new"], address=f"{host}:{port}")
    page.wait_for("document.querySelector('#link').innerText === 'live'")
    page.wait_for("document.querySelectorAll('.pool tbody tr').length === 2")
    assert not page.run("return document.querySelector('main').classList.contains('stale')")
    assert "another balancer" in page.text("#transitions")


def test_asks_for_the_token_where_the_status_needs_one(browser, balancer, backend):
    running = balancer([{"name": "a", "address": backend(echo).text}], admin={"http": "0.0.0.0:0", "token": TOKEN})
    page = browser.open(f"http://127.0.0.1:{running.http_address[1]}/")
    page.wait_for("document.querySelector('#dialog').open")
    page.type("#dialog input", TOKEN)
    page.click("Use it", "#dialog")
    page.wait_for("document.querySelector('#link').innerText === 'live'")


@pytest.mark.parametrize("dark", [False, True])
def test_fits_a_phone_by_day_and_by_night(served, browser, dark):
    _, url = served([f"a-backend-with-a-long-name-{number:03}" for number in range(100)])
    try:
        browser.resize(360, 740)
        browser.prefer(dark)
        page = browser.open(url)
        page.wait_for("document.querySelectorAll('.pool tbody tr').length === 100")
        assert page.run("return document.documentElement.scrollWidth") <= 360
        background = page.run("return getComputedStyle(document.body).backgroundColor")
        brightness = sum(json.loads(background.replace("rgb(", "[").replace(")", "]")))
        assert (brightness < 200) == dark
        page.run("document.querySelector('#theme').click()")
        assert page.run("return getComputedStyle(document.body).backgroundColor") != background
        assert page.problems() == []
    finally:
        browser.run("localStorage.clear()")
        browser.resize(1280, 900)
        browser.prefer(False)
