"""Real drivers: an open page shows at once when one fails, is killed, or comes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import machine
from tests.support import eventually
from tests.ui.browsing import chromium, complaints, shows, text_of, unchanged

SHOWN_WITHIN = 2.0
"""Seconds."""

pytestmark = pytest.mark.alone


def test_an_open_page_shows_what_becomes_of_drivers(tmp_path: Path) -> None:
    with machine(tmp_path) as here, chromium() as browser:
        _, client = here.server()
        driver, _ = here.drivers("vm/ebs0.sock", "vm/nfs.sock")
        here.agent("vm", client.address)
        eventually(lambda: len(client.plugins("csi").value) == 2)
        browser.get(f"{client.address}/ui/")
        shows(browser, "Live.", "#live")
        shows(browser, "Nothing is wrong")
        is_unchanged = unchanged(browser)
        here.send("vm/nfs.sock", "fail", "disk on fire")
        shows(browser, "disk on fire", ".problems", within=SHOWN_WITHIN)
        driver.kill()
        shows(browser, "csi/ebs0", ".problems", within=SHOWN_WITHIN)
        here.send("vm/nfs.sock", "ok")
        eventually(lambda: "nfs" not in text_of(browser, ".problems"))
        here.driver("vm/ebs0.sock")
        shows(browser, "Nothing is wrong")
        assert is_unchanged()
        assert not complaints(browser)
        browser.get("about:blank")
