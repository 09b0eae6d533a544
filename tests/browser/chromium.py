# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium that talks to the tested server only, and tells what went over its wire and console."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.running import ADMIN_PASSWORD, wait_for

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-default-apps", "--disable-domain-reliability", "--metrics-recording-only", "--no-pings",
    "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication", "--hide-scrollbars",
    "--force-color-profile=srgb", "--font-render-hinting=none", "--window-size=1440,900",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def find_chromium() -> tuple[str, str] | None:
    """Paths of Chromium and ChromeDriver; None when one is missing."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One browser window on one server."""

    def __init__(self, paths: tuple[str, str], profile: Path) -> None:
        options = ChromeOptions()
        options.binary_location, driver = paths
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = Chrome(options=options, service=Service(driver))
        self.driver.set_page_load_timeout(30)
        self.url = ""
        self.requests: list[str] = []
        self.expected_errors: tuple[str, ...] = ()

    def reset(self, url: str) -> None:
        """Start over on the server at `url`: no cookies, no old messages, a light desktop window."""
        self.url = url
        self.driver.get("about:blank")
        self.driver.execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.look()
        self.console()
        self.sent()
        self.requests.clear()
        self.expected_errors = ()

    def look(self, *, dark: bool = False, width: int = 1440, height: int = 900, mobile: bool = False) -> None:
        """Set colour scheme and window."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile},
        )

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    def log_in(self, path: str = "/", username: str = "admin", password: str = ADMIN_PASSWORD) -> None:
        """Go to `path` by way of the log-in page; back when the answer to it, whichever, is on screen."""
        self.open(path)
        self.find("#username").send_keys(username)
        self.find("#password").send_keys(password)
        self.run("window.isLogInForm = true")
        self.find("#log-in").click()
        answered = "return !window.isLogInForm && document.readyState === 'complete'"
        wait_for("an answer to the log-in", lambda: self.run(answered), 15, 0.05)

    def find(self, selector: str) -> WebElement:
        """The first match, as soon as there is one."""
        return wait_for(f"an element {selector}", lambda: self.all(selector), 15, 0.05)[0]

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of the first match as the page shows it; empty when there is none. Safe against live updates."""
        script = "const e = document.querySelector(arguments[0]); return e ? e.innerText : ''"
        return str(self.run(script, selector)).strip()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait_text(self, selector: str, expected: str, seconds: float = 20) -> None:
        """Wait until the text of `selector` contains `expected`."""
        wait_for(f"{expected!r} in {selector}", lambda: expected in self.text(selector), seconds)

    def console(self) -> list[str]:
        """Errors and warnings since the last call."""
        return [f"{row['level']}: {row['message']}" for row in self.driver.get_log("browser") if row["level"] != "INFO"]

    def expected_in_console(self, line: str) -> bool:
        """Whether the test has announced this message: Chromium logs every refused request."""
        return any(part in line for part in self.expected_errors)

    def sent(self) -> list[str]:
        """Addresses of all requests so far."""
        for row in self.driver.get_log("performance"):
            message = json.loads(row["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
        return self.requests

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return int(self.run("return document.documentElement.scrollWidth - window.innerWidth"))
