"""The pages in a real browser: live, without scripts, on a telephone, and for every reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from plugind.ui.session import COOKIE
from tests.api.conftest import FEW_THREADS
from tests.api.gate import MANAGEMENT, NODE, gate
from tests.processes import machine
from tests.support import FakeAgent, Live, down, eventually, serving, up
from tests.ui.browsing import (
    chromium,
    click,
    complaints,
    shows,
    text_of,
    unchanged,
    violations,
    with_media,
    with_width,
    without_scripts,
)
from tests.ui.test_events import stream

SHOWN_WITHIN = 2.0
"""Seconds within which an open page with a stream shows a change."""

ASKED_WITHIN = 7.0
"""Seconds within which a page that polls every 5 s shows a change."""

LIVE, ASKING = "Live.", "Updated every 5 seconds."

MARKUP = "<img src=x onerror=document.title='hacked'>"
DECLARED = 'plugin "csi" "gp3" {\n  nodes_expected = 3\n}\n'


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with chromium() as running:
        yield running


@pytest.fixture
def api(tmp_path: Path, browser: Chrome) -> Iterator[Live]:
    with serving(tmp_path, live=True, config=DECLARED) as served:
        assert isinstance(served, Live)
        yield served
        browser.get("about:blank")
        assert not complaints(browser)


@pytest.fixture
def agent(api: Live) -> FakeAgent:
    made = FakeAgent(api, name=f"vm-{MARKUP}")
    labels = {"Attributes": {"os.name": MARKUP}, "Meta": {"rack": "r1"}, "NodeClass": "fast"}
    plugins = {
        "ebs0": {"node": down(MARKUP, Provider=MARKUP, ProviderVersion="1"), "controller": up()},
        "nfs": {"node": up(ProviderVersion="2")},
    }
    assert made.report(plugins, **labels).status == 200
    return made


def pages(agent: FakeAgent) -> list[str]:
    return [
        *("/ui/", "/ui/plugins/csi", "/ui/plugins/csi?filter=x+==", "/ui/plugins/exec"),
        *("/ui/plugin/csi/ebs0", "/ui/plugin/csi/ebs0?nodes=all", "/ui/plugin/csi/gp3"),
        *("/ui/plugin/csi/none", "/ui/nodes", f"/ui/node/{agent.node_id}", "/ui/server"),
        *("/ui/signin", "/ui/forget?type=csi&id=ebs0", f"/ui/forget?node={agent.node_id}"),
    ]


@pytest.mark.alone
def test_an_open_page_shows_changes_without_a_reload(
    api: Live, agent: FakeAgent, browser: Chrome
) -> None:
    browser.get(f"{api.address}/ui/")
    is_unchanged = unchanged(browser)
    assert browser.title.startswith("(2) Overview")
    shows(browser, LIVE, "#live")
    both = {"node": up(), "controller": up()}
    agent.report({"ebs0": both, "nfs": {"node": down("disk on fire")}})
    shows(browser, "disk on fire", within=SHOWN_WITHIN)
    agent.report({"ebs0": both, "nfs": {"node": up()}})
    eventually(lambda: browser.title.startswith("(1) Overview"))
    icon = browser.find_element(By.CSS_SELECTOR, "link[rel=icon]").get_attribute("href")
    assert icon is not None
    assert icon.endswith("/ui/static/icon/down/1")
    assert is_unchanged()


@pytest.mark.alone
def test_a_page_without_a_stream_asks_again_and_says_so(tmp_path: Path, browser: Chrome) -> None:
    with serving(tmp_path, live=True, server_max_streams="1", **FEW_THREADS) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api)
        agent.report({"ebs0": {"node": up()}})
        with stream(api) as events:
            assert next(events) == "alive"
            browser.get(f"{api.address}/ui/")
            eventually(lambda: "429" in "".join(complaints(browser)))
            shows(browser, ASKING, "#live")
            agent.report({"ebs0": {"node": down("disk on fire")}})
            shows(browser, "disk on fire", within=ASKED_WITHIN)
            assert text_of(browser, "#live") == ASKING
        browser.get("about:blank")
        complaints(browser)


@pytest.mark.alone
def test_the_tabs_of_a_browser_share_one_stream(
    api: Live, agent: FakeAgent, browser: Chrome
) -> None:
    first = browser.current_window_handle
    browser.get(f"{api.address}/ui/")
    shows(browser, LIVE, "#live")
    browser.switch_to.new_window("window")
    second = browser.current_window_handle
    browser.get(f"{api.address}/ui/plugins/csi")
    shows(browser, LIVE, "#live", within=SHOWN_WITHIN)
    assert api.services.events.streams == 1
    agent.report({"nfs": {"node": down("disk on fire")}, "new": {"node": up()}})
    shows(browser, "new", within=SHOWN_WITHIN)
    browser.switch_to.window(first)
    shows(browser, "disk on fire", within=SHOWN_WITHIN)
    assert api.services.events.streams == 1
    browser.close()
    browser.switch_to.window(second)
    eventually(lambda: api.services.events.streams == 1)
    agent.report({"other": {"node": up()}})
    shows(browser, "other", within=SHOWN_WITHIN)
    assert text_of(browser, "#live") == LIVE


@pytest.mark.alone
def test_a_hidden_page_has_no_stream(api: Live, agent: FakeAgent, browser: Chrome) -> None:
    first = browser.current_window_handle
    browser.get(f"{api.address}/ui/")
    eventually(lambda: api.services.events.streams == 1)
    browser.switch_to.new_window("tab")
    eventually(lambda: api.services.events.streams == 0)
    agent.report({"nfs": {"node": down("disk on fire")}})
    browser.close()
    browser.switch_to.window(first)
    browser.execute_cdp_cmd("Page.bringToFront", {})
    shows(browser, "disk on fire", within=SHOWN_WITHIN)
    eventually(lambda: api.services.events.streams == 1)
    shows(browser, LIVE, "#live")


def test_focus_scroll_position_text_and_open_parts_stay(
    api: Live, agent: FakeAgent, browser: Chrome
) -> None:
    agent.report({f"p{number}": {"node": up()} for number in range(100)})
    browser.get(f"{api.address}/ui/plugins/csi")
    click(browser, "#help-filter summary")
    browser.execute_script("window.scrollTo(0, 300)")
    field = browser.find_element(By.NAME, "q")
    field.send_keys("p1")
    browser.find_element(By.NAME, "filter").send_keys("ID == 1")
    at, before = browser.execute_script("return window.scrollY"), text_of(browser, ".tabs")
    agent.report({f"p{number}": {"node": down() if number == 5 else up()} for number in range(100)})
    eventually(lambda: text_of(browser, ".tabs") != before)
    assert browser.execute_script("return window.scrollY") == at
    assert browser.switch_to.active_element.get_attribute("name") == "filter"
    assert field.get_property("value") == "p1"
    assert browser.execute_script("return document.getElementById('help-filter').open")


def test_a_lost_server_is_reported_and_found_again(tmp_path: Path, browser: Chrome) -> None:
    with machine(tmp_path) as here:
        port = here.port()
        server, client = here.server(port=port)
        browser.get(f"{client.address}/ui/")
        shows(browser, "Nothing is wrong")
        shows(browser, LIVE, "#live")
        server.kill()
        shows(browser, "Not connected. Shown as of", "#live")
        assert "Nothing is wrong" in text_of(browser), "the last known page stays"
        here.server(port=port)
        shows(browser, LIVE, "#live")
        browser.get("about:blank")
        complaints(browser)  # those of the lost connection


def test_times_are_distances_with_the_exact_time_beside_them(
    api: Live, agent: FakeAgent, browser: Chrome
) -> None:
    browser.get(f"{api.address}/ui/")
    time = browser.find_element(By.CSS_SELECTOR, "main time")
    eventually(lambda: str(time.get_property("innerText")).endswith("ago"))
    title = time.get_attribute("title")
    assert title is not None
    assert "Z)" in title
    with without_scripts(browser):
        browser.get(f"{api.address}/ui/")
        assert text_of(browser, "main time").endswith("UTC")


def test_all_pages_work_without_scripts(api: Live, agent: FakeAgent, browser: Chrome) -> None:
    with without_scripts(browser):
        browser.get(f"{api.address}/")
        assert browser.current_url == f"{api.address}/ui/"
        assert "loads again every 30 s" in text_of(browser, "#live")
        assert browser.find_elements(By.CSS_SELECTOR, "meta[http-equiv=refresh]")
        click(browser, 'nav a[href="plugins/csi"]')
        browser.find_element(By.NAME, "q").send_keys("ebs", Keys.ENTER)
        shows(browser, "1 plugin")
        click(browser, "tbody th a")
        eventually(lambda: urlsplit(browser.current_url).path == "/ui/plugin/csi/ebs0")
        click(browser, ".forget a")
        eventually(lambda: urlsplit(browser.current_url).path == "/ui/forget")
        click(browser, "button.danger")
        eventually(lambda: urlsplit(browser.current_url).path == "/ui/plugin/csi/ebs0")
        shows(browser, "1 of 1 healthy")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_can_be_used_by_everybody(
    api: Live, agent: FakeAgent, browser: Chrome, scheme: str
) -> None:
    with_media(browser, scheme)
    found = {}
    for path in pages(agent):
        browser.get(f"{api.address}{path}")
        if wrong := violations(browser):
            found[path] = wrong
    complaints(browser)  # the statuses of pages of errors
    assert not found


def test_no_page_is_wider_than_a_telephone(api: Live, agent: FakeAgent, browser: Chrome) -> None:
    with_width(browser, 360)
    wide = {}
    for path in pages(agent):
        browser.get(f"{api.address}{path}")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        if width > 360:
            wide[path] = width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    complaints(browser)  # the statuses of pages of errors
    assert not wide


def test_markup_of_drivers_and_agents_is_only_text(
    api: Live, agent: FakeAgent, browser: Chrome
) -> None:
    for path in ("/ui/", "/ui/plugins/csi", "/ui/plugin/csi/ebs0", f"/ui/node/{agent.node_id}"):
        browser.get(f"{api.address}{path}")
        assert MARKUP in text_of(browser), path
        assert not browser.find_elements(By.TAG_NAME, "img")
        assert browser.title != "hacked"
    agent.report({"ebs0": {"node": down(f"again {MARKUP}")}})
    shows(browser, "again <img")  # what was morphed into the page
    assert not browser.find_elements(By.TAG_NAME, "img")


def test_keys_reach_everything(api: Live, agent: FakeAgent, browser: Chrome) -> None:
    browser.get(f"{api.address}/ui/")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    first = browser.switch_to.active_element
    assert first.get_attribute("class") == "skip"
    assert first.rect["x"] >= 0, "it is seen once it has the focus"
    first.send_keys(Keys.ENTER)
    assert urlsplit(browser.current_url).fragment == "main"
    browser.switch_to.active_element.send_keys(Keys.TAB)
    style = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(style) == "solid"


def test_signing_in_and_out(tmp_path: Path, browser: Chrome) -> None:
    made = gate(tmp_path, "csi-read", "csi-list")
    with serving(tmp_path, live=True, config=made.config) as api:
        assert isinstance(api, Live)
        agent = FakeAgent(api, NODE.rpartition("/")[2], token=made.secrets[MANAGEMENT])
        agent.report({"ebs0": {"node": down("disk on fire")}})
        browser.get(f"{api.address}/ui/")
        assert "sign in with a token that may" in text_of(browser)
        browser.get(f"{api.address}/ui/plugin/csi/ebs0")
        assert "it needs the capability csi-read-plugin" in text_of(browser)
        assert not violations(browser)
        click(browser, "main .button")
        browser.find_element(By.NAME, "token").send_keys("wrong", Keys.ENTER)
        shows(browser, "No such token")
        assert not violations(browser)
        browser.find_element(By.NAME, "token").send_keys(made.secrets["csi-read"], Keys.ENTER)
        shows(browser, "disk on fire")  # the page that was asked for at first
        assert urlsplit(browser.current_url).path == "/ui/plugin/csi/ebs0"
        cookie = browser.get_cookie(COOKIE)
        assert cookie is not None
        assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/ui", True, "Lax")
        assert browser.execute_script("return document.cookie") == ""
        assert not violations(browser)
        click(browser, ".who button")
        shows(browser, "sign in with a token that may")
        assert browser.get_cookie(COOKIE) is None
        browser.get("about:blank")
    complaints(browser)  # 403, as they must be
