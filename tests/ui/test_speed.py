"""How long a reader waits for the pages of a large fleet, compared with the API's list of it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

from tests.support import Api, FakeAgent, Live, down, serving, up
from tests.ui.browsing import chromium

NODES, PLUGINS, ON_EACH = 1_000, 500, 20
FIRST_PAINT = 1.0
"""Seconds."""

PATHS = (
    *("/ui/", "/ui/plugins/csi", "/ui/plugins/csi?datacenter=dc1&sort=-since", "/ui/nodes"),
    "/ui/plugin/csi/p1",
)

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Return a server that knows NODES with ON_EACH of PLUGINS, some of them unhealthy."""
    with serving(tmp_path_factory.mktemp("fleet"), live=True) as api:
        assert isinstance(api, Live)
        for node in range(NODES):
            report(api, node)
        yield api


def report(api: Api, node: int) -> None:
    plugins = {
        f"p{(node * ON_EACH + number) % PLUGINS}": {
            "node": down("disk on fire") if (node + number) % 50 == 0 else up(ProviderVersion="1.2")
        }
        for number in range(ON_EACH)
    }
    answer = FakeAgent(api, name=f"vm{node:04}").report(plugins, Datacenter=f"dc{node % 3}")
    assert answer.status == 200


def took(api: Api, path: str) -> float:
    began = time.monotonic()
    assert api.call("GET", path).status == 200
    return time.monotonic() - began


def test_pages_of_a_large_fleet_paint_at_once(
    fleet: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = {"first": took(fleet, "/v1/plugins?type=csi")}
    lists["again"] = took(fleet, "/v1/plugins?type=csi")
    found = {}
    with chromium() as browser:
        for path in PATHS:
            report(fleet, 0)  # another node: nothing of the page is known from before
            server = took(fleet, path)
            report(fleet, 1)
            browser.get("about:blank")
            browser.get(f"{fleet.address}{path}")
            found[path] = (server, paint(browser))
    with capsys.disabled():
        for name, seconds in lists.items():
            print(f"\nGET /v1/plugins?type=csi, {name}: {seconds * 1000:.0f} ms", end="")
        for path, (server, seconds) in found.items():
            print(f"\n{path}: {server * 1000:.0f} ms, painted {seconds * 1000:.0f} ms", end="")
    assert max(seconds for _, seconds in found.values()) < FIRST_PAINT


def paint(browser: Chrome) -> float:
    """Return the seconds from the request for a page until its first contents are on the screen."""
    script = """
        const done = arguments[0];
        new PerformanceObserver((list) => {
          const found = list.getEntriesByName("first-contentful-paint");
          if (found.length) done(found[0].startTime);
        }).observe({type: "paint", buffered: true});
    """
    milliseconds: float = browser.execute_async_script(script)
    return milliseconds / 1000
