"""A headless Chromium, and what it says about a page."""

import base64
import contextlib
import json
import shutil

from .waiting import DEADLINE, wait_until


def why_not():
    """What is missing to run a browser; None when nothing is."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "chromium or chromedriver is missing; tools/install-deps browser brings them"
    try:
        import selenium  # noqa: F401, PLC0415
    except ImportError:
        return "python3-selenium is missing; tools/install-deps browser brings it"
    return None


class Browser:
    """One window of `width` × `height`; `dark` is what the system is said to prefer."""

    def __init__(self, profile, width=1280, height=900, dark=False, scale=1):
        from selenium import webdriver  # noqa: PLC0415
        from selenium.webdriver.chrome.service import Service  # noqa: PLC0415

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                         "--disable-background-networking", "--hide-scrollbars", "--no-proxy-server", f"--user-data-dir={profile}", "about:blank"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(service=Service(shutil.which("chromedriver")), options=options)
        self.driver.set_page_load_timeout(DEADLINE)
        self.driver.set_script_timeout(DEADLINE)
        self.requests = []
        self.console = []
        self.resize(width, height, scale)
        self.prefer(dark)

    def resize(self, width, height, scale=1):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600})

    def prefer(self, dark):
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
                    {"name": "prefers-reduced-motion", "value": "reduce"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def open(self, url):
        self._read_logs()  # of what was there before
        self.requests.clear()
        self.console.clear()
        self.driver.get(url)
        return self

    # The page.

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, selector):
        """What stands in the first element, as it is shown; empty when there is none."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((node) => node.innerText)", selector)

    def wait_for(self, condition, deadline=DEADLINE):
        """Until the JavaScript expression is true; returns it."""
        return wait_until(lambda: self.run(f"return {condition}"), deadline,
                          lambda: f"{condition} in the page:\n{self.text('body')[:3000]}\n{self.problems()}")

    def click(self, text, within="body"):
        """The button that says this."""
        self.wait_for(f"[...document.querySelector({json.dumps(within)}).querySelectorAll('button')]"
                      f".some((node) => node.innerText.trim() === {json.dumps(text)} && node.checkVisibility())")
        self.run("[...document.querySelector(arguments[1]).querySelectorAll('button')]"
                 ".find((node) => node.innerText.trim() === arguments[0] && node.checkVisibility()).click()", text, within)

    def type(self, selector, text):
        from selenium.webdriver.common.by import By  # noqa: PLC0415

        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def screenshot(self, path, full=False):
        """A PNG of the window, or of the whole page."""
        options = {"format": "png"}
        if full:
            size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            options |= {"captureBeyondViewport": True, "clip": size | {"scale": 1}}
        data = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    # What it says and does.

    def _read_logs(self):
        self.console += self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])

    def problems(self):
        """Errors and warnings of the console: of scripts, of the Content-Security-Policy, of the network."""
        self._read_logs()
        return [entry["message"] for entry in self.console if entry["level"] in ("SEVERE", "WARNING")]

    def addresses(self):
        """Everything that was asked for, as URLs."""
        self._read_logs()
        return set(self.requests)

    def close(self):
        with contextlib.suppress(Exception):
            self.driver.quit()
