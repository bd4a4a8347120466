"""Headless Chromium, driven by tests."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.promises import Watch
from tests.support import eventually, needs

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--ignore-certificate-errors",
    "--window-size=1280,900",
)
AXE = Path(__file__).parent / "vendor" / "axe.js"
AXE_SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"


@contextmanager
def chromium(*flags: str) -> Iterator[Chrome]:
    """Run a Chromium with an empty profile, and end it."""
    needs(CHROMIUM, "chromium")
    needs(DRIVER, "chromium-driver")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory(prefix="plugind-chromium-") as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        browser = Chrome(options, Service(DRIVER))
        try:
            yield browser
        finally:
            browser.quit()


def text_of(browser: Chrome, selector: str = "main") -> str:
    """Return the text that a part of a page shows, "" if there is no such part."""
    script = "const found = document.querySelector(arguments[0]); return found && found.innerText"
    return str(browser.execute_script(script, selector) or "")


def shows(browser: Chrome, text: str, selector: str = "main", within: float | None = None) -> None:
    """Wait until a page shows a text, for at most ``within`` seconds."""
    watch = Watch()
    eventually(lambda: text in text_of(browser, selector))
    if within is not None:
        assert not watch.is_over(within), f"it took longer than {within} s"


def violations(browser: Chrome) -> list[str]:
    """Return the accessibility problems that axe-core finds on the page."""
    source = AXE.read_text()
    assert hashlib.sha256(AXE.read_bytes()).hexdigest() == AXE_SHA256
    browser.execute_script(source)
    found: Any = browser.execute_async_script(
        "const done = arguments[0]; axe.run().then(done, (error) => done({violations: "
        "[{id: String(error), nodes: []}]}));"
    )
    return [
        f"{each['id']}: {[node['html'][:200] for node in each['nodes']][:3]}"
        for each in found["violations"]
    ]


def with_media(browser: Chrome, scheme: str) -> None:
    """Set the reader's preferred colour scheme: "light" or "dark"."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def with_width(browser: Chrome, width: int) -> None:
    """Set the width of the window, for example to that of a telephone."""
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


@contextmanager
def without_scripts(browser: Chrome) -> Iterator[None]:
    """Make the browser run no scripts of pages."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        yield
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def complaints(browser: Chrome) -> list[str]:
    """Return the errors in the browser's console, including violations of the page's policy."""
    return [each["message"] for each in browser.get_log("browser") if each["level"] == "SEVERE"]


def click(browser: Chrome, selector: str) -> None:
    browser.find_element(By.CSS_SELECTOR, selector).click()


def unchanged(browser: Chrome) -> Callable[[], bool]:
    """Return a function that reports whether the page is still the one loaded now."""
    browser.execute_script("window.mark = true")
    return lambda: bool(browser.execute_script("return window.mark === true"))
