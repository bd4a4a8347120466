"""The pages behind nginx, with TLS and a path prefix, as in docs/exposing.md."""

from __future__ import annotations

from tests.support import eventually
from tests.test_exposing import Proxy
from tests.test_exposing import proxy as proxy
from tests.ui.browsing import chromium, click, complaints, shows


def test_pages_and_forms_work_behind_a_prefix(proxy: Proxy) -> None:
    here = proxy.machine
    driver = here.driver("vm/ebs0.sock")
    agent = here.agent("vm", proxy.server.address)
    eventually(lambda: proxy.server.plugins("csi").value)
    here.send("vm/ebs0.sock", "fail", "disk on fire")
    with chromium() as browser:
        browser.get(f"{proxy.address}/")
        assert browser.current_url == f"{proxy.address}/ui/"
        shows(browser, "disk on fire")
        click(browser, 'nav a[href="plugins/csi"]')
        click(browser, "tbody th a")
        eventually(lambda: browser.current_url == f"{proxy.address}/ui/plugin/csi/ebs0")
        click(browser, ".forget a")
        (cookie,) = browser.get_cookies()
        assert (cookie["path"], cookie["secure"]) == ("/plugind/ui", True)
        click(browser, "button.danger")
        eventually(lambda: not proxy.server.plugins("csi").value)
        shows(browser, "No plugins of this type")
        shows(browser, "Live", "#live")
        assert not complaints(browser)
    assert [agent.stop(), driver.stop()] == [0, 0]
