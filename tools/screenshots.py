"""Make the pictures of the web page in docs/ from a running server with sample drivers.

Run it with ``make screenshots``; it needs Debian's chromium and chromium-driver.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

ROOT = Path(__file__).parent.parent
PLUGIND = Path(sys.executable).with_name("plugind")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars")
HINT = re.compile(r"curl -s '(http://[^/']+)/.*?--socket (\S+)/ebs0\.sock", re.DOTALL)
PATIENCE = 60.0


def main() -> int:
    """Make every picture."""
    with sample_fleet() as (address, sockets), chromium() as browser:
        send_command(sockets, "ebs0", "fail", "disk on fire")
        picture(browser, f"{address}/ui/", "overview", "light", "disk on fire")
        picture(browser, f"{address}/ui/", "overview-dark", "dark", "disk on fire")
        picture(browser, f"{address}/ui/plugins/csi", "plugins", "light", "down")
        picture(browser, f"{address}/ui/plugin/csi/ebs0", "plugin", "light", "disk on fire")
    return 0


@contextmanager
def sample_fleet() -> Iterator[tuple[str, Path]]:
    """Run what ``make run`` runs; yield the server's address and the folder of the sockets."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "examples/run.py", "--ports-http", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        text = ""
        while (found := HINT.search(text)) is None:
            line = process.stdout.readline()
            assert line, "the sample drivers ended too early"
            text += line
        yield found[1], Path(found[2])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def send_command(sockets: Path, driver: str, *words: str) -> None:
    """Change the behaviour of a sample driver."""
    subprocess.run(
        [PLUGIND, "csi-tell", "--socket", sockets / f"{driver}.sock", *words], check=True
    )


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Run a browser with an empty profile."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    with tempfile.TemporaryDirectory() as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        browser = Chrome(options, Service("/usr/bin/chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()


def picture(browser: Chrome, url: str, name: str, scheme: str, text: str) -> None:
    """Write a picture of a page to ``docs/ui-NAME.png``, once the page shows a text."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(url)
    WebDriverWait(browser, PATIENCE).until(
        lambda running: text in running.find_element(By.TAG_NAME, "main").text
    )
    time.sleep(2)  # so that the times shown are not all those of the first moment
    size = {"width": 1200, "height": 760, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.save_screenshot(str(ROOT / f"docs/ui-{name}.png"))


if __name__ == "__main__":
    sys.exit(main())
